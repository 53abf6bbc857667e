//! libpmemlog.so.1 and libpmemblk.so.1: the contract, and the same pools used by ours and by those of Debian.

#[path = "pools/making.rs"]
mod making;
#[path = "pools/valgrind.rs"]
mod valgrind;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pmem_e2e::artifact::{self, Shape, need};
use pmem_e2e::capi::{Build, headers, installed};
use pmem_e2e::cases::Cases;
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::plain;
use pmem_e2e::run::{Outcome, SHORT, run};
use pmem_e2e::scratch::Scratch;

const LONG: Duration = Duration::from_secs(180);
const LIBRARIES: [&str; 2] = ["libpmemlog", "libpmemblk"];

/// Whose libraries a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Ours,
    /// The debug twins.
    Twin,
    /// PMDK, as Debian has it.
    Debian,
}

impl Peer {
    const ALL: [Peer; 2] = [Peer::Ours, Peer::Debian];
    const EVERY_BUILD: [Peer; 3] = [Peer::Ours, Peer::Twin, Peer::Debian];

    fn folder(self) -> PathBuf {
        match self {
            Peer::Ours => Build::Release.folder(),
            Peer::Twin => Build::Debug.persistent_folder(),
            Peer::Debian => {
                let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
                for library in LIBRARIES {
                    let file = Path::new(&folder).join(format!("{library}.so.1"));
                    assert!(
                        file.exists(),
                        "{} is missing: apt-get install {library}1",
                        file.display()
                    );
                }
                folder.into()
            }
        }
    }

    fn choose(self, command: &mut Command) -> &mut Command {
        plain(command).env("LD_LIBRARY_PATH", self.folder())
    }

    fn other(self) -> Peer {
        if self == Peer::Ours { Peer::Debian } else { Peer::Ours }
    }
}

fn program(name: &str) -> PathBuf {
    let include = format!("-I{}", headers().display());
    let folder = Build::Release.folder();
    let search = format!("-L{}", folder.display());
    let runpath = format!("-Wl,--enable-new-dtags,-rpath,{}", folder.display());
    let arguments = [&include, &search, &runpath, "-lpmemlog", "-lpmemblk", "-pthread"];
    artifact::compile(name, name, Shape::Program, &arguments)
}

fn try_peer(peer: Peer, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(program("pools_peer"));
    run(peer.choose(command.args(arguments)).envs(variables.iter().copied()), LONG)
}

fn peer(peer: Peer, arguments: &[&str]) -> String {
    let outcome = try_peer(peer, arguments, &[]);
    assert!(outcome.code() == Some(0), "{peer:?}: {outcome}");
    outcome.out().trim().to_owned()
}

