//! The settings of the library, without the library: loading it would replace this program's malloc.

#![allow(dead_code, reason = "the settings are read by the library, not by this test")]

#[path = "../src/config.rs"]
mod config;

use config::{Config, Format, Invalid, Place, Space};
use pmem_core::numa::{NodeMask, NumaPolicy};
use std::ffi::CStr;
use vmem_engine::fork::ForkMode;
use vmem_engine::{HugePages, Overflow, PurgePolicy};

type Variables = [(&'static CStr, &'static CStr)];

fn read(variables: &Variables) -> Result<Config<'static>, Invalid<'static>> {
    Config::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
}

/// Settings with a directory, a size and one variable more.
fn with(name: &'static CStr, value: &'static CStr) -> Result<Config<'static>, Invalid<'static>> {
    let base = [(c"VMMALLOC_POOL_DIR", c"/pool"), (c"VMMALLOC_POOL_SIZE", c"14680064")];
    read(&[(name, value), base[0], base[1]])
}

fn text(result: Result<Config<'static>, Invalid<'static>>) -> String {
    result.expect_err("refused").to_string()
}

#[test]
fn defaults() {
    let config = with(c"OTHER", c"x").unwrap();
    assert_eq!(config.place, Place::Directory(c"/pool"));
    assert_eq!(config.size, Some(14 << 20));
    assert_eq!(config.fork, ForkMode::Private);
    assert_eq!(config.space, Space::Prealloc);
    assert_eq!(config.overflow, Overflow::Fail);
    assert_eq!(config.purge, PurgePolicy::AfterMs(1000));
    assert_eq!(config.home_ms, Some(1000));
    assert_eq!(config.huge_pages, HugePages::Never);
    assert!(!config.dump);
    assert_eq!((config.report, config.report_file), (None, None));
}

#[test]
fn what_is_required() {
    let dir = (c"VMMALLOC_POOL_DIR", c"/pool");
    let size = (c"VMMALLOC_POOL_SIZE", c"16777216");
    let missing = |name| format!("environment variable {name} not specified");
    assert_eq!(text(read(&[])), missing("VMMALLOC_POOL_DIR"));
    assert_eq!(text(read(&[size])), missing("VMMALLOC_POOL_DIR"));
    assert_eq!(text(read(&[dir])), missing("VMMALLOC_POOL_SIZE"));
    assert_eq!(read(&[size, dir]).unwrap().size, Some(16 << 20));
    // An empty directory name is a matter of opening it.
    let empty = read(&[(c"VMMALLOC_POOL_DIR", c""), size]).unwrap();
    assert_eq!(empty.place, Place::Directory(c""));
}

#[test]
fn sizes() {
    let size = |value| with_size(value).map(|config| config.size);
    for (value, expected) in [
        (c"14680064", 14 << 20),
        (c"14680064xyz", 14 << 20),
        (c" \t+14680065 9", 14_680_065),
        (c"99999999999999999999", i64::MAX as u64),
        // What follows the digits counts only where the digits alone would be refused.
        (c"14680064K", 14 << 20),
        (c"14M", 14 << 20),
        (c"1g", 1 << 30),
        (c"2T", 2 << 40),
        (c"16MiB", 16 << 20),
        (c"0x1000000", 16 << 20),
    ] {
        assert_eq!(size(value), Ok(Some(expected)), "{value:?}");
    }
    for (value, shown) in [
        (c"14680063", 14_680_063),
        (c"", 0),
        (c"lots", 0),
        (c"13M", 13 << 20),
        (c"64X", 64),
        (c"512MB", 512),
    ] {
        assert_eq!(size(value), Err(Invalid::SizeBelowMinimum(shown)), "{value:?}");
    }
    assert_eq!(
        text(with_size(c"5")),
        "VMMALLOC_POOL_SIZE value is less than minimum (5 < 14680064)"
    );
    for value in [c"-1", c"  -5x", c"-99999999999999999999"] {
        assert_eq!(text(with_size(value)), "negative VMMALLOC_POOL_SIZE");
    }
}

