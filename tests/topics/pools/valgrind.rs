//! Programs under valgrind: its tools find nothing in the libraries, and what is the program's own.

use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::need;
use pmem_e2e::run::{Outcome, run};
use pmem_e2e::scratch::Scratch;

use super::{Peer, program, text};

/// The threads of a program take turns, so it suffers more than others on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
/// What valgrind exits with when it has found something.
const FOUND: i32 = 99;

fn under(tool: &str, name: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(need("valgrind", "valgrind"));
    command.args(["-q", &format!("--tool={tool}"), &format!("--error-exitcode={FOUND}")]);
    command.arg(program(name)).args(arguments);
    run(Peer::Ours.choose(&mut command), LIMIT)
}

#[test]
fn tools_find_nothing() {
    let scratch = Scratch::in_memory("pools-valgrind");
    let at = |name: &str| text(&scratch.path().join(name)).to_owned();
    for tool in ["memcheck", "helgrind", "drd"] {
        let (log, blk) = (at(&format!("{tool}-log")), at(&format!("{tool}-blk")));
        for arguments in [
            &["log-create", &log, "2097152"][..],
            &["log-append", &log, "1", "100"],
            &["log-verify", &log, "1", "100"],
            &["blk-create", &blk, "512", "16785408"],
            &["blk-write", &blk, "1", "100"],
            &["blk-check", &blk],
        ] {
            let outcome = under(tool, "pools_peer", arguments).success();
            assert_eq!(outcome.err(), "", "{tool} {arguments:?}");
        }
        for kind in ["log", "blk"] {
            let path = at(&format!("{tool}-threads-{kind}"));
            let outcome = under(tool, "pools_threads", &[kind, &path]).success();
            assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("done\n", ""), "{tool}");
        }
    }
}

#[test]
fn races_of_the_program_are_found() {
    for tool in ["helgrind", "drd"] {
        let outcome = under(tool, "pools_threads", &["race", "-"]);
        assert_eq!(outcome.code(), Some(FOUND), "{outcome}");
        assert!(outcome.err().contains("on_nothing"), "{outcome}");
    }
}
