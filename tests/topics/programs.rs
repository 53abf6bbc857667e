//! Real, unmodified programs: what they print in a pool is what they print without one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use pmem_e2e::artifact::{Shape, compile, need, program};
use pmem_e2e::compare::{LIMIT, command, compare, compare_cleaned, script, served};
use pmem_e2e::preload::{Pool, plain};
use pmem_e2e::run::{Outcome, SHORT, Server, await_value, run};
use pmem_e2e::scratch::Scratch;

#[test]
fn bash_with_substitutions_and_jobs() {
    compare("bash", || {
        let mut command = command("bash", "bash", &[]);
        command.arg(script("bash.sh"));
        command
    });
}

/// Every value of the fork mode that isolates carries a shell.
#[test]
fn bash_in_every_fork_mode() {
    let expected = run(plain(Command::new("bash").arg(script("bash.sh"))), LIMIT).success();
    for mode in 1..=3 {
        let pool = Pool::lazy(64).fork(mode);
        let found = run(pool.command("bash").arg(script("bash.sh")), LIMIT);
        assert_eq!((found.code(), found.out()), (Some(0), expected.out()), "mode {mode}: {found}");
    }
    let pool = Pool::prealloc(16);
    let found = run(pool.command("bash").arg(script("bash.sh")), LIMIT);
    assert_eq!((found.code(), found.out()), (Some(0), expected.out()), "preallocated: {found}");
}

#[test]
fn dash_and_coreutils() {
    compare("sort", || {
        command(
            "sh",
            "dash",
            &[
                "-c",
                "seq 1 30000 | sort -R --random-source=/bin/sh | sort -n | uniq -c \
            | awk '{ s += $1 * $2 } END { print s }'; echo $(seq 5 | tac | paste -sd,); \
            d=$(mktemp -d); seq -f \"$d/%g.so\" 3000 | xargs touch -d @1000000000; ls -l \"$d\" | cksum; \
            cd \"$d\"; find . -name '*.so' | sort | cksum; cd /; rm -r \"$d\"; seq 1 5000 | xargs -n 100 -P 2 echo | wc -w",
            ],
        )
    });
}

#[test]
fn perl() {
    compare("perl", || {
        let mut command = command("perl", "perl", &[]);
        command.arg(script("perl.pl")).env("PERL_HASH_SEED", "0");
        command
    });
}

#[test]
fn python_with_threads_and_processes() {
    compare("python3", || {
        let mut command = Command::new(python());
        // Its own small-object allocator off: every object comes from us.
        command.arg(script("python.py")).env("PYTHONMALLOC", "malloc").env("PYTHONHASHSEED", "0");
        command
    });
}

#[test]
fn python_with_its_own_small_object_allocator() {
    compare("python3", || {
        let mut command = Command::new(python());
        command.arg(script("python.py")).env("PYTHONHASHSEED", "0");
        command
    });
}

/// Debian's interpreter, not a wrapper earlier in the path.
fn python() -> PathBuf {
    let debian = PathBuf::from("/usr/bin/python3");
    if debian.is_file() { debian } else { need("python3", "python3") }
}

#[test]
fn git_commits_merges_clones_and_collects() {
    compare("git", || {
        let mut command = command("bash", "bash", &[]);
        need("git", "git");
        command.arg(script("git.sh"));
        command
    });
}

#[test]
fn sort_in_parallel() {
    let work = Scratch::new("sort");
    let file = work.path().join("numbers");
    let mut text = String::new();
    for i in 0..300_000_u64 {
        text.push_str(&format!("{} {i}\n", i * 2_654_435_761 % 1_000_003));
    }
    fs::write(&file, text).expect("a file");
    compare("sort", || {
        let mut command =
            command("sort", "coreutils", &["--parallel=4", "-S", "8M", "-k1,1n", "-k2,2"]);
        command.arg(&file);
        command
    });
}

