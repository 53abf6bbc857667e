//! The requests for pmemcheck, as valgrind receives them. The tool itself is not in Debian; but any tool tells, when asked
//! to be talkative, the first request that it does not understand.
#![cfg(not(miri))]

use std::process::Command;
use std::{env, ptr};

use pmem_core::valgrind::pmemcheck;

const REQUEST: &str = "PMEM_TEST_REQUEST";

/// Makes the request that the variable names.
#[test]
#[ignore = "run by the other test, under valgrind"]
fn make() {
    let start = ptr::without_provenance(0x10_0000);
    match env::var(REQUEST).expect("set by the other test").as_str() {
        "file" => pmemcheck::file_mapped(3, start, 4096, 0),
        "remove" => pmemcheck::unmapped(start, 4096),
        "flush" => pmemcheck::flushed(start, 64),
        "fence" => pmemcheck::fenced(),
        "ask" => assert!(!pmemcheck::is_running(), "another tool does not answer"),
        other => panic!("{other}"),
    }
}

#[test]
fn valgrind_receives_the_requests() {
    let requests = [("file", 1), ("remove", 2), ("ask", 3), ("flush", 5), ("fence", 6)];
    for (request, number) in requests {
        let mut command = Command::new("valgrind");
        command.args(["--tool=none", "-v", "-v", "-v"]).arg(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "make", "--test-threads=1"]).env(REQUEST, request);
        let Ok(output) = command.output() else {
            println!("NOT CHECKED: requests for pmemcheck (apt-get install valgrind)");
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{request}: {text}");
        let wanted = format!("(PC+0x{number:x})");
        assert!(text.contains(&wanted), "{request}: no {wanted} in\n{text}");
    }
}
