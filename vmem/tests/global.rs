//! A test program whose global allocator is a pool: the test harness itself lives in it.
#![cfg(not(miri))]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use vmem::{Backing, Policy, PurgePolicy, VmemAlloc};

#[global_allocator]
static A: VmemAlloc = VmemAlloc::in_dir(c"/dev/shm", 2 << 30)
    .on_failure(Policy::Abort)
    .purge(PurgePolicy::AfterMs(10))
    .ignore_env();

/// Held by tests that fork, and by the one that a fork would disturb: what was live at a fork does not
/// go back to the medium before it is used again.
static FORKS: Mutex<()> = Mutex::new(());

fn forks() -> MutexGuard<'static, ()> {
    FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn everything_is_in_the_pool() {
    assert_eq!(A.backing(), Backing::Pool);
    assert!(A.failure().is_none());
    let boxed = Box::new(5);
    let text = "text".repeat(100_000);
    let map: HashMap<_, _> = (0..1000).map(|n| (n, n.to_string())).collect();
    assert!(A.contains((&raw const *boxed).cast()) && A.contains(text.as_ptr()));
    assert!(map.values().all(|text| A.contains(text.as_ptr())));
    assert!(!A.contains((&raw const boxed).cast()), "the stack is not");
    let stats = A.stats().unwrap();
    assert_eq!(stats.pool_bytes, 2 << 30);
    assert!(stats.allocated_bytes >= text.len() + 1000);
    assert!(stats.committed_bytes >= stats.active_bytes);
    assert!(A.overflow_stats().is_none());
}

#[test]
fn alignments_and_resizing() {
    for align in (0..=22).map(|shift| 1 << shift) {
        for size in [1, 24, 600, 5000, 300_000] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: blocks of this layout and then of the doubled size, freed once.
            unsafe {
                let block = alloc(layout);
                assert!(block.addr().is_multiple_of(align) && A.contains(block));
                block.write_bytes(7, size);
                let grown = realloc(block, layout, size * 2);
                assert!(grown.addr().is_multiple_of(align));
                assert_eq!((grown.read(), grown.add(size - 1).read()), (7, 7));
                dealloc(grown, Layout::from_size_align(size * 2, align).unwrap());
                let zeroed = alloc_zeroed(layout);
                assert!(zeroed.addr().is_multiple_of(align));
                assert_eq!((zeroed.read(), zeroed.add(size - 1).read()), (0, 0));
                dealloc(zeroed, layout);
            }
        }
    }
}

#[test]
fn threads_hand_blocks_to_each_other_and_end() {
    for round in 0..20 {
        let (sender, receiver) = mpsc::channel::<Vec<String>>();
        let makers: Vec<_> = (0..4)
            .map(|maker| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for batch in 0..20 {
                        let texts = (0..50).map(|n| format!("{round}.{maker}.{batch}.{n}"));
                        sender.send(texts.collect()).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut seen = BTreeMap::new();
        for text in receiver.iter().flatten() {
            assert!(A.contains(text.as_ptr()));
            *seen.entry(text).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 4 * 20 * 50);
        assert!(seen.values().all(|count| *count == 1));
        makers.into_iter().for_each(|maker| maker.join().unwrap());
    }
    A.check().unwrap();
}

#[test]
fn thread_locals_may_use_the_heap_while_a_thread_ends() {
    struct Late(Vec<String>);
    impl Drop for Late {
        fn drop(&mut self) {
            let copy: Vec<String> = self.0.iter().map(|text| text.repeat(10)).collect();
            assert!(copy.iter().all(|text| A.contains(text.as_ptr())));
        }
    }
    thread_local!(static LATE: Late = Late((0..100).map(|n| n.to_string()).collect()));
    for _ in 0..50 {
        thread::spawn(|| LATE.with(|late| assert_eq!(late.0.len(), 100))).join().unwrap();
    }
    A.check().unwrap();
}

#[test]
fn panics_unwind() {
    let message = "a panic ".repeat(100);
    for depth in 0..20 {
        let expected = message.clone();
        let caught = catch_unwind(|| {
            let _held: Vec<Vec<u8>> = (0..depth).map(|n| vec![n; 10_000]).collect();
            std::panic::resume_unwind(Box::new(expected));
        });
        let payload = caught.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*payload, message);
    }
    A.check().unwrap();
}

#[test]
fn allocation_failures_are_errors_where_rust_can_say_so() {
    let mut vector: Vec<u8> = Vec::new();
    assert!(vector.try_reserve(3 << 30).is_err());
    vector.try_reserve(1 << 20).unwrap();
}

#[test]
fn programs_are_started_and_read() {
    let text = "x".repeat(10_000);
    let output = Command::new("echo").arg(&text).output().unwrap();
    assert_eq!(output.stdout.len(), text.len() + 1);
}

#[test]
fn a_fork_may_run_code_before_exec() {
    let _forks = forks();
    let mut command = Command::new("echo");
    // SAFETY: the closure allocates and frees in the child, which the allocator allows.
    unsafe {
        command.pre_exec(|| {
            let texts: Vec<String> = (0..1000).map(|n| format!("in the child {n}")).collect();
            match texts.iter().all(|text| A.contains(text.as_ptr())) {
                true => Ok(()),
                false => Err(std::io::ErrorKind::Other.into()),
            }
        })
    };
    let output = command.arg("after fork").output().unwrap();
    assert_eq!(output.stdout, b"after fork\n");
}

#[test]
fn a_fork_among_threads_leaves_two_heaps_that_work() {
    let _forks = forks();
    let mut data: Vec<u64> = (0..100_000).collect();
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        scope.spawn(move || {
            let mut rounds = 0_usize;
            while stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                let texts: Vec<String> = (0..100).map(|n| format!("{rounds} {n}")).collect();
                assert_eq!(texts.len(), 100);
                rounds += 1;
            }
        });
        for _ in 0..5 {
            // SAFETY: the child only uses the heap, which allows it, and ends.
            unsafe {
                let pid = libc::fork();
                if pid == 0 {
                    libc::alarm(60);
                    data.iter_mut().for_each(|number| *number += 1);
                    let more: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
                    let sum: u64 = data.iter().sum();
                    let fine = sum == 5_000_050_000 && more.len() == 10_000 && A.check().is_ok();
                    libc::_exit(if fine { 0 } else { 1 });
                }
                assert!(pid > 0);
                let kept: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                assert_eq!(status, 0, "the child failed");
                assert!(kept.iter().enumerate().all(|(n, text)| *text == n.to_string()));
                assert_eq!(data.iter().sum::<u64>(), 4_999_950_000, "the child wrote to us");
            }
        }
        drop(stop);
    });
    A.check().unwrap();
}

#[test]
fn trimming_gives_memory_back() {
    let _forks = forks();
    let before = A.stats().unwrap().purged_bytes;
    let large: Vec<Vec<u8>> = (0..64).map(|n| vec![n; 1 << 20]).collect();
    assert!(A.stats().unwrap().committed_bytes >= 64 << 20);
    drop(large);
    A.trim();
    // The rest may have gone back by itself before.
    assert!(A.stats().unwrap().purged_bytes - before >= 60 << 20);
    A.check().unwrap();
}
