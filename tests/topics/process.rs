//! What a program may do to itself: descriptors, limits, sandboxes, stacks, signals, identity, libraries.

use std::time::Duration;

use pmem_e2e::artifact::{program, shared};
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;

const LIMIT: Duration = Duration::from_secs(60);

fn run_in(pool: &Pool) {
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        assert!(
            std::env::var_os("PMEM_TEST_NO_MOUNT").is_some(),
            "chroot, setuid and mlockall need root; PMEM_TEST_NO_MOUNT=1 leaves them unchecked"
        );
        println!("NOT CHECKED: chroot, setuid, mlockall (need root, PMEM_TEST_NO_MOUNT is set)");
    }
    let (plugin, tls) = (shared("plugin"), shared("tls_lib"));
    Cases::of(&program("process"))
        .only(|name| root || !name.starts_with("root_"))
        .limit(LIMIT)
        .argument(&plugin)
        .argument(&tls)
        .run(pool);
}

#[test]
fn in_a_lazy_pool() {
    run_in(&Pool::lazy(64));
}

#[test]
fn in_a_preallocated_pool() {
    run_in(&Pool::prealloc(64));
}
