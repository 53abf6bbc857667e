//! The shared object itself: names, symbols, needs, flags, size.

use std::collections::BTreeSet;
use std::fs;

use pmem_e2e::artifact::{library, release_library};
use pmem_e2e::object::tool;

/// The functions of the contract: these and no others are strong.
const CONTRACT: [&str; 11] = [
    "aligned_alloc",
    "calloc",
    "cfree",
    "free",
    "malloc",
    "malloc_usable_size",
    "memalign",
    "posix_memalign",
    "pvalloc",
    "realloc",
    "valloc",
];

/// Dynamic symbols as (type letter, name).
fn symbols(arguments: &[&str]) -> Vec<(String, String)> {
    let out = tool("nm", &[&["-D"], arguments].concat(), library());
    out.lines()
        .map(|line| {
            let mut fields = line.split_whitespace().rev();
            let name = fields.next().expect("a name").to_owned();
            (fields.next().expect("a type").to_owned(), name)
        })
        .collect()
}

#[test]
fn the_soname_is_libvmmalloc_so_1() {
    let dynamic = tool("readelf", &["-dW"], library());
    assert!(dynamic.contains("Library soname: [libvmmalloc.so.1]"), "{dynamic}");
}

#[test]
fn only_the_c_library_is_needed() {
    for file in [library(), release_library()] {
        let dynamic = tool("readelf", &["-dW"], file);
        let needed: Vec<&str> = dynamic.lines().filter(|l| l.contains("(NEEDED)")).collect();
        assert_eq!(needed.len(), 1, "{needed:?}");
        assert!(needed[0].contains("[libc.so.6]"), "{needed:?}");
        for tag in ["(RPATH)", "(RUNPATH)", "(TEXTREL)"] {
            assert!(!dynamic.contains(tag), "{tag} in\n{dynamic}");
        }
    }
}

#[test]
fn the_exports_are_the_committed_list() {
    let list = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/abi/libvmmalloc.symbols"))
        .expect("the committed list");
    let wanted: BTreeSet<String> = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect();
    let found: BTreeSet<String> = symbols(&["--defined-only"])
        .into_iter()
        .map(|(letter, name)| format!("{letter} {name}"))
        .collect();
    let missing: Vec<_> = wanted.difference(&found).collect();
    let extra: Vec<_> = found.difference(&wanted).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:?}, not listed: {extra:?}");
}

/// A versioned malloc is not picked by programs that ask for malloc@GLIBC_2.2.5.
#[test]
fn no_export_carries_a_version() {
    for (_, name) in symbols(&["--defined-only", "--with-symbol-versions"]) {
        assert!(!name.contains('@'), "{name}");
    }
    let versions = tool("readelf", &["-VW"], library());
    assert!(!versions.contains("Version definition section"), "{versions}");
}

#[test]
fn exactly_the_contract_is_strong() {
    let strong: BTreeSet<String> = symbols(&["--defined-only"])
        .into_iter()
        .filter(|(letter, _)| letter == "T")
        .map(|(_, name)| name)
        .collect();
    assert_eq!(strong, CONTRACT.map(str::to_owned).into());
}

#[test]
fn the_hooks_are_data_of_one_pointer() {
    let out = tool("nm", &["-D", "--defined-only", "--print-size"], library());
    for hook in ["__malloc_hook", "__realloc_hook", "__memalign_hook", "__free_hook"] {
        let line = out
            .lines()
            .find(|line| line.ends_with(&format!(" {hook}")))
            .unwrap_or_else(|| panic!("{hook} is not exported"));
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields[1], "0000000000000008", "{line}");
        assert!(["B", "D", "V"].contains(&fields[2]), "{line}");
    }
}

/// Nothing undefined that needs another library, a newer C library than Debian 12 has, or may allocate.
#[test]
fn imports_come_from_the_c_library_of_debian_12() {
    const BANNED: [&str; 12] = [
        "__tls_get_addr",
        "dlsym",
        "dlopen",
        "printf",
        "fprintf",
        "vfprintf",
        "fopen",
        "puts",
        "_Unwind_Resume",
        "rust_eh_personality",
        "getenv",
        "__cxa_thread_atexit_impl",
    ];
    for (letter, name) in symbols(&["--undefined-only", "--with-symbol-versions"]) {
        let (bare, version) = name.split_once('@').unwrap_or((&name, ""));
        assert!(!BANNED.contains(&bare), "imports {name}");
        if letter != "w" {
            let version = version
                .trim_start_matches('@')
                .strip_prefix("GLIBC_2.")
                .unwrap_or_else(|| panic!("{name} is not from the C library"));
            let minor: u32 =
                version.split('.').next().and_then(|v| v.parse().ok()).expect("a number");
            assert!(minor <= 36, "imports {name}");
        }
    }
}

#[test]
fn thread_local_storage_is_static_and_small() {
    for file in [library(), release_library()] {
        let dynamic = tool("readelf", &["-dW"], file);
        assert!(dynamic.contains("STATIC_TLS"), "{dynamic}");
        let relocations = tool("readelf", &["-rW"], file);
        for dynamic_model in ["DTPMOD", "DTPOFF", "TLSDESC"] {
            assert!(!relocations.contains(dynamic_model), "{relocations}");
        }
        let segments = tool("readelf", &["-lW"], file);
        let tls =
            segments.lines().find(|l| l.trim_start().starts_with("TLS ")).expect("a TLS segment");
        // Type, offset, virtual, physical, file size, memory size.
        let size =
            tls.split_whitespace().nth(5).and_then(|s| s.strip_prefix("0x")).expect("a size");
        let size = u64::from_str_radix(size, 16).expect("a number");
        assert!(size <= 32, "{size} bytes of static TLS");
    }
}

#[test]
fn the_binary_is_hardened() {
    for file in [library(), release_library()] {
        let dynamic = tool("readelf", &["-dW"], file);
        let flags: Vec<&str> = dynamic.lines().filter(|l| l.contains("(FLAGS")).collect();
        assert!(flags.iter().any(|l| l.contains("NOW")), "{flags:?}");
        assert!(flags.iter().any(|l| l.contains("NODELETE")), "{flags:?}");
        let segments = tool("readelf", &["-lW"], file);
        assert!(segments.contains("GNU_RELRO"), "{segments}");
        let stack =
            segments.lines().find(|l| l.contains("GNU_STACK")).expect("a GNU_STACK segment");
        assert!(stack.contains("RW ") && !stack.contains("RWE"), "{stack}");
    }
}

#[test]
fn the_library_stays_under_200_kib() {
    let size = fs::metadata(release_library()).expect("the library").len();
    assert!(size < 200 << 10, "{size} bytes");
}
