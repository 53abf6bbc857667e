//! After a fork the heap comes back to its pool.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pmem_e2e::artifact::{need, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::procfs::{status_kib, storage_of, waited_for_cpu};
use pmem_e2e::run::{SHORT, Server, await_value};
use pmem_e2e::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(60);

fn pool() -> Pool {
    Pool::lazy(64).set("VMMALLOC_HOME_MS", "200").set("VMMALLOC_PURGE_MS", "100")
}

fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether this process may hold back writers; then a program that it starts may too.
fn may_hold_back_writers() -> bool {
    // SAFETY: makes a descriptor.
    let number = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let Ok(number) = i32::try_from(number) else { return false };
    // SAFETY: made above, if at all.
    number >= 0 && unsafe { libc::close(number) } == 0
}

#[test]
fn the_heap_of_a_single_thread_comes_home() {
    let program = program("home");
    let chosen =
        |name: &str| !["threads_", "unprivileged_", "off_"].iter().any(|p| name.starts_with(p));
    Cases::of(&program).limit(LIMIT).only(chosen).run(&pool());
}

#[test]
fn the_heap_of_threads_comes_home() {
    if !may_hold_back_writers() {
        println!("NOT CHECKED: userfaultfd is not permitted (CAP_SYS_PTRACE)");
        return;
    }
    let program = program("home");
    let root = is_root();
    if !root {
        println!("NOT CHECKED: only root can make a device for everybody");
    }
    let chosen = |name: &str| {
        name.starts_with("threads_") && (root || name != "threads_with_the_device_need_no_right")
    };
    Cases::of(&program).limit(LIMIT).only(chosen).run(&pool());
}

#[test]
fn without_rights_single_threads_and_freed_pages_come_home() {
    if !is_root() {
        println!("NOT CHECKED: only root can give up its rights");
        return;
    }
    let program = program("home");
    Cases::of(&program).limit(LIMIT).only(|name| name.starts_with("unprivileged_")).run(&pool());
}

#[test]
fn it_can_be_switched_off() {
    let program = program("home");
    for value in ["off", "0"] {
        let pool = pool().set("VMMALLOC_HOME_MS", value);
        Cases::of(&program).limit(LIMIT).only(|name| name.starts_with("off_")).run(&pool);
    }
}

#[test]
fn a_preallocated_heap_comes_home() {
    let program = program("home");
    let pool = Pool::prealloc(64).set("VMMALLOC_HOME_MS", "200");
    Cases::of(&program).limit(LIMIT).only(|name| name.starts_with("all_pages_")).run(&pool);
}

/// A disk, where the temporary directory is on one. Writers cannot be held back there.
#[test]
fn the_heap_of_a_single_thread_comes_home_in_the_temporary_directory() {
    let scratch = Scratch::new("home");
    let program = program("home");
    let chosen = |name: &str| name.starts_with("all_pages_") || name.starts_with("unwritten_");
    Cases::of(&program).limit(LIMIT).only(chosen).run(&pool().at(scratch.path()));
}

// ---- redis ----

/// How soon after a snapshot everything is to be as before. While the server, or its client, waits for a processor,
/// the clock stands still: pages come home in calls of the server.
const HOME: Duration = Duration::from_millis(500);

const KEYS: u64 = 60_000;

/// What a key holds in its `version`: always the same length.
fn value(key: u64, version: u64) -> String {
    format!("{key:08}-{version:010}-").repeat(25)
}

/// A connection to a server that answers each command with one line, or with one string.
struct Redis(BufReader<UnixStream>);

impl Redis {
    fn connect(socket: &Path) -> Option<Self> {
        Some(Self(BufReader::new(UnixStream::connect(socket).ok()?)))
    }

    fn send(&mut self, command: &[&str]) {
        let mut text = format!("*{}\r\n", command.len());
        for word in command {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(text.as_bytes()).expect("the server lives");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        let line = line.trim_end();
        assert!(!line.starts_with('-'), "{line}");
        let Some(len) = line.strip_prefix('$') else { return line.to_owned() };
        let mut text = vec![0; len.parse::<usize>().expect("a length") + 2];
        self.0.read_exact(&mut text).expect("a string");
        text.truncate(text.len() - 2);
        String::from_utf8(text).expect("text")
    }

    fn ask(&mut self, command: &[&str]) -> String {
        self.send(command);
        self.answer()
    }
}

fn redis(pool: Option<&Pool>, work: &Path) -> (Server, PathBuf) {
    let socket = work.join("redis.sock");
    let mut command = Command::new(need("redis-server", "redis-server"));
    match pool {
        Some(pool) => pool.preload(&mut command),
        None => plain(&mut command),
    };
    command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
    command.args(["--enable-debug-command", "yes", "--rdbcompression", "no"]);
    command.arg("--dir").arg(work).arg("--unixsocket").arg(&socket);
    let server = Server::start(&mut command);
    await_value("redis", SHORT, || {
        let mut redis = Redis::connect(&socket)?;
        redis.send(&["PING"]);
        let mut line = String::new();
        // While it loads a dump it says so.
        redis.0.read_line(&mut line).ok().filter(|_| line == "+PONG\r\n")
    });
    (server, socket)
}

/// Anonymous memory of a process, and the storage of its pool, in KiB.
#[derive(Clone, Copy, Debug)]
struct Use {
    anonymous: u64,
    storage: u64,
}

impl Use {
    fn of(server: &Server, pool: &Pool) -> Use {
        let anonymous = status_kib(server.pid(), "RssAnon").expect("the server lives");
        Use { anonymous, storage: storage_of(server.pid(), pool.dir()) / 1024 }
    }