/// `pmempool check` of Debian.
fn pmempool_check(path: &str) {
    let mut command = Command::new(need("pmempool", "pmdk-tools"));
    let outcome = run(plain(command.args(["check", "-v", path])), SHORT);
    assert!(outcome.code() == Some(0), "{outcome}");
    assert!(outcome.out().contains("consistent"), "{outcome}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

// ---- the contract ----

fn cases(name: &str, place: &Path, peers: &[Peer]) {
    let program = program(name);
    for peer in peers {
        Cases::of(&program).limit(LONG).argument(place).run_with(|command| {
            peer.choose(command);
        });
        for entry in fs::read_dir(place).expect("the directory of the pools") {
            fs::remove_file(entry.expect("an entry").path()).expect("a file of a case");
        }
    }
}

#[test]
fn the_contract_of_logs_holds_for_both_libraries() {
    let scratch = Scratch::in_memory("pmemlog");
    cases("pmemlog", scratch.path(), &Peer::EVERY_BUILD);
}

#[test]
fn the_contract_of_blocks_holds_for_both_libraries() {
    let scratch = Scratch::in_memory("pmemblk");
    cases("pmemblk", scratch.path(), &Peer::EVERY_BUILD);
}

#[test]
fn the_contract_holds_on_ext4() {
    let Some(mount) = Mount::ext4(200, &["-O", "^has_journal"], "", "pools on ext4") else {
        return;
    };
    fs::remove_dir_all(mount.path().join("lost+found")).expect("a fresh file system has it");
    cases("pmemlog", mount.path(), &[Peer::Ours]);
    // Writing a block is two system calls, and there are many in the cases with threads.
    let program = program("pmemblk");
    Cases::of(&program)
        .limit(LONG)
        .only(|name| !name.starts_with("readers"))
        .argument(mount.path())
        .run_with(|command| {
            Peer::Ours.choose(command);
        });
}

#[test]
fn the_headers_stand_alone() {
    let outcome = run(Peer::Ours.choose(&mut Command::new(program("pools_asserts"))), SHORT);
    assert_eq!(outcome.success().out(), "ok\n");
    for library in LIBRARIES {
        for compiler in ["cc", "c++"] {
            let mut command = Command::new(compiler);
            command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic", "-x"]);
            command.arg(if compiler == "cc" { "c" } else { "c++" });
            run(command.arg(headers().join(format!("{library}.h"))), SHORT).success();
        }
    }
}

#[test]
fn configuration_is_read_when_the_library_is_loaded() {
    let scratch = Scratch::in_memory("pools-conf");
    let file = scratch.path().join("conf");
    let pool = scratch.path().join("pool");
    let create = |variables: &[(&str, &str)]| {
        let _ = fs::remove_file(&pool);
        try_peer(Peer::Ours, &["log-create", text(&pool), "2097152"], variables)
    };
    let incompat = || fs::read(&pool).expect("a pool")[16];
    create(&[]).success();
    assert_eq!(incompat(), 6);
    create(&[("PMEMLOG_CONF", "sds.at_create=0")]).success();
    assert_eq!(incompat(), 2);
    create(&[("PMEMBLK_CONF", "sds.at_create=0")]).success();
    assert_eq!(incompat(), 6);
    fs::write(&file, " sds . at_create = No ; # comment\nnothing=1").expect("a file");
    create(&[("PMEMLOG_CONF_FILE", text(&file))]).success();
    assert_eq!(incompat(), 2);
    create(&[("PMEMLOG_CONF_FILE", "")]).success();
    for (name, value) in [
        ("PMEMLOG_CONF", "sds.at_create"),
        ("PMEMLOG_CONF", "a=b=c"),
        ("PMEMBLK_CONF", "="),
        ("PMEMLOG_CONF_FILE", "/nowhere/conf"),
    ] {
        let outcome = create(&[(name, value)]);
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{name}={value}: {outcome}");
    }
}

// ---- the debug twins ----

/// Runs one operation on a twin, with variables; gives the outcome.
fn twin(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    try_peer(Peer::Twin, arguments, variables)
}

#[test]
fn the_twins_log_calls_and_errors() {
    let scratch = Scratch::in_memory("pools-twin");
    let (pool, log) = (scratch.path().join("pool"), scratch.path().join("log-"));
    let all = [("PMEMLOG_LOG_LEVEL", "3"), ("PMEMLOG_LOG_FILE", text(&log))];
    let outcome = twin(&["log-create", text(&pool), "2097152"], &all).success();
    // The name ends with the process id.
    let file = scratch.path().join(format!("log-{}", outcome.pid));
    let lines = fs::read_to_string(&file).expect("the log");
    assert_eq!(outcome.err(), "", "all of it is in the file");
    let lines: Vec<&str> = lines.lines().collect();
    for (at, begin, end) in [
        (0, "<libpmemlog>: <1> [", text(&program("pools_peer"))),
        (1, "<libpmemlog>: <1> [", " libpmemlog version 1.1"),
        (2, "<libpmemlog>: <1> [", concat!(" src version: ", env!("CARGO_PKG_VERSION"))),
    ] {
        assert!(lines[at].starts_with(begin) && lines[at].ends_with(end), "{}", lines[at]);
    }
    let called = |name: &str| lines.iter().any(|line| line.contains(&format!(" {name}] ")));
    assert!(called("pmemlog_create") && called("pmemlog_close"), "{lines:?}");
    let call = lines.iter().find(|line| line.contains("pmemlog_create")).expect("found above");
    assert!(call.starts_with("<libpmemlog>: <3> [lib.rs:"), "{call}");
    assert!(call.contains(&format!("path {} poolsize 2097152", text(&pool))), "{call}");

    // Each library has variables of its own; level 1 is errors; without a file, standard error.
    let missing = text(&scratch.path().join("missing")).to_owned();
    let blk = twin(&["blk-check", &missing], &[("PMEMBLK_LOG_LEVEL", "1")]);
    let said = format!("open \"{missing}\": No such file or directory");
    assert!(blk.err().lines().last().is_some_and(|line| line.ends_with(&said)), "{blk}");
    assert!(blk.err().lines().all(|line| line.starts_with("<libpmemblk>: <1> [")), "{blk}");
    for level in ["0", "-1", "abc"] {
        let quiet = twin(&["log-check", &missing], &[("PMEMLOG_LOG_LEVEL", level)]);
        assert_eq!(quiet.err(), "", "{level}");
    }
    let aligned = [("PMEMLOG_LOG_LEVEL", "1"), ("PMDK_LOG_ALIGN", "60")];
    let aligned = twin(&["log-check", &missing], &aligned);
    assert!(
        aligned.err().lines().all(|line| line.find("] ").is_some_and(|at| at < 60)),
        "{aligned}"
    );
    assert!(aligned.err().lines().all(|line| line.as_bytes()[59] == b' '), "{aligned}");

    // A file that cannot be opened ends the process.
    let nowhere = [("PMEMLOG_LOG_FILE", "/nowhere/log")];
    let outcome = twin(&["log-check", text(&pool)], &nowhere);
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert!(outcome.err().contains("PMEMLOG_LOG_FILE=/nowhere/log"), "{outcome}");

    // The ordinary library knows none of this.
    let variables = [("PMEMLOG_LOG_LEVEL", "4"), ("PMEMLOG_LOG_FILE", "/nowhere/log")];
    let outcome = try_peer(Peer::Ours, &["log-check", text(&pool)], &variables).success();
    assert_eq!(outcome.err(), "");
}

// ---- the files ----

#[test]
fn shared_objects_have_the_symbols_of_debians() {
    let tool = |name: &str, arguments: &[&str], file: &Path| {
        run(Command::new(need(name, "binutils")).args(arguments).arg(file), SHORT).success().out()
    };
    let symbols = |file: &Path| -> Vec<String> {
        let out = tool("nm", &["-D", "--defined-only", "--with-symbol-versions"], file);
        let names = out.lines().map(|line| line.split_once(' ').expect("an address").1.trim());
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    };
    for library in LIBRARIES {
        let listed = format!("{}/abi/{library}.symbols", env!("CARGO_MANIFEST_DIR"));
        let listed = fs::read_to_string(listed).expect("the committed list");
        let lines = listed.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let mut listed: Vec<_> = lines.map(str::to_owned).collect();
        listed.sort();
        for peer in Peer::EVERY_BUILD {
            let file = peer.folder().join(format!("{library}.so.1"));
            assert_eq!(symbols(&file), listed, "{}", file.display());
            let dynamic = tool("readelf", &["-dW"], &file);
            assert!(dynamic.contains(&format!("Library soname: [{library}.so.1]")), "{dynamic}");
        }
        let archive = Build::Release.folder().join(format!("{library}.a"));
        let globals = tool("nm", &["-g", "--defined-only"], &archive);
        let prefix = library.strip_prefix("lib").expect("a library");
        for line in globals.lines().filter(|line| line.contains(" T ")) {
            assert!(line.contains(&format!(" T {prefix}_")), "{line}");
        }
        let pkgconfig = Build::Release.folder().join(format!("pkgconfig/{library}.pc"));
        assert!(
            fs::read_to_string(pkgconfig).expect("a .pc file").contains(&format!("-l{prefix}"))
        );
        assert!(installed().join(format!("usr/share/man/man7/{library}.7")).exists());
        assert!(installed().join(format!("usr/share/man/man3/{prefix}_check.3")).exists());
    }
}

#[test]
fn programs_link_with_the_archives() {
    let include = format!("-I{}", headers().display());
    let archives = LIBRARIES.map(|library| {
        Build::Release.folder().join(format!("{library}.a")).to_str().expect("UTF-8").to_owned()
    });
    for (library, archive) in ["log", "blk"].iter().zip(&archives) {
        let name = format!("pmem{library}");
        let source = artifact::c_sources().join(format!("archive_{name}.c"));
        let program = Scratch::new("archive");
        let output = program.path().join("program");
        let mut command = Command::new("cc");
        command.arg(&include).arg(&source).arg("-o").arg(&output).arg(archive);
        command.args(["-lgcc_s", "-pthread", "-ldl", "-lm"]);
        run(&mut command, LONG).success();
        let pool = program.path().join("pool");
        run(Command::new(&output).arg(&pool), SHORT).success();
        assert!(pool.exists());
    }
}

// ---- interchange ----

struct Layout {
    name: &'static str,
    /// The pool set file's text; `None` for a single file.
    set: Option<&'static str>,
    variables: &'static [(&'static str, &'static str)],
}

const LAYOUTS: [Layout; 5] = [
    Layout { name: "file", set: None, variables: &[] },
    Layout {
        name: "file without shutdown state",
        set: None,
        variables: &[("PMEMLOG_CONF", "sds.at_create=0"), ("PMEMBLK_CONF", "sds.at_create=0")],
    },
    Layout { name: "one part", set: Some("20M @/a\n"), variables: &[] },
    Layout { name: "three parts", set: Some("17M @/a\n2099000 @/b\n4M @/c\n"), variables: &[] },
    Layout { name: "one header", set: Some("OPTION SINGLEHDR\n17M @/a\n2M @/b\n"), variables: &[] },
];

/// A place for a pool with this layout, as the argument of a program, and the size to create it with.
fn place(layout: &Layout, scratch: &Scratch, size: u64) -> (String, String) {
    let path = scratch.path().join("pool");
    match layout.set {
        None => (text(&path).to_owned(), size.to_string()),
        Some(set) => {
            let set = set.replace('@', text(scratch.path()));
            fs::write(&path, format!("PMEMPOOLSET\n{set}")).expect("a pool set file");
            (text(&path).to_owned(), "0".to_owned())
        }
    }
}

#[test]
fn logs_are_exchanged_in_both_directions() {
    for maker in Peer::ALL {
        for layout in &LAYOUTS {
            for size in [2 << 20, (3 << 20) + 4097] {
                let scratch = Scratch::in_memory("logs");
                let (path, size) = place(layout, &scratch, size);
                let create = ["log-create", &*path, &*size];
                try_peer(maker, &create, layout.variables).success();
                let mut user = maker;
                for round in 0..4 {
                    user = user.other();
                    let seed = format!("{round}");
                    peer(user, &["log-append", &path, &seed, "2000"]);
                    for reader in Peer::ALL {
                        peer(reader, &["log-check", &path]);
                        peer(reader, &["log-verify", &path, &seed, "2000"]);
                    }
                    pmempool_check(&path);
                    peer(user, &["log-rewind", &path]);
                    peer(user.other(), &["log-verify", &path, "0", "0"]);
                }
                println!("{maker:?}, {}: exchanged", layout.name);
            }
        }
    }
}

#[test]
fn blocks_are_exchanged_in_both_directions() {
    for maker in Peer::ALL {
        for (layout, block_size) in
            LAYOUTS.iter().flat_map(|layout| ["512", "513", "4096", "20000"].map(|s| (layout, s)))
        {
            let scratch = Scratch::in_memory("blocks");
            let (path, size) = place(layout, &scratch, 17 << 20);
            let create = ["blk-create", &*path, block_size, &*size];
            try_peer(maker, &create, layout.variables).success();
            let mut user = maker;
            for round in 0..2 {
                user = user.other();
                let seed = format!("{round}");
                peer(user, &["blk-write", &path, &seed, "2000"]);
                // What an earlier round left in other blocks is the same for both.
                let dumps = Peer::ALL.map(|reader| {
                    peer(reader, &["blk-check", &path]);
                    peer(reader, &["blk-dump", &path])
                });
                assert_eq!(dumps[0], dumps[1], "{maker:?} {} {block_size}", layout.name);
                if round == 0 {
                    peer(user.other(), &["blk-verify", &path, &seed, "2000"]);
                }
                pmempool_check(&path);
            }
        }
    }
}

#[test]
fn pools_of_pmempool_are_used() {
    let scratch = Scratch::in_memory("pmempool");
    let path = |name: &str| text(&scratch.path().join(name)).to_owned();
    let make = |arguments: &[&str]| {
        let mut command = Command::new(need("pmempool", "pmdk-tools"));
        run(plain(command.arg("create").args(arguments)), SHORT).success();
    };
    let (log, blk) = (path("log"), path("blk"));
    make(&["log", &log]);
    peer(Peer::Ours, &["log-append", &log, "1", "100"]);
    pmempool_check(&log);
    make(&["blk", "-w", "512", &blk]);
    peer(Peer::Ours, &["blk-write", &blk, "1", "1000"]);
    pmempool_check(&blk);
    peer(Peer::Debian, &["blk-verify", &blk, "1", "1000"]);
    // And it can look into ours.
    let ours = path("ours");
    peer(Peer::Ours, &["blk-create", &ours, "512", "16785408"]);
    peer(Peer::Ours, &["blk-write", &ours, "1", "10"]);
    let mut command = Command::new(need("pmempool", "pmdk-tools"));
    let info = run(plain(command.args(["info", "-m", "-g", "-B", &ours])), SHORT).success();
    assert!(info.out().contains("BTT"), "{info}");
}

// ---- interrupted operations ----

/// Lets a peer work until it is killed, and tells the number of what it acknowledged last.
fn interrupted(peer: Peer, what: &str, path: &str, milliseconds: u64) -> u64 {
    let mut command = Command::new(program("pools_peer"));
    peer.choose(command.args([what, path])).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let output = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines();
        lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(0)
    });
    std::thread::sleep(Duration::from_millis(milliseconds));
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    reader.join().expect("the reader ends with the pipe")
}

