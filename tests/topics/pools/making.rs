//! Making a pool that is interrupted, or for which there is no room: what is left is nothing, a whole pool, or
//! something that says what to do.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Instant;

use pmem_e2e::mount::Mount;
use pmem_e2e::scratch::Scratch;
use pmem_e2e::stepping::kill_at_system_call;

use super::{Peer, peer, program, text, try_peer};

/// A pool in a directory of its own.
struct Making {
    name: &'static str,
    kind: &'static str,
    /// The text of a pool set file; empty for a single file.
    set: &'static str,
    /// Files that are there before, with their sizes.
    found: &'static [(&'static str, u64)],
    /// Files that are made.
    parts: &'static [&'static str],
}

const MAKINGS: [Making; 6] = [
    Making { name: "a log", kind: "log", set: "", found: &[], parts: &["pool"] },
    Making { name: "blocks", kind: "blk", set: "", found: &[], parts: &["pool"] },
    Making {
        name: "a log of three files",
        kind: "log",
        set: "2M @/a\n3M @/b\n2M @/c\n",
        found: &[],
        parts: &["a", "b", "c"],
    },
    Making {
        name: "blocks in three files, one header",
        kind: "blk",
        set: "OPTION SINGLEHDR\n17M @/a\n2M @/b\n2M @/c\n",
        found: &[],
        parts: &["a", "b", "c"],
    },
    Making {
        name: "a log in a file that is there",
        kind: "log",
        set: "",
        found: &[("pool", 2 << 20)],
        parts: &[],
    },
    Making {
        name: "a log with a part that is there",
        kind: "log",
        set: "2M @/a\n2M @/b\n",
        found: &[("b", 2 << 20)],
        parts: &["a"],
    },
];

impl Making {
    /// Brings the directory to the state before; gives the arguments of the program.
    fn prepare(&self, directory: &Path) -> Vec<String> {
        for entry in fs::read_dir(directory).expect("the directory") {
            fs::remove_file(entry.expect("an entry").path()).expect("a file of ours");
        }
        for (name, size) in self.found {
            let file = File::create(directory.join(name)).expect("a file");
            file.set_len(*size).expect("its size");
        }
        let path = self.path(directory);
        if !self.set.is_empty() {
            let set = self.set.replace('@', text(directory));
            fs::write(&path, format!("PMEMPOOLSET\n{set}")).expect("a pool set file");
        }
        let size = match (self.set.is_empty() && self.found.is_empty(), self.kind) {
            (false, _) => "0",
            (true, "log") => "2097152",
            (true, _) => "16785408",
        };
        let mut arguments = vec![format!("{}-create", self.kind), path];
        if self.kind == "blk" {
            arguments.push("512".into());
        }
        arguments.push(size.into());
        arguments
    }

    fn path(&self, directory: &Path) -> String {
        text(&directory.join(if self.set.is_empty() { "pool" } else { "set" })).to_owned()
    }

