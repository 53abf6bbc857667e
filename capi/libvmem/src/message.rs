//! The text of the last error, for each thread.
//!
//! Buffers are static, so a failure for want of memory can be told. A thread takes one with its first
//! error and keeps it to its end; when all are taken, a mapping with more is made.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_void};
use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use pmem_core::errno::Errno;
use pmem_core::sync::Once;
use pmem_core::sys::{self, ExitKey};
use vmem_engine::memcheck;

/// As in the contract.
const BYTES: usize = 8192;
const PER_GROUP: usize = 32;

struct Buffer {
    /// The thread it belongs to, 0 for none.
    owner: AtomicUsize,
    text: UnsafeCell<[u8; BYTES]>,
}

struct Group {
    buffers: [Buffer; PER_GROUP],
    next: AtomicPtr<Group>,
}

// SAFETY: a text is written and read by the thread that owns the buffer only.
unsafe impl Sync for Group {}

/// All zero: it takes no room in the file, and no memory until it is used. So is a fresh mapping.
static FIRST: Group = Group {
    buffers: [const { Buffer { owner: AtomicUsize::new(0), text: UnsafeCell::new([0; BYTES]) } };
        PER_GROUP],
    next: AtomicPtr::new(ptr::null_mut()),
};

static KEY: AtomicUsize = AtomicUsize::new(0);
static EXIT: Once = Once::new();
static mut EXIT_KEY: Option<ExitKey> = None;

/// Makes the key for the end of threads early, when its number is low: arming it then never allocates.
pub(crate) fn prepare() {
    let _ = EXIT.call(|| {
        let key = ExitKey::new(at_exit).ok();
        // SAFETY: written once, before `KEY` says so.
        unsafe { EXIT_KEY = key };
        KEY.store(1, Release);
    });
}

unsafe extern "C" fn at_exit(buffer: *mut c_void) {
    let _quiet = memcheck::quiet();
    // SAFETY: the key was armed with a buffer of this thread; buffers live for ever.
    let buffer = unsafe { &*buffer.cast::<Buffer>() };
    // SAFETY: ours until the owner is cleared.
    unsafe { *buffer.text.get().cast::<u8>() = 0 };
    buffer.owner.store(0, Release);
}

fn groups() -> impl Iterator<Item = &'static Group> {
    core::iter::successors(Some(&FIRST), |group| {
        // SAFETY: groups are never unmapped.
        unsafe { group.next.load(Acquire).as_ref() }
    })
}

fn this_thread() -> usize {
    // SAFETY: no arguments, cannot fail; never 0.
    unsafe { libc::pthread_self() as usize }
}

/// The calling thread's buffer; the last resort without memory for one is shared.
fn own() -> &'static Buffer {
    let _quiet = memcheck::quiet();
    let me = this_thread();
    let buffers = || groups().flat_map(|group| &group.buffers);
    if let Some(buffer) = buffers().find(|buffer| buffer.owner.load(Relaxed) == me) {
        return buffer;
    }
    loop {
        let free = buffers().find(|buffer| {
            buffer.owner.load(Relaxed) == 0
                && buffer.owner.compare_exchange(0, me, Acquire, Relaxed).is_ok()
        });
        if let Some(buffer) = free {
            if KEY.load(Acquire) != 0 {
                // SAFETY: written before `KEY`, and not again.
                if let Some(key) = unsafe { EXIT_KEY } {
                    // Without it the buffer stays taken when the thread ends.
                    let _ = key.arm(ptr::from_ref(buffer).cast_mut().cast());
                }
            }
            return buffer;
        }
        if !add_group() {
            return &FIRST.buffers[0];
        }
    }
}

#[cold]
fn add_group() -> bool {
    let Ok(memory) = sys::map_anonymous(size_of::<Group>()) else { return false };
    let last = groups().last().unwrap_or(&FIRST);
    let group = memory.cast::<Group>();
    // Zero bytes are a valid group.
    if last.next.compare_exchange(ptr::null_mut(), group.as_ptr(), Release, Relaxed).is_err() {
        // SAFETY: nobody has seen it.
        let _ = unsafe { sys::unmap(memory, size_of::<Group>()) };
    }
    true
}

/// Text with a zero at the end; what does not fit is cut.
struct Writer<'b> {
    text: &'b mut [u8; BYTES],
    len: usize,
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) {
        let room = BYTES - 1 - self.len;
        let bytes = &bytes[..bytes.len().min(room)];
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// A part of a message that need not be UTF-8, such as a path.
pub(crate) enum Part<'p> {
    Text(fmt::Arguments<'p>),
    Bytes(&'p [u8]),
}

/// Writes the calling thread's text and gives it.
pub(crate) fn set_parts(parts: &[Part<'_>]) -> &'static CStr {
    let buffer = own();
    // SAFETY: the buffer is this thread's; pointers that the program has are not followed meanwhile.
    let text = unsafe { &mut *buffer.text.get() };
    let mut writer = Writer { text, len: 0 };
    for part in parts {
        match part {
            Part::Text(text) => {
                // A writer never refuses.
                let _ = writer.write_fmt(*text);
            }
            Part::Bytes(bytes) => writer.push(bytes),
        }
    }
    let len = writer.len;
    text[len] = 0;
    // SAFETY: ends with the zero just written; a zero before it would only make it shorter.
    unsafe { CStr::from_ptr(text.as_ptr().cast::<c_char>()) }
}

/// Writes the calling thread's text.
pub(crate) fn set(text: fmt::Arguments<'_>) -> &'static CStr {
    set_parts(&[Part::Text(text)])
}

/// Writes `<what>: <text of errno>`, and sets errno.
pub(crate) fn set_with_errno(errno: Errno, what: fmt::Arguments<'_>) -> &'static CStr {
    errno.set();
    set(format_args!("{what}: {errno}"))
}

/// The calling thread's text: empty before its first error, and the same place every time.
pub(crate) fn get() -> *const c_char {
    own().text.get().cast::<c_char>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> std::string::String {
        // SAFETY: a C string of this thread.
        unsafe { CStr::from_ptr(get()) }.to_str().unwrap().into()
    }

    #[test]
    fn each_of_many_threads_has_its_own_text() {
        prepare();
        let all = std::sync::Barrier::new(100);
        std::thread::scope(|scope| {
            for number in 0..100 {
                let all = &all;
                scope.spawn(move || {
                    assert_eq!(text(), "");
                    set(format_args!("text {number}"));
                    let place = get();
                    all.wait();
                    assert_eq!(text(), std::format!("text {number}"));
                    assert_eq!(get(), place);
                });
            }
        });
        let more = groups().count();
        for _ in 0..200 {
            std::thread::spawn(|| assert_eq!(text(), "")).join().unwrap();
        }
        assert_eq!(groups().count(), more, "buffers of ended threads are used again");
    }

    #[test]
    fn long_texts_are_cut() {
        std::thread::spawn(|| {
            let path = [b'x'; 2 * BYTES];
            let text = set_parts(&[Part::Text(format_args!("a \"")), Part::Bytes(&path)]);
            assert_eq!(text.count_bytes(), BYTES - 1);
            set(format_args!("b"));
            assert_eq!(super::tests::text(), "b");
        })
        .join()
        .unwrap();
    }
}