#[test]
fn killed_appends_leave_whole_records_for_the_other() {
    for worker in Peer::ALL {
        for round in 0..10 {
            let scratch = Scratch::in_memory("killed-log");
            let path = scratch.path().join("log");
            let path = text(&path);
            peer(worker.other(), &["log-create", path, "67108864"]);
            let done = interrupted(worker, "log-append-for-ever", path, 20 + round * 7);
            for reader in [worker.other(), worker] {
                let found: u64 = peer(reader, &["log-verify-any", path]).parse().expect("a number");
                assert!(found == done || found == done + 1, "{worker:?}: {found}, not {done}");
            }
            pmempool_check(path);
        }
    }
}

#[test]
fn killed_writes_leave_whole_blocks_for_the_other() {
    for worker in Peer::ALL {
        for round in 0..10 {
            let scratch = Scratch::in_memory("killed-blk");
            let path = scratch.path().join("blk");
            let path = text(&path);
            peer(worker.other(), &["blk-create", path, "4096", "16785408"]);
            let done = interrupted(worker, "blk-write-for-ever", path, 20 + round * 7);
            for reader in [worker.other(), worker] {
                peer(reader, &["blk-check", path]);
                peer(reader, &["blk-verify-any", path, &done.to_string()]);
            }
            pmempool_check(path);
        }
    }
}

