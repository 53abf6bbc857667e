//! Every example, and what it prints.

use crate::example::{example, run, text_of};

/// The number behind `label` in a text of lines.
fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let line = line.unwrap_or_else(|| panic!("no {label} in {text}"));
    line.trim().trim_end_matches(" bytes").parse().unwrap_or_else(|_| panic!("{label} in {text}"))
}

#[test]
fn global() {
    let text = text_of(example("global"));
    assert!(text.contains("digits of 0..200000: 1088890\n"), "{text}");
    assert!(text.contains("backing:            Pool\n"), "{text}");
    assert_eq!(number(&text, "pool bytes:"), 1 << 30);
    // 100,000 strings of at least 10 bytes, and the vector that holds them.
    assert!(number(&text, "allocated bytes:") >= 100_000 * (16 + 24), "{text}");
    let committed = number(&text, "committed bytes:");
    assert!(number(&text, "resident bytes:") <= committed + 4096, "{text}");
    assert!(number(&text, "blocks of    16 bytes:") >= 99_000, "{text}");
    assert!(number(&text, "after trim:") < committed / 2, "{text}");
}

#[test]
fn containers() {
    let text = text_of(example("containers"));
    assert!(text.contains("vector: 1000000 squares, the last is 999998000001\n"), "{text}");
    assert!(text.contains("map: 9240 has 64 divisors\n"), "{text}");
    assert!(text.contains("list: the sum is 499500\n"), "{text}");
    assert!(number(&text, "allocated:") > 8_000_000, "{text}");
    assert_eq!(number(&text, "left:"), 0);
    let mut elsewhere = example("containers");
    elsewhere.arg("/nowhere");
    let output = run(&mut elsewhere);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere"));
}

#[test]
fn nodes() {
    let output = run(&mut example("nodes"));
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        assert!(text.contains("the numbers are on node 0\n"), "{text}");
        assert!(number(&text, "resident:") >= 8_000_000, "{text}");
    } else {
        // No NUMA support here; then that must be what is said.
        let refused = ["mbind", "ENOENT", "ENOSYS", "EPERM"].iter().any(|why| errors.contains(why));
        assert!(refused, "{errors}");
    }
    let mut far = example("nodes");
    far.arg("1000");
    assert!(!run(&mut far).status.success());
}

#[test]
fn tiers() {
    let text = text_of(example("tiers"));
    assert!(text.contains("4711: 1800 bytes, \"the text of 4711\"\n"), "{text}");
    assert!(number(&text, "texts in a file:") >= 10_000 * 1600, "{text}");
    assert!(number(&text, "index in DRAM:") < 2 << 20, "{text}");
}