    /// Not more than 5 % beyond `before`.
    fn is_like(self, before: Use) -> bool {
        self.anonymous <= before.anonymous * 105 / 100 && self.storage <= before.storage * 105 / 100
    }
}

/// A server that saves every second while its clients write.
#[test]
fn redis_that_saves_every_second_stays_in_its_pool() {
    if !may_hold_back_writers() {
        println!(
            "NOT CHECKED: redis has threads, and userfaultfd is not permitted (CAP_SYS_PTRACE)"
        );
        return;
    }
    let pool = Pool::lazy(512).set("VMMALLOC_HOME_MS", HOME.as_millis().to_string());
    let work = Scratch::in_memory("redis");
    let (mut server, socket) = redis(Some(&pool), work.path());
    let versions: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let mut control = Redis::connect(&socket).expect("a connection");
    for keys in (0..KEYS).collect::<Vec<_>>().chunks(100) {
        keys.iter().for_each(|&key| control.send(&["SET", &key.to_string(), &value(key, 0)]));
        keys.iter().for_each(|_| assert_eq!(control.answer(), "+OK"));
    }
    let (stop, writer) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            // SAFETY: no arguments, cannot fail.
            writer.store(unsafe { libc::gettid() }.unsigned_abs(), Relaxed);
            write_until(&stop, &socket, &versions);
        });
        std::thread::sleep(Duration::from_secs(1));
        let before = Use::of(&server, &pool);
        for round in 0..8 {
            let start = Instant::now();
            assert!(control.ask(&["BGSAVE"]).contains("Background saving"));
            let mut most = before.anonymous;
            await_value("the snapshot", SHORT, || {
                most = most.max(Use::of(&server, &pool).anonymous);
                let info = control.ask(&["INFO", "persistence"]);
                assert!(!info.contains("rdb_last_bgsave_status:err"), "{info}");
                info.contains("rdb_bgsave_in_progress:0").then_some(())
            });
            let saved = start.elapsed();
            let busy_elsewhere =
                || waited_for_cpu(server.pid()) + waited_for_cpu(writer.load(Relaxed));
            let not_ours = busy_elsewhere();
            let (now, home) = loop {
                let home = (start.elapsed() - saved).saturating_sub(busy_elsewhere() - not_ours);
                let now = Use::of(&server, &pool);
                if now.is_like(before) || home > HOME {
                    break (now, home);
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            println!(
                "save {round}: {saved:?}, {before:?}, most {most}, home after {home:?}: {now:?}"
            );
            assert!(now.is_like(before), "{now:?} is more than {before:?} {home:?} after the save");
            // Else there was nothing to bring home, and the test shows nothing.
            assert!(most > before.anonymous + 1024, "no page was copied");
            std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        }
    });
    for key in 0..KEYS {
        let expected = value(key, versions[key as usize].load(Relaxed));
        assert_eq!(control.ask(&["GET", &key.to_string()]), expected, "key {key}");
    }
    // A snapshot of the heap that has been away and back.
    let digest = control.ask(&["DEBUG", "DIGEST"]);
    assert_eq!(control.ask(&["SAVE"]), "+OK");
    let restored = Scratch::in_memory("redis");
    fs::copy(work.path().join("dump.rdb"), restored.path().join("dump.rdb")).expect("a dump");
    let (_second, other) = redis(None, restored.path());
    let mut other = Redis::connect(&other).expect("a connection");
    assert_eq!(other.ask(&["DEBUG", "DIGEST"]), digest);
    assert!(server.ended().is_none());
    assert!(server.stop(SHORT).success());
}

/// Ends the writer, also when an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Gives keys new versions, 16 commands on their way at a time.
fn write_until(stop: &AtomicBool, socket: &Path, versions: &[AtomicU64]) {
    let mut redis = Redis::connect(socket).expect("a connection");
    let mut random = 1u64;
    while !stop.load(Relaxed) {
        for _ in 0..16 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (random >> 33) % KEYS;
            let version = versions[key as usize].load(Relaxed) + 1;
            redis.send(&["SET", &key.to_string(), &value(key, version)]);
            versions[key as usize].store(version, Relaxed);
        }
        for _ in 0..16 {
            assert_eq!(redis.answer(), "+OK");
        }
    }
}
