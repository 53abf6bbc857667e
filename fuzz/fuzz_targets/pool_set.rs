//! Texts of pool set files: none crashes the parser, and what is accepted comes back from its printed form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pool_format::PoolSet;
use std::path::Path;

fuzz_target!(|text: &[u8]| {
    let path = Path::new("set");
    // Most inputs would end at the first line.
    let with_start = [b"PMEMPOOLSET\n", text].concat();
    for text in [text, &with_start] {
        match PoolSet::parse(text, path) {
            Ok(set) => {
                assert!(set.replicas.iter().all(|replica| !replica.parts.is_empty()));
                // Paths that are no UTF-8 are printed for people.
                if text.is_ascii() {
                    assert_eq!(PoolSet::parse(set.to_string().as_bytes(), path), Ok(set));
                }
            }
            Err(error) => assert!(!error.to_string().is_empty() && error.errno().0 > 0),
        }
    }
});
