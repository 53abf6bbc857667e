//! Logs with copies.

use pmemlog::{Options, PmemLog};
use std::fs;

#[test]
fn every_copy_has_every_append() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let set = at("set");
    let text = format!("PMEMPOOLSET\n4M {}\nREPLICA\n2M {}\n3M {}\n", at("a"), at("b"), at("c"));
    fs::write(&set, text).unwrap();
    assert_eq!(Options::new().create_in(&set).unwrap_err().errno().name(), "EOPNOTSUPP");
    let with_replicas = Options::new().replicas(true);
    let log = with_replicas.create_in(&set).unwrap();
    log.append(&[7; 3 << 20]).unwrap(); // beyond the first part of the copy
    log.append(b"the end").unwrap();
    drop(log);
    assert_eq!(PmemLog::open(&set).unwrap_err().errno().name(), "EOPNOTSUPP");
    let data = |name: &str| fs::read(at(name)).unwrap();
    let first = data("a")[0x1000..].to_vec();
    let second = [&data("b")[0x1000..], &data("c")[0x1000..]].concat();
    let used = 0x1000 + (3 << 20) + 7;
    assert!(first[..used] == second[..used]);

    // A crash between the copies: the first one counts.
    let write = |name: &str, at_byte: usize, byte: u8| {
        let mut bytes = data(name);
        bytes[at_byte] = byte;
        fs::write(at(name), bytes).unwrap();
    };
    write("b", 0x1010, 0);
    write("b", 0x3000, 99);
    let log = with_replicas.open(&set).unwrap();
    assert_eq!(log.tell(), (3 << 20) + 7);
    drop(log);
    assert_eq!(data("b")[0x1010], data("a")[0x1010]);
    assert_eq!(data("b")[0x3000], 7);
}