/// A pool of 512-byte blocks in the smallest file: where its map and flog are.
const MAP: u64 = 0x2000 + 0x00fd_b000;
const FLOG: u64 = 0x2000 + 0x00ff_b000;

/// The block layout of a file: all that both libraries agree on.
fn layout_of(path: &Path) -> Vec<u8> {
    fs::read(path).expect("a pool")[0x2000..].to_vec()
}

#[test]
fn flogs_torn_by_hand_are_recovered_alike() {
    let scratch = Scratch::in_memory("torn");
    let path = scratch.path().join("pool");
    peer(Peer::Debian, &["blk-create", text(&path), "512", "16785408"]);
    peer(Peer::Debian, &["blk-write", text(&path), "3", "3000"]);
    let word = |file: &fs::File, at: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at).expect("inside of the pool");
        u32::from_le_bytes(bytes)
    };
    let mut recovered = 0;
    for damage in 0..60_u64 {
        let (ours, theirs) = (scratch.path().join("ours"), scratch.path().join("theirs"));
        fs::copy(&path, &ours).expect("a copy");
        let file = fs::File::options().read(true).write(true).open(&ours).expect("the copy");
        let slot = FLOG + damage % 4 * 64;
        let seqs = [word(&file, slot + 12), word(&file, slot + 28)];
        let later = seqs[1] == seqs[0] % 3 + 1 || seqs[0] == 0;
        let (current, other) = if later { (slot + 16, slot) } else { (slot, slot + 16) };
        let write =
            |at: u64, value: u32| file.write_all_at(&value.to_le_bytes(), at).expect("inside");
        let lba = word(&file, current);
        match damage / 4 {
            // The map was not written.
            0 => write(MAP + 4 * u64::from(lba), word(&file, current + 4)),
            // The first half of the next entry was.
            1 => {
                write(other, 17);
                write(other + 4, 0xc000_0011);
            }
            // Neither map nor second half.
            2 => {
                write(other, 17);
                write(MAP + 4 * u64::from(lba), word(&file, current + 4));
            }
            // A slot that was never used.
            3 => write(other + 12, 0),
            // The sequence contradicts itself.
            4 => write(other + 12, word(&file, current + 12)),
            // A block that is not there.
            5 => write(current, 40_000),
            6 => write(other, 40_000),
            // The entry was initial, zero, or an error, before.
            7 => write(MAP + 4 * u64::from(lba), lba),
            8 => write(MAP + 4 * u64::from(lba), 0x8000_0000 | 5),
            // Any sequence.
            number => write(other + 12, u32::try_from(number).expect("small") - 8),
        }
        drop(file);
        fs::copy(&ours, &theirs).expect("a copy");
        let results = [(Peer::Ours, &ours), (Peer::Debian, &theirs)].map(|(peer, copy)| {
            let outcome = try_peer(peer, &["blk-dump", text(copy)], &[]);
            let sum = outcome.out().trim().to_owned();
            (outcome.code(), if outcome.code() == Some(0) { sum } else { String::new() })
        });
        assert_eq!(results[0], results[1], "damage {damage}");
        assert!(layout_of(&ours) == layout_of(&theirs), "damage {damage}: other bytes");
        recovered += u32::from(layout_of(&ours) != layout_of(&path) && results[0].0 == Some(0));
        // And both may write, or both may not.
        let writes = [(Peer::Ours, &theirs), (Peer::Debian, &ours)]
            .map(|(peer, copy)| try_peer(peer, &["blk-write", text(copy), "9", "40"], &[]).code());
        assert_eq!(writes[0], writes[1], "damage {damage}");
    }
    assert!(recovered > 10, "{recovered} recoveries");
}

