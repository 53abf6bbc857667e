//! How deep the calls go: allocators run on the small stacks of coroutines and signal handlers.

use std::ffi::c_void;
use std::ptr;

use pmem_core::source::{Purged, Source};
use pmem_core::sync::{Mutex, Rank};

use crate::MIB;

const STACK: usize = 128 << 10;
const PAINT: u8 = 0xA5;

/// What is allowed for one call path, in bytes. Unoptimised code keeps every temporary apart.
const LIMIT: usize = if cfg!(debug_assertions) { 6144 } else { 2048 };

/// What the thread is to do, and where its stack was when it began to.
struct Job<'a> {
    body: &'a mut dyn FnMut(),
    top: usize,
}

extern "C" fn enter(job: *mut c_void) -> *mut c_void {
    // SAFETY: `depth_of` passes the job and waits for the thread.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    let here = 0u8;
    job.top = (&raw const here).addr();
    (job.body)();
    ptr::null_mut()
}

/// Runs `body` on a painted stack and counts the bytes down to the lowest touched one.
fn depth_of(body: &mut dyn FnMut()) -> usize {
    let mut stack = vec![PAINT; STACK + 4096];
    let start = stack.as_mut_ptr().wrapping_add(stack.as_ptr().align_offset(4096));
    let mut job = Job { body, top: 0 };
    // SAFETY: the stack and the job outlive the thread, which is joined here.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
        let result = libc::pthread_attr_setstack(&raw mut attributes, start.cast(), STACK);
        assert_eq!(result, 0);
        let mut thread = 0;
        let argument = (&raw mut job).cast();
        let result = libc::pthread_create(&raw mut thread, &raw const attributes, enter, argument);
        assert_eq!(result, 0);
        assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
        libc::pthread_attr_destroy(&raw mut attributes);
    }
    let offset = start.addr() - stack.as_ptr().addr();
    let painted = stack[offset..].iter().take_while(|&&byte| byte == PAINT).count();
    job.top - (start.addr() + painted)
}

#[test]
fn call_paths_are_shallow() {
    let source = Source::in_directory(c"/dev/shm", 4 * MIB).unwrap();
    let anonymous = Source::anonymous(4 * MIB).unwrap();
    let mutex = Mutex::new(Rank::new(1), 0);
    let check = |name: &str, body: &mut dyn FnMut()| {
        let depth = depth_of(body);
        println!("{name}: {depth} bytes");
        assert!(depth < LIMIT, "{name} needs {depth} bytes of stack");
    };
    check("nothing", &mut || {});
    check("commit", &mut || source.commit(0, MIB).unwrap());
    check("populate", &mut || source.populate(0, MIB).unwrap());
    check("purge", &mut || assert_eq!(source.purge(0, MIB), Purged::Zeroed));
    check("commit beyond", &mut || assert!(source.commit(0, 8 * MIB).is_err()));
    check("freeze", &mut || source.freeze(0, MIB).unwrap());
    check("share", &mut || source.share(0, MIB).unwrap());
    check("replace", &mut || source.replace_anonymous(0, MIB).unwrap());
    check("resident", &mut || assert!(source.resident_bytes() == 0));
    check("resident by pages", &mut || assert!(anonymous.resident_bytes() == 0));
    check("lock", &mut || *mutex.lock() += 1);
    check("in_directory", &mut || drop(Source::in_directory(c"/dev/shm", MIB).unwrap()));
    check("memfd", &mut || drop(Source::memfd(MIB, None).unwrap()));
    check("clone", &mut || {
        let clone = source.new_clone().unwrap();
        source.copy_to_clone(&clone, 2 * MIB, MIB).unwrap();
    });
    check("numa", &mut || assert!(pmem_core::numa::nodes_with_memory().is_ok()));
}
