//! Where the system's pages are larger than ours, space comes and goes by several of ours at once. `ci/aarch64` runs this
//! with pages of 16 KiB; elsewhere it shows that the same holds for pages of 4 KiB. Without a harness: there
//! would be a second thread, and a process that is emulated cannot start itself again.

use pmem_core::source::Source;
use vmem_engine::fork::{self, ForkMode};
use vmem_engine::{Pool, PoolOptions, PurgePolicy};

fn main() {
    if cfg!(miri) {
        return; // it has no files
    }
    let page = Source::in_directory(c"/dev/shm", 14 << 20).unwrap().granule();
    for mode in [ForkMode::Private, ForkMode::Copy, ForkMode::Share] {
        live_extents_beside_free_ones_survive_a_fork(mode);
    }
    empty_pages_of_slabs_come_again();
    println!("pages of {page} bytes: all is well");
}

fn pool() -> Pool {
    let source = Source::in_directory(c"/dev/shm", 64 << 20).unwrap();
    let options = PoolOptions { purge: PurgePolicy::Never, ..PoolOptions::default() };
    Pool::create(source, &options).unwrap()
}

type Block = (*mut u8, usize);

fn fill(blocks: &[Block], stamp: u8) {
    // SAFETY: live blocks of these sizes.
    blocks.iter().for_each(|&(block, size)| unsafe { block.write_bytes(stamp, size) });
}

fn hold(blocks: &[Block], stamp: u8) -> bool {
    // SAFETY: as above.
    let holds = |&(block, size): &Block| unsafe {
        std::slice::from_raw_parts(block, size).iter().all(|&byte| byte == stamp)
    };
    blocks.iter().all(holds)
}

/// The borders of these blocks are borders of our pages only.
fn live_extents_beside_free_ones_survive_a_fork(mode: ForkMode) {
    let pool = pool();
    let sizes = [24, 300, 301_000, 301_000, 309_000, 301_000, 305_000];
    let mut blocks: Vec<Block> = sizes.map(|size| (pool.alloc(size), size)).to_vec();
    fill(&blocks, 7);
    // SAFETY: live and not used again; the child only uses the pool and exits.
    unsafe {
        pool.free(blocks.remove(3).0);
        fork::prepare(mode).unwrap();
        let pid = libc::fork();
        if pid == 0 {
            let fine = fork::child().is_ok() && hold(&blocks, 7) && pool.check().is_ok();
            let new = [(pool.alloc(1000), 1000), (pool.alloc(301_000), 301_000)];
            fill(&new, 8);
            libc::_exit(if fine && hold(&new, 8) && hold(&blocks, 7) { 0 } else { 1 });
        }
        fork::parent();
        if mode != ForkMode::Share {
            fill(&blocks, 9);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert_eq!(status, 0, "{mode:?}");
    }
    assert!(hold(&blocks, if mode == ForkMode::Share { 7 } else { 9 }), "{mode:?}");
    pool.check().unwrap();
}

fn empty_pages_of_slabs_come_again() {
    const SIZE: usize = 5000;
    let pool = pool();
    let mut blocks: Vec<Block> = (0..1200).map(|_| (pool.alloc(SIZE), SIZE)).collect();
    let full = pool.stats().active_bytes;
    for n in (0..blocks.len()).rev().filter(|n| n % 20 != 0) {
        // SAFETY: live and not used again.
        unsafe { pool.free(blocks.swap_remove(n).0) };
    }
    fill(&blocks, 3);
    pool.trim();
    pool.check().unwrap();
    let thin = pool.stats().active_bytes;
    assert!(thin < full * 3 / 4, "{thin} of {full} bytes are left");
    let again: Vec<Block> = (blocks.len()..1200).map(|_| (pool.alloc(SIZE), SIZE)).collect();
    fill(&again, 4);
    assert!(hold(&blocks, 3));
    pool.check().unwrap();
    let active = pool.stats().active_bytes;
    assert!(active <= full, "{active} bytes in place of {full}: new slabs were made");
}