#[test]
fn a_damaged_info_block_is_restored() {
    let scratch = Scratch::in_memory("info");
    let path = scratch.path().join("pool");
    peer(Peer::Debian, &["blk-create", text(&path), "512", "16785408"]);
    peer(Peer::Debian, &["blk-write", text(&path), "3", "300"]);
    let whole = layout_of(&path);
    let file = fs::File::options().write(true).open(&path).expect("the pool");
    for damage in [vec![0; 4096], vec![0x5a; 64]] {
        file.write_all_at(&damage, 0x2000).expect("inside");
        peer(Peer::Ours, &["blk-check", text(&path)]);
        assert!(layout_of(&path) != whole, "checking changes nothing");
        peer(Peer::Ours, &["blk-verify", text(&path), "3", "300"]);
        assert!(layout_of(&path) == whole);
    }
    // Both of them: nothing is laid out anew over the data.
    file.write_all_at(&[1], 0x2000 + 60).expect("inside");
    file.write_all_at(&[1], 0x2000 + 0x00ff_f000 + 60).expect("inside");
    let outcome = try_peer(Peer::Ours, &["blk-verify", text(&path), "3", "300"], &[]);
    assert!(outcome.out().contains("damaged") && outcome.code() == Some(1), "{outcome}");
}

// ---- places ----