    fn parts_in(&self, directory: &Path) -> usize {
        self.parts.iter().filter(|part| directory.join(part).exists()).count()
    }
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// What an interrupted creation has left.
#[derive(Debug, PartialEq)]
enum Left {
    Nothing,
    Pool,
    /// Not all parts, or no header: making it again helps.
    Again,
    /// What the text of the error names has to be done first.
    Told,
}

/// Finds out what is left, and brings it to a good end.
fn look(making: &Making, directory: &Path, arguments: &[String]) -> Left {
    let path = making.path(directory);
    let check = try_peer(Peer::Ours, &[&format!("{}-check", making.kind), &path], &[]);
    if check.code() == Some(0) {
        assert_eq!(making.parts_in(directory), making.parts.len(), "{}", making.name);
        return Left::Pool;
    }
    let nothing = making.parts_in(directory) == 0;
    let again = try_peer(Peer::Ours, &borrowed(arguments), &[]);
    if again.code() == Some(0) {
        return if nothing && making.found.is_empty() { Left::Nothing } else { Left::Again };
    }
    let said = again.out();
    assert!(said.contains("Non-empty file detected") && said.contains("remove it"), "{again}");
    assert!(!making.set.is_empty(), "one file is made as a whole: {again}");
    Left::Told
}

fn create(arguments: &[String]) -> Command {
    let mut command = Command::new(program("pools_peer"));
    Peer::Ours.choose(command.args(arguments));
    command
}

#[test]
fn killed_at_any_system_call() {
    let scratch = Scratch::in_memory("making");
    // What the program does before it looks at its arguments.
    let (_, loading) = kill_at_system_call(&mut create(&[]), usize::MAX);
    for making in &MAKINGS {
        let mut counts = [0; 4];
        for number in loading - 5.. {
            let arguments = making.prepare(scratch.path());
            let (status, _) = kill_at_system_call(&mut create(&arguments), number);
            let left = look(making, scratch.path(), &arguments);
            counts[match left {
                Left::Nothing => 0,
                Left::Pool => 1,
                Left::Again => 2,
                Left::Told => 3,
            }] += 1;
            if status.code() == Some(0) {
                assert_eq!(left, Left::Pool, "{}", making.name);
                break;
            }
            assert!(status.code().is_none(), "{}: {status}", making.name);
        }
        println!("{}: nothing, pool, again, told: {counts:?}", making.name);
        assert!(counts[1] > 1, "{}: killed behind the end, too", making.name);
        if making.found.is_empty() {
            // Only while several parts get their names one after the other.
            let names = making.parts.len() - 1;
            assert!(counts[2] + counts[3] <= 2 * names, "{}: {counts:?}", making.name);
        }
    }
}

#[test]
fn killed_at_any_time() {
    let scratch = Scratch::in_memory("making");
    for making in &MAKINGS {
        let arguments = making.prepare(scratch.path());
        let start = Instant::now();
        create(&arguments).status().expect("it runs");
        let whole = start.elapsed();
        const ROUNDS: u32 = 25;
        let mut pools = 0;
        for round in 0..ROUNDS {
            let arguments = making.prepare(scratch.path());
            let mut child = create(&arguments).spawn().expect("it starts");
            sleep(whole * round / ROUNDS);
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            pools += u32::from(look(making, scratch.path(), &arguments) == Left::Pool);
        }
        println!("{}: {pools} of {ROUNDS} within {whole:?} were made", making.name);
    }
}

/// No room for the first, the second, the third part; no room for a name.
#[test]
fn without_room_nothing_is_left() {
    let Some(mount) = Mount::tmpfs_with("size=2m,nr_inodes=1000", "making pools without room")
    else {
        return;
    };
    let limit = |options: &str| mount.remount(options);
    for making in MAKINGS.iter().filter(|making| making.found.is_empty()) {
        let mut tries = 0;
        let refused = |options: &str| {
            limit("size=64m,nr_inodes=1000");
            let arguments = making.prepare(mount.path());
            limit(options);
            let outcome = try_peer(Peer::Ours, &borrowed(&arguments), &[]);
            if outcome.code() == Some(0) {
                return false;
            }
            assert!(outcome.out().contains("(errno 28)"), "{outcome}");
            assert!(outcome.out().contains("No space left on device"), "{outcome}");
            assert_eq!(making.parts_in(mount.path()), 0, "{outcome}");
            let others = usize::from(!making.set.is_empty());
            assert_eq!(fs::read_dir(mount.path()).expect("it").count(), others, "{outcome}");
            true
        };
        let sizes = (1u64..64).map(|half| format!("size={}k,nr_inodes=1000", half * 512));
        tries += sizes.take_while(|size| refused(size)).count();
        // One for the directory itself.
        let sets = u64::from(!making.set.is_empty());
        let inodes = (1 + sets..9).map(|count| format!("size=64m,nr_inodes={count}"));
        let refusals = inodes.take_while(|inodes| refused(inodes)).count();
        assert_eq!(refusals, making.parts.len(), "{}", making.name);
        println!("{}: refused {} times", making.name, tries + refusals);
        assert!(tries >= 3, "{}", making.name);
        limit("size=64m,nr_inodes=1000");
        let arguments = making.prepare(mount.path());
        peer(Peer::Ours, &borrowed(&arguments));
        making.prepare(mount.path());
    }
}