#[test]
fn compilers() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/conformance.c");
    let cxx = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/cxx.cc");
    let options = "-O2 -w -D_GNU_SOURCE -fno-builtin -pthread";
    compare("cc1", || {
        let line = format!(
            "gcc {options} -c $0 -o a.o && gcc -pthread a.o -o a && cksum a.o && ./a --list"
        );
        let mut command = command("bash", "bash", &["-c", &line]);
        need("gcc", "gcc");
        command.arg(&source);
        command
    });
    compare("cc1plus", || {
        let line = format!(
            "g++ {options} -O1 -c $0 -o b.o && g++ -pthread b.o -o b && cksum b.o && ./b --list"
        );
        let mut command = command("bash", "bash", &["-c", &line]);
        need("g++", "g++");
        command.arg(&cxx);
        command
    });
}

#[test]
fn make_with_two_jobs() {
    compare("make", || {
        need("make", "make");
        let mut command = command("bash", "bash", &[]);
        command.arg(script("make.sh"));
        command
    });
}

#[test]
fn tar_and_gzip() {
    let tests = env!("CARGO_MANIFEST_DIR");
    compare("tar", || {
        need("tar", "tar");
        need("gzip", "gzip");
        let line = "tar -C $0 --sort=name --mtime=@0 --owner=0 --group=0 -cf - c topics | gzip -9n > a.tgz; \
            cksum a.tgz; mkdir x; tar -C x -xzf a.tgz; ls -R x | cksum; \
            tar -tzf a.tgz | wc -l; gzip -dc a.tgz | tar -df - -C x 2>&1 | grep -cv Mod; gzip -t a.tgz; echo $?";
        command("bash", "bash", &["-c", line, tests])
    });
}

#[test]
fn sqlite() {
    compare("sqlite3", || {
        let line = "sqlite3 file.db < $0; sqlite3 file.db 'SELECT sum(id), count(*) FROM item'; \
            sqlite3 file.db .dump | cksum";
        need("sqlite3", "sqlite3");
        let mut command = command("bash", "bash", &["-c", line]);
        command.arg(script("sqlite.sql"));
        command
    });
}

#[test]
fn jq_lua_and_awk() {
    compare("jq", || {
        let filter = "[range(20000) | {id: ., name: \"n\\(. * 7919 % 1009)\"}] | group_by(.name) \
            | map({name: .[0].name, n: length}) | sort_by(-.n, .name) | .[:5], (map(.n) | add)";
        command("jq", "jq", &["-n", "-c", filter])
    });
    compare("lua", || {
        let mut command = command("lua5.4", "lua5.4", &[]);
        command.arg(script("lua.lua"));
        command
    });
    compare("mawk", || {
        let mut command = command("mawk", "mawk", &["-f"]);
        command.arg(script("awk.awk"));
        command
    });
}

#[test]
fn openmp() {
    let program = compile("parallel", "parallel", Shape::Program, &["-fopenmp"]);
    compare("parallel", || Command::new(&program));
}

/// Addresses and process ids differ from run to run.
fn without_addresses(text: String) -> String {
    let mut clean = String::new();
    for line in text.lines().filter(|l| !l.contains("libthread_db") && !l.contains("debuginfod")) {
        let words: Vec<&str> = line
            .split_inclusive([' ', ',', ')'])
            .map(|word| if word.starts_with("0x") { "ADDRESS " } else { word })
            .collect();
        let line = words.concat();
        match line.find("(process ") {
            Some(at) => clean.push_str(&line[..at]),
            None => clean.push_str(&line),
        }
        clean.push('\n');
    }
    clean
}

#[test]
fn gdb_debugs_a_program_in_the_pool() {
    let debugged = program("debugged");
    compare_cleaned(
        "gdb",
        || {
            let mut command = command("gdb", "gdb", &["-nx", "-q", "--batch", "-x"]);
            command.arg(script("gdb.txt")).arg(&debugged);
            command
        },
        without_addresses,
    );
}