fn with_size(value: &'static CStr) -> Result<Config<'static>, Invalid<'static>> {
    read(&[(c"VMMALLOC_POOL_DIR", c"/pool"), (c"VMMALLOC_POOL_SIZE", value)])
}

#[test]
fn fork_values() {
    let fork = |value| with(c"VMMALLOC_FORK", value).map(|config| config.fork);
    for (value, expected) in [
        (c"0", ForkMode::Share),
        (c"", ForkMode::Share),
        (c"abc", ForkMode::Share),
        (c"1", ForkMode::Private),
        (c" 2x", ForkMode::Copy),
        (c"03", ForkMode::CopyOrPrivate),
        // A long, cut to an int.
        (c"4294967297", ForkMode::Private),
    ] {
        assert_eq!(fork(value), Ok(expected), "{value:?}");
    }
    assert_eq!(fork(c"4"), Err(Invalid::Fork(4)));
    assert_eq!(fork(c"-1"), Err(Invalid::Fork(-1)));
    assert_eq!(text(with(c"VMMALLOC_FORK", c"99")), "incorrect VMMALLOC_FORK value (99)");
}

/// Directory, size, fork value, our own variables: the first that is wrong is named.
#[test]
fn order_of_the_checks() {
    let mut variables: Vec<(&CStr, &CStr)> =
        vec![(c"VMMALLOC_SPACE", c"x"), (c"VMMALLOC_FORK", c"9"), (c"VMMALLOC_POOL_SIZE", c"1")];
    assert_eq!(read(&variables).unwrap_err(), Invalid::Missing("VMMALLOC_POOL_DIR"));
    variables.push((c"VMMALLOC_POOL_DIR", c"/pool"));
    assert_eq!(read(&variables).unwrap_err(), Invalid::SizeBelowMinimum(1));
    variables[2].1 = c"14680064";
    assert_eq!(read(&variables).unwrap_err(), Invalid::Fork(9));
    variables[1].1 = c"1";
    let ours = read(&variables).unwrap_err();
    assert!(matches!(ours, Invalid::Choice { name, .. } if name == c"VMMALLOC_SPACE"), "{ours}");
}

#[test]
fn our_own_variables() {
    let lazy = with(c"VMMALLOC_SPACE", c"lazy").unwrap();
    assert_eq!(lazy.space, Space::Lazy);
    let dram = with(c"VMMALLOC_OVERFLOW", c"dram").unwrap();
    assert_eq!(dram.overflow, Overflow::Dram);
    let huge = with(c"VMMALLOC_HUGEPAGE", c"advise").unwrap();
    assert_eq!(huge.huge_pages, HugePages::Advise);
    assert!(with(c"VMMALLOC_DUMP", c"1").unwrap().dump);
    assert_eq!(with(c"VMMALLOC_STATS", c"json").unwrap().report, Some(Format::Json));
    assert_eq!(with(c"VMMALLOC_STATS", c"text").unwrap().report, Some(Format::Text));
    let file = with(c"VMMALLOC_STATS_FILE", c"/tmp/report-").unwrap();
    assert_eq!(file.report_file, Some(c"/tmp/report-"));
    for (value, expected) in [
        (c"off", PurgePolicy::Never),
        (c"0", PurgePolicy::Immediate),
        (c"50", PurgePolicy::AfterMs(50)),
    ] {
        assert_eq!(with(c"VMMALLOC_PURGE_MS", value).unwrap().purge, expected, "{value:?}");
    }
    for (value, expected) in [(c"off", None), (c"0", None), (c"50", Some(50))] {
        assert_eq!(with(c"VMMALLOC_HOME_MS", value).unwrap().home_ms, expected, "{value:?}");
    }
}

