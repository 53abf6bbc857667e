//! A full file system is NULL and ENOMEM, never a signal, and not for ever.

use std::time::{Duration, Instant};

use pmem_e2e::MIB;
use pmem_e2e::artifact::{need, program};
use pmem_e2e::cases::Cases;
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::Pool;
use pmem_e2e::procfs::{maps_of, storage_of};
use pmem_e2e::run::{SHORT, Server, await_value, run};

const LIMIT: Duration = Duration::from_secs(60);
/// Cases for preallocated pools.
const PREALLOCATED: &str = "preallocated";

/// Runs the cases about pools that meet a full file system.
fn run_on_full(pool: &Pool) {
    let program = program("space");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| !name.starts_with(PREALLOCATED)).run(pool);
}

fn run_one(pool: &Pool, case: &str) {
    Cases::of(&program("space")).limit(LIMIT).only(|name| name == case).run(pool);
}

#[test]
fn a_tmpfs_smaller_than_the_pool() {
    let Some(mount) = Mount::tmpfs(24, "a full tmpfs") else { return };
    let pool = Pool::lazy(64).at(mount.path());
    run_on_full(&pool);
}

#[test]
fn a_tmpfs_smaller_than_the_pool_with_purging_at_once() {
    let Some(mount) = Mount::tmpfs(24, "a full tmpfs") else { return };
    let pool = Pool::lazy(64).at(mount.path()).set("VMMALLOC_PURGE_MS", "0");
    run_on_full(&pool);
}

/// Space is taken 2 MiB at a time there, and the last of it may not be enough for that.
#[test]
fn a_tmpfs_of_huge_pages_smaller_than_the_pool() {
    let Some(mount) = Mount::tmpfs_with("size=25m,huge=advise", "a full tmpfs of huge pages")
    else {
        return;
    };
    let pool = Pool::lazy(64).at(mount.path()).set("VMMALLOC_HUGEPAGE", "advise");
    run_on_full(&pool);
}

#[test]
fn a_heap_in_huge_pages() {
    let Some(mount) = Mount::tmpfs_with("huge=advise", "huge pages") else { return };
    let pool = Pool::lazy(256).at(mount.path()).set("VMMALLOC_HUGEPAGE", "advise");
    let mut command = pool.command(need("python3", "python3"));
    command.args([
        "-c",
        "blocks = [bytes(10000) for _ in range(8000)]; print(open('/proc/self/smaps').read())",
    ]);
    let outcome = run(&mut command, LIMIT);
    let kib: u64 = outcome
        .out()
        .lines()
        .filter_map(|line| line.strip_prefix("ShmemPmdMapped:"))
        .filter_map(|size| size.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .sum();
    assert!(kib >= 76 << 10, "{kib} KiB in huge pages of about 80 MB\n{outcome}");
}

#[test]
fn an_ext4_smaller_than_the_pool() {
    let what = "a full ext4";
    let Some(mount) = Mount::ext4(28, &["-O", "^has_journal"], "rw", what) else { return };
    let pool = Pool::lazy(64).at(mount.path());
    run_on_full(&pool);
}

#[test]
fn preallocated_space_stays_ours() {
    let Some(mount) = Mount::tmpfs(24, "a full tmpfs") else { return };
    let pool = Pool::prealloc(16).at(mount.path());
    run_one(&pool, "preallocated_space_stays_ours");
}

#[test]
fn preallocated_space_on_a_full_disk() {
    for options in [&["-O", "^has_journal", "-b", "1024"][..], &["-b", "4096"]] {
        let Some(mount) = Mount::ext4(40, options, "rw", "a full ext4") else { return };
        let pool = Pool::prealloc(16).at(mount.path());
        run_one(&pool, "preallocated_space_on_a_full_disk");
    }
}

/// A lazy pool costs nothing until it is used, whatever its size.
#[test]
fn a_lazy_pool_starts_at_no_cost() {
    let pool = Pool::lazy(64 << 10);
    let server = Server::start(pool.command("sleep").arg("1000"));
    await_value("the pool", SHORT, || {
        (!maps_of(server.pid(), pool.dir()).is_empty()).then_some(())
    });
    let storage = storage_of(server.pid(), pool.dir());
    assert!(storage < 4 * MIB, "{storage} bytes of storage for a program that sleeps");
    let resident = pmem_e2e::procfs::status_kib(server.pid(), "VmRSS").expect("a size");
    assert!(resident < 16 << 10, "{resident} KiB resident");
    drop(server);
    let started = Instant::now();
    for _ in 0..10 {
        run(&mut pool.command(program("hello")), SHORT).success();
    }
    let each = started.elapsed() / 10;
    // Generous: a defect (zeroing or mapping page by page) would take many seconds.
    assert!(each < Duration::from_secs(1), "{each:?} for each start with a pool of 64 GiB");
}

/// The reference needs 1.6 s per GiB on tmpfs.
#[test]
fn a_preallocated_pool_starts_in_time() {
    let pool = Pool::prealloc(256);
    let outcome = run(&mut pool.command(program("hello")), SHORT).success();
    println!("start with 256 MiB preallocated: {:?}", outcome.wall);
    assert!(outcome.wall < Duration::from_secs(5), "{:?}", outcome.wall);
    let server = Server::start(pool.command("sleep").arg("1000"));
    await_value("all the storage of the pool", SHORT, || {
        (storage_of(server.pid(), pool.dir()) >= 256 * MIB).then_some(())
    });
}