#[test]
fn a_full_file_system_keeps_no_half_made_pool() {
    let Some(mount) = Mount::tmpfs(10, "pools on a full tmpfs") else { return };
    let set = mount.path().join("set");
    let at = |name: &str| text(&mount.path().join(name)).to_owned();
    fs::write(&set, format!("PMEMPOOLSET\n4M {}\n20M {}\n", at("a"), at("b"))).expect("a file");
    for (arguments, left) in [
        (vec!["log-create", &*at("log"), "20000000"], 1),
        (vec!["log-create", text(&set), "0"], 1),
        (vec!["blk-create", &*at("blk"), "512", "16785408"], 1),
    ] {
        let outcome = try_peer(Peer::Ours, &arguments, &[]);
        assert!(outcome.out().contains("(errno 28)"), "{outcome}");
        let names = fs::read_dir(mount.path()).expect("the directory").count();
        assert_eq!(names, left, "{arguments:?} left files behind");
    }
    // A limit of the process.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 3000; exec \"$0\" \"$@\""]).arg(program("pools_peer"));
    command.args(["log-create", &at("log"), "8000000"]);
    let outcome = run(Peer::Ours.choose(&mut command), SHORT);
    assert!(outcome.code() == Some(1) && outcome.out().contains("(errno 27)"), "{outcome}");
    assert!(!Path::new(&at("log")).exists());
}