/// memcheck replaces the allocator of the C library and of every other library: ours is idle, and in the
/// way of nothing.
#[test]
fn valgrind_runs_a_program_with_the_library_present() {
    let pool = Pool::lazy(64);
    let hello = program("hello");
    let mut direct = pool.command(need("valgrind", "valgrind"));
    direct.args(["-q", "--error-exitcode=9"]).arg(&hello);
    let outcome = run(&mut direct, LIMIT);
    assert_eq!((outcome.code(), outcome.out()), (Some(0), "hello\n".to_owned()), "{outcome}");
}

/// Its own checks judge; what it prints has times in it.
fn stress(arguments: &[&str]) {
    let pool = Pool::lazy(1024).with_reports();
    let work = Scratch::new("stress");
    let mut command = pool.command(need("stress-ng", "stress-ng"));
    command.args(arguments).args(["--verify", "--temp-path"]).arg(work.path());
    let outcome = run(&mut command, LIMIT).success();
    let all = outcome.out() + &outcome.err();
    assert!(all.contains("successful run completed"), "{all}");
    served(&pool, "stress-ng");
}

#[test]
fn stress_ng_malloc() {
    stress(&["--malloc", "2", "--malloc-ops", "6000", "--malloc-bytes", "64M"]);
    stress(&[
        "--malloc",
        "1",
        "--malloc-ops",
        "2000",
        "--malloc-pthreads",
        "4",
        "--malloc-bytes",
        "64M",
    ]);
}

#[test]
fn stress_ng_processes_and_threads() {
    stress(&["--fork", "2", "--fork-ops", "400"]);
    stress(&["--vfork", "2", "--vfork-ops", "400"]);
    stress(&["--pthread", "2", "--pthread-ops", "200", "--pthread-max", "16"]);
}

// ---- servers ----

fn redis(pool: Option<&Pool>, work: &Path) -> (Server, PathBuf) {
    let socket = work.join("redis.sock");
    let mut command = Command::new(need("redis-server", "redis-server"));
    match pool {
        Some(pool) => pool.preload(&mut command),
        None => plain(&mut command),
    };
    command.args([
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        "no",
        "--enable-debug-command",
        "yes",
    ]);
    command.arg("--dir").arg(work).arg("--unixsocket").arg(&socket);
    let server = Server::start(&mut command);
    await_value("redis", SHORT, || (redis_cli(&socket, &["PING"]).out() == "PONG\n").then_some(()));
    (server, socket)
}

fn redis_cli(socket: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(need("redis-cli", "redis-tools"));
    run(plain(command.arg("-s").arg(socket).args(arguments)), SHORT)
}

/// Fills the server with the same data in every run, and gives the digest of all of it.
fn fill_redis(socket: &Path) -> String {
    let script = "for i = 1, 20000 do \
            redis.call('SET', 'string:' .. i, string.rep('v' .. i, i % 50)) \
            redis.call('HSET', 'hash:' .. i % 500, 'f' .. i, i * 7919) \
            redis.call('ZADD', 'zset:' .. i % 50, i * 7919 % 10007, 'm' .. i) \
            redis.call('RPUSH', 'list:' .. i % 100, 'e' .. i) \
            if i % 3 == 0 then redis.call('DEL', 'string:' .. (i - 1)) end \
        end return redis.call('DBSIZE')";
    assert!(
        redis_cli(socket, &["EVAL", script, "0"]).success().out().trim().parse::<u64>().is_ok()
    );
    digest(socket)
}

fn digest(socket: &Path) -> String {
    let out = redis_cli(socket, &["DEBUG", "DIGEST"]).success().out();
    assert_eq!(out.trim().len(), 40, "{out}");
    out
}

fn benchmark(socket: &Path, tests: &str, requests: &str) {
    let mut command = Command::new(need("redis-benchmark", "redis-tools"));
    command.arg("-s").arg(socket).args(["-n", requests, "-c", "20", "-r", "5000", "-d", "100"]);
    let out = run(plain(command.args(["-P", "8", "-q", "-t", tests])), LIMIT).success().out();
    assert!(out.contains("requests per second"), "{out}");
}