#[test]
fn nonsense_in_our_own_variables_is_named() {
    for (name, value) in [
        (c"VMMALLOC_SPACE", c"LAZY"),
        (c"VMMALLOC_OVERFLOW", c"1"),
        (c"VMMALLOC_HOME_MS", c"never"),
        (c"VMMALLOC_PURGE_MS", c"+5"),
        (c"VMMALLOC_PURGE_MS", c"5ms"),
        (c"VMMALLOC_PURGE_MS", c"4294967296"),
        (c"VMMALLOC_HUGEPAGE", c"always"),
        (c"VMMALLOC_STATS", c"xml"),
        (c"VMMALLOC_DUMP", c"yes"),
    ] {
        let message = text(with(name, value));
        let start = format!(
            "incorrect {} value ({}), must be ",
            name.to_str().unwrap(),
            value.to_str().unwrap()
        );
        assert!(message.starts_with(&start), "{message}");
    }
    let message = text(with(c"VMMALLOC_SPACE", c"a\n\xff"));
    assert_eq!(message, "incorrect VMMALLOC_SPACE value (a\\n\\xff), must be prealloc or lazy");
    // Empty is unset.
    assert_eq!(with(c"VMMALLOC_SPACE", c"").unwrap().space, Space::Prealloc);
    assert_eq!(with(c"VMMALLOC_STATS_FILE", c"").unwrap().report_file, None);
}

#[test]
fn nodes_take_the_place_of_the_directory() {
    let size = (c"VMMALLOC_POOL_SIZE", c"16M");
    let nodes = |value: &'static CStr| {
        read(&[(c"VMMALLOC_NODES", value), size, (c"VMMALLOC_POOL_DIR", c"/not/read")])
            .map(|config| config.place)
    };
    for (list, numbers, policy) in [
        (c"1", &b"1"[..], NumaPolicy::Bind),
        (c"0-1,3", b"0-1,3", NumaPolicy::Bind),
        (c"prefer:2-3", b"2-3", NumaPolicy::Preferred),
    ] {
        let nodes_of = NodeMask::parse_list(numbers).unwrap();
        assert_eq!(nodes(list), Ok(Place::Nodes { nodes: nodes_of, policy, list }), "{list:?}");
    }
    assert_eq!(nodes(c""), Ok(Place::Directory(c"/not/read")));
    for list in [c"x", c"1-", c"3-2", c"1024", c"prefer", c"prefer:", c"prefer: x", c" ", c"bind:1"]
    {
        let shown = list.to_bytes().escape_ascii();
        let text = text(read(&[(c"VMMALLOC_NODES", list), size]));
        let start =
            format!("incorrect VMMALLOC_NODES value ({shown}), must be a list of nodes such as");
        assert!(text.starts_with(&start), "{text}");
    }
    assert_eq!(
        read(&[(c"VMMALLOC_NODES", c"0")]).unwrap_err(),
        Invalid::Missing("VMMALLOC_POOL_SIZE")
    );
}

#[test]
fn a_device_takes_the_place_of_the_directory_and_has_a_size() {
    let device = (c"VMMALLOC_DEVICE", c"/dev/dax0.0");
    let config = read(&[device]).unwrap();
    assert_eq!((config.place, config.size), (Place::Device(c"/dev/dax0.0"), None));
    assert_eq!(read(&[device, (c"VMMALLOC_POOL_SIZE", c"1G")]).unwrap().size, Some(1 << 30));
    let small = read(&[device, (c"VMMALLOC_POOL_SIZE", c"1")]);
    assert_eq!(small.unwrap_err(), Invalid::SizeBelowMinimum(1));
    let empty = [(c"VMMALLOC_DEVICE", c""), (c"VMMALLOC_POOL_SIZE", c"14M")];
    assert_eq!(read(&empty).unwrap_err(), Invalid::Missing("VMMALLOC_POOL_DIR"));
    for mode in [c"0", c"1", c"3"] {
        assert!(read(&[device, (c"VMMALLOC_FORK", mode)]).is_ok());
    }
    let copy = text(read(&[device, (c"VMMALLOC_FORK", c"2")]));
    assert!(copy.contains("use 1 or 3"), "{copy}");
    let two = text(read(&[device, (c"VMMALLOC_NODES", c"0")]));
    assert_eq!(two, "VMMALLOC_NODES and VMMALLOC_DEVICE exclude each other: unset one of them");
}