#[test]
fn a_read_only_file_system_is_told_and_can_be_checked() {
    let Some(mount) = Mount::tmpfs(40, "pools on a read-only tmpfs") else { return };
    let at = |name: &str| text(&mount.path().join(name)).to_owned();
    peer(Peer::Ours, &["log-create", &at("log"), "2097152"]);
    peer(Peer::Ours, &["blk-create", &at("blk"), "512", "16785408"]);
    peer(Peer::Ours, &["blk-write", &at("blk"), "3", "30"]);
    mount.remount("ro");
    for arguments in
        [["log-verify", &at("log"), "0", "0"], ["log-create", &at("new"), "2097152", ""]]
    {
        let outcome = try_peer(Peer::Ours, &arguments, &[]);
        assert!(outcome.out().contains("(errno 30)"), "{outcome}");
    }
    peer(Peer::Ours, &["log-check", &at("log")]);
    peer(Peer::Ours, &["blk-check", &at("blk")]);
}

#[test]
fn golden_pools_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pools");
    let scratch = Scratch::in_memory("golden");
    for (name, arguments) in [
        ("log.pool", ["log-verify", "5", "3000"]),
        ("blk-512.pool", ["blk-verify", "5", "400"]),
        ("blk-4096-kill.pool", ["blk-verify", "5", "400"]),
    ] {
        let path = scratch.path().join(name);
        let mut command = Command::new(need("zstd", "zstd"));
        command.args(["-q", "-d", "-o"]).arg(&path).arg(folder.join(format!("{name}.zst")));
        run(&mut command, SHORT).success();
        let before = fs::metadata(&path).expect("the pool").size();
        let check = if name.starts_with("log") { "log-check" } else { "blk-check" };
        peer(Peer::Ours, &[check, text(&path)]);
        peer(Peer::Ours, &[arguments[0], text(&path), arguments[1], arguments[2]]);
        assert_eq!(fs::metadata(&path).expect("the pool").size(), before);
    }
}

#[test]
fn fio_runs_on_blocks() {
    let fio = need("fio", "fio");
    let scratch = Scratch::in_memory("fio");
    let file = format!("--filename={}/pool,4096,64", text(scratch.path()));
    for (jobs, verify) in [("--numjobs=1", "--verify=crc32c"), ("--numjobs=3", "--verify=0")] {
        let mut command = Command::new(&fio);
        command.args(["--name=x", "--ioengine=pmemblk", "--rw=randrw", "--bs=4k", "--size=20m"]);
        command.args(["--thread", "--unlink=0", jobs, verify, &file]).current_dir(scratch.path());
        let outcome = run(Peer::Ours.choose(&mut command), LONG).success();
        assert!(outcome.out().contains("err= 0"), "{outcome}");
    }
    peer(Peer::Ours, &["blk-check", text(&scratch.path().join("pool"))]);
    pmempool_check(text(&scratch.path().join("pool")));
}