/// The server forks for its snapshot while clients go on writing; the snapshot must hold the data of the
/// moment of the fork.
#[test]
fn redis_with_benchmark_and_snapshots() {
    let work = Scratch::new("redis");
    let (server, socket) = redis(None, work.path());
    let expected = fill_redis(&socket);
    drop(server);
    for mode in [1, 3] {
        let pool = Pool::lazy(1024).fork(mode).with_reports();
        let work = Scratch::new("redis");
        let (mut server, socket) = redis(Some(&pool), work.path());
        benchmark(&socket, "set,get,incr,lpush,lpop,hset,zadd,mset", "4000");
        redis_cli(&socket, &["FLUSHALL"]).success();
        assert_eq!(fill_redis(&socket), expected, "mode {mode}: the data differ");
        for _ in 0..2 {
            let at_fork = digest(&socket);
            assert!(redis_cli(&socket, &["BGSAVE"]).success().out().contains("Background saving"));
            benchmark(&socket, "set,lpush,hset", "2000");
            await_value("the snapshot", SHORT, || {
                let info = redis_cli(&socket, &["INFO", "persistence"]).success().out();
                info.contains("rdb_bgsave_in_progress:0").then_some(())
            });
            let info = redis_cli(&socket, &["INFO", "persistence"]).success().out();
            assert!(info.contains("rdb_last_bgsave_status:ok"), "mode {mode}: {info}");
            assert!(server.ended().is_none());
            let restored = Scratch::new("redis");
            fs::copy(work.path().join("dump.rdb"), restored.path().join("dump.rdb"))
                .expect("a dump");
            let (second, other) = redis(None, restored.path());
            assert_eq!(digest(&other), at_fork, "mode {mode}: the snapshot holds other data");
            drop(second);
        }
        assert!(server.stop(SHORT).success());
        // Debian has one binary for all of them and calls it redis-check-rdb.
        served(&pool, "redis-");
    }
}

#[test]
fn memcached() {
    let memcached = need("memcached", "memcached");
    let work = Scratch::new("memcached");
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o777)).expect("our directory");
    let pool = Pool::lazy(256).with_reports();
    fs::set_permissions(pool.dir(), fs::Permissions::from_mode(0o777)).expect("our directory");
    let socket = work.path().join("memcached.sock");
    let mut command = pool.command(memcached);
    // It refuses to run as root; -u names whom to become, after the pool was made.
    command.args(["-u", "nobody", "-m", "32", "-t", "4", "-a", "777", "-s"]).arg(&socket);
    let server = Server::start(&mut command);
    let stream = await_value("memcached", SHORT, || UnixStream::connect(&socket).ok());
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let stream = if client == 0 {
                stream.try_clone().expect("a clone")
            } else {
                UnixStream::connect(&socket).expect("a connection")
            };
            std::thread::spawn(move || memcached_client(client, stream))
        })
        .collect();
    for client in clients {
        client.join().expect("a client");
    }
    assert!(server.stop(SHORT).success());
    served(&pool, "memcached");
}

/// Stores values of many sizes and reads them back.
fn memcached_client(client: usize, mut stream: UnixStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    let value = |i: usize| format!("{client}:{i};").repeat(1 + i * 37 % 300);
    let mut line = String::new();
    for i in 0..2000 {
        let value = value(i);
        let request = format!("set k{client}-{i} 0 0 {}\r\n{value}\r\n", value.len());
        stream.write_all(request.as_bytes()).expect("the server listens");
        line.clear();
        reader.read_line(&mut line).expect("the server answers");
        assert_eq!(line, "STORED\r\n");
    }
    for i in 0..2000 {
        stream.write_all(format!("get k{client}-{i}\r\n").as_bytes()).expect("the server listens");
        let expected = value(i);
        let answer = format!("VALUE k{client}-{i} 0 {}\r\n{expected}\r\nEND\r\n", expected.len());
        let mut found = vec![0; answer.len()];
        reader.read_exact(&mut found).expect("the server answers");
        assert!(found == answer.as_bytes(), "key k{client}-{i} holds something else");
    }
}
