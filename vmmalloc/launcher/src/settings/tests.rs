use super::*;

fn options(set: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options { program: "true".into(), ..Options::default() };
    set(&mut options);
    options
}

fn dir_of(settings: &Settings) -> &Sourced<OsString> {
    match &settings.medium {
        Medium::Directory(dir) => dir,
        other => panic!("no directory: {other:?}"),
    }
}

fn nothing(_: &str) -> Option<OsString> {
    None
}

/// The message of a refusal; panics when the value was accepted.
fn refusal(set: impl FnOnce(&mut Options)) -> String {
    resolve(&options(set), nothing).unwrap_err().to_string()
}

#[test]
fn defaults_need_nothing() {
    let settings = resolve(&options(|_| ()), nothing).unwrap();
    assert_eq!(dir_of(&settings).value, "/dev/shm");
    assert_eq!(settings.space, Space::Lazy);
    assert_eq!(settings.size_bytes, None);
    assert_eq!(settings.fork, None);
    assert_eq!(settings.stats, None);
}

#[test]
fn an_option_wins_over_its_variable() {
    let lookup = |name: &str| match name {
        variable::DIR => Some("/from/variable".into()),
        variable::FORK => Some("2".into()),
        variable::SIZE => Some("64M".into()),
        _ => None,
    };
    let settings = resolve(&options(|o| o.dir = Some("/from/option".into())), lookup).unwrap();
    assert_eq!(dir_of(&settings).value, "/from/option");
    assert_eq!(dir_of(&settings).origin, Origin::Option("--dir"));
    assert_eq!(settings.fork, Some(2));
    let size = settings.size_bytes.unwrap();
    assert_eq!(size.value, 64 << 20);
    assert_eq!(size.origin.to_string(), "VMMALLOC_POOL_SIZE");
}

#[test]
fn a_bad_option_is_refused_even_when_the_variable_is_good() {
    let lookup = |name: &str| (name == variable::FORK).then(|| "1".into());
    let failure = resolve(&options(|o| o.fork = Some("9".into())), lookup).unwrap_err();
    assert!(failure.to_string().starts_with("--fork '9'"), "{failure}");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = resolve(&options(|_| ()), |_| Some("".into())).unwrap();
    assert_eq!(dir_of(&settings).origin, Origin::Default("directory"));
    assert_eq!(settings.fork, None);
}

#[test]
fn sizes_are_checked() {
    for (text, problem) in [
        ("13M", "below the minimum"),
        ("14680063", "below the minimum"),
        ("0", "below the minimum"),
        ("-5", "negative"),
        ("many", "not a size"),
        ("64MX", "not a size"),
        ("16T", "larger than any pool"),
        ("99999999999999999999999", "larger than any pool"),
    ] {
        let message = refusal(|o| o.size = Some(text.into()));
        assert!(message.contains(problem), "{text}: {message}");
        assert!(message.starts_with(&format!("--size '{text}'")), "{message}");
    }
    let settings = resolve(&options(|o| o.size = Some("14M".into())), nothing).unwrap();
    assert_eq!(settings.size_bytes.unwrap().value, MIN_POOL_BYTES);
}

#[test]
fn words_are_checked_and_the_allowed_ones_named() {
    assert!(refusal(|o| o.fork = Some("4".into())).contains("0, 1, 2, 3"));
    assert!(refusal(|o| o.fork = Some("01".into())).contains("'01'"));
    assert!(refusal(|o| o.overflow = Some("swap".into())).contains("none, dram"));
    assert!(refusal(|o| o.hugepages = Some("always".into())).contains("never, advise"));
    assert!(refusal(|o| o.harden = Some("3".into())).contains("0, 1, 2"));
    assert!(refusal(|o| o.stats = Some("xml".into())).contains("text, json"));
    for text in ["-1", "soon", "4294967296", "1s", "+5", ""] {
        assert!(refusal(|o| o.purge_ms = Some(text.into())).contains("milliseconds"), "{text}");
        assert!(refusal(|o| o.home_ms = Some(text.into())).contains("0 (never)"), "{text}");
    }
}

#[test]
fn purge_takes_zero_and_off() {
    let purge = |text: &str| {
        resolve(&options(|o| o.purge_ms = Some(text.into())), nothing).unwrap().purge_ms
    };
    assert_eq!(purge("0"), Some(Delay::AfterMs(0)));
    assert_eq!(purge("250"), Some(Delay::AfterMs(250)));
    assert_eq!(purge("off"), Some(Delay::Off));
}

#[test]
fn prealloc_needs_a_size() {
    assert!(refusal(|o| o.space = Some("prealloc".into())).contains("--size"));
    let settings = resolve(
        &options(|o| {
            o.space = Some("prealloc".into());
            o.size = Some("1G".into());
        }),
        nothing,
    )
    .unwrap();
    assert_eq!(settings.space, Space::Prealloc);
}

#[test]
fn a_stats_file_asks_for_stats() {
    let settings = resolve(&options(|o| o.stats_file = Some("f-".into())), nothing).unwrap();
    assert_eq!(settings.stats, Some("text"));
}

#[test]
fn an_option_for_a_place_replaces_all_variables() {
    let lookup = |name: &str| match name {
        variable::DIR => Some("/dir".into()),
        variable::NODES => Some("prefer:0-1".into()),
        _ => None,
    };
    let medium = |set: fn(&mut Options)| resolve(&options(set), lookup).unwrap().medium;
    // The library does not read the directory when there are nodes.
    let Medium::Nodes(nodes) = medium(|_| ()) else { panic!("not on nodes") };
    assert_eq!((nodes.value.policy, nodes.value.nodes.count()), (NumaPolicy::Preferred, 2));
    assert_eq!(nodes.origin, Origin::Variable(variable::NODES));
    assert!(
        matches!(medium(|o| o.dir = Some("/d".into())), Medium::Directory(dir) if dir.value == "/d")
    );
    assert!(
        matches!(medium(|o| o.device = Some("/d".into())), Medium::Device(d) if d.value == "/d")
    );
    let Medium::Nodes(nodes) = medium(|o| o.nodes = Some("3".into())) else {
        panic!("not on nodes")
    };
    assert_eq!((nodes.value.policy, nodes.origin), (NumaPolicy::Bind, Origin::Option("--nodes")));
}

#[test]
fn two_variables_for_a_place_are_refused() {
    let lookup = |name: &str| match name {
        variable::DEVICE => Some("/dev/dax0.0".into()),
        variable::NODES => Some("0".into()),
        _ => None,
    };
    let refusal = resolve(&options(|_| ()), lookup).unwrap_err().to_string();
    assert!(refusal.contains("VMMALLOC_NODES and VMMALLOC_DEVICE exclude"), "{refusal}");
    assert!(resolve(&options(|o| o.dir = Some("/d".into())), lookup).is_ok());
}

#[test]
fn lists_of_nodes_are_checked() {
    for text in ["", "one", "1-", "prefer:", "1024", "0,,1"] {
        let message = refusal(|o| o.nodes = Some(text.into()));
        assert!(message.starts_with(&format!("--nodes '{text}' is no list")), "{message}");
    }
}

#[test]
fn a_device_has_a_size() {
    let settings = resolve(
        &options(|o| {
            o.space = Some("prealloc".into());
            o.device = Some("/dev/dax0.0".into());
        }),
        nothing,
    );
    assert_eq!(settings.unwrap().size_bytes, None);
}
