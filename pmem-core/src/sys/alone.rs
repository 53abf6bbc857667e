//! Who else can write to the memory of the process.

use core::ops::Range;

use super::file::{Access, Fd, OpenFlags, close, open_at, pread, read, read_directory};
use super::raw::once;
use crate::errno::Errno;

/// Whether the calling thread is the only one that uses the process's memory: no other thread, and no
/// process made with `CLONE_VM` (as by `vfork`). False when the system does not tell.
///
/// Nobody else can begin to use it before the calling thread starts someone.
#[must_use]
pub fn is_alone() -> bool {
    // To stop sharing the memory is refused exactly when someone shares it, and else does nothing.
    // SAFETY: no memory is involved.
    once(|| unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_VM) }).is_ok()
}

/// Whether a device, or the kernel on behalf of a request under way, may write to pages of
/// `addresses` without the process's page tables, or the program has changed what may be done with
/// pages there. True when that cannot be found out.
///
/// Looks at what the kernel counts as pinned or locked, and at the mappings that come with
/// asynchronous requests (io_uring, aio) and with remote access to memory (verbs, VFIO).
#[must_use]
pub fn may_be_pinned(addresses: &Range<usize>) -> bool {
    let counted = any_line(c"/proc/self/status", |line| {
        (line.starts_with(b"VmPin:") || line.starts_with(b"VmLck:"))
            && line.iter().any(|byte| matches!(byte, b'1'..=b'9'))
    });
    counted.unwrap_or(true)
        || any_line(c"/proc/self/maps", |line| is_suspect(line, addresses)).unwrap_or(true)
}

/// Whether a line of `/proc/self/maps` speaks against moving pages of `addresses`.
fn is_suspect(line: &[u8], addresses: &Range<usize>) -> bool {
    const REQUESTS: [&[u8]; 4] = [b"[io_uring]", b"[aio]", b"/uverbs", b"/vfio/"];
    if REQUESTS.iter().any(|name| line.windows(name.len()).any(|part| part == *name)) {
        return true;
    }
    let mut fields = line.split(|&byte| byte == b' ');
    let start = fields.next().and_then(|range| range.split(|&byte| byte == b'-').next());
    let permissions = fields.next().unwrap_or_default();
    start.and_then(hexadecimal).is_some_and(|start| addresses.contains(&start))
        && !permissions.starts_with(b"rw-")
}

fn hexadecimal(text: &[u8]) -> Option<usize> {
    usize::from_str_radix(str::from_utf8(text).ok()?, 16).ok()
}

/// Whether any line of a file satisfies `test`. Of a long line only the first part is seen.
fn any_line(path: &core::ffi::CStr, test: impl Fn(&[u8]) -> bool) -> Result<bool, Errno> {
    let file = open_at(Fd::CURRENT_DIRECTORY, path, OpenFlags::new(Access::Read))?;
    let found = any_line_of(file, test);
    // SAFETY: opened above.
    unsafe { close(file) };
    found
}

fn any_line_of(file: Fd, test: impl Fn(&[u8]) -> bool) -> Result<bool, Errno> {
    let mut buffer = [0; 1024];
    let mut filled = 0;
    loop {
        let got = read(file, &mut buffer[filled..])?;
        filled += got;
        let mut rest = &buffer[..filled];
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            if test(&rest[..end]) {
                return Ok(true);
            }
            rest = &rest[end + 1..];
        }
        if got == 0 {
            return Ok(test(rest));
        }
        let left = rest.len();
        if left == buffer.len() {
            // Its end does not fit; what follows is taken for a line of its own.
            if test(rest) {
                return Ok(true);
            }
            filled = 0;
        } else {
            let from = filled - left;
            buffer.copy_within(from..filled, 0);
            filled = left;
        }
    }
}

/// More open files than this are not looked through.
const MOST_FILES: usize = 4096;

/// Whether a file may be open for reads that bypass the page cache: a device then writes into the
/// buffer of a `read` under way. True when that cannot be found out.
#[must_use]
pub fn has_direct_files() -> bool {
    let flags = OpenFlags::new(Access::Read).directory();
    let Ok(folder) = open_at(Fd::CURRENT_DIRECTORY, c"/proc/self/fd", flags) else { return true };
    let found = any_direct(folder);
    // SAFETY: opened above.
    unsafe { close(folder) };
    found
}

fn any_direct(folder: Fd) -> bool {
    /// Offsets in `struct linux_dirent64`.
    const RECORD_LEN: usize = 16;
    const NAME: usize = 19;
    let mut buffer = [0u8; 1024];
    let mut seen = 0;
    loop {
        let Ok(got) = read_directory(folder, &mut buffer) else { return true };
        if got == 0 {
            return false;
        }
        let mut entries = &buffer[..got.min(buffer.len())];
        while entries.len() > NAME {
            let len =
                usize::from(u16::from_ne_bytes([entries[RECORD_LEN], entries[RECORD_LEN + 1]]));
            if len <= NAME || len > entries.len() {
                return true;
            }
            let (entry, rest) = entries.split_at(len);
            entries = rest;
            seen += 1;
            if seen > MOST_FILES || number(&entry[NAME..]).is_some_and(is_direct) {
                return true;
            }
        }
    }
}

fn number(name: &[u8]) -> Option<i32> {
    let end = name.iter().position(|&byte| byte == 0)?;
    str::from_utf8(&name[..end]).ok()?.parse().ok()
}

fn is_direct(number: i32) -> bool {
    // SAFETY: no memory is involved.
    once(|| unsafe { libc::fcntl(number, libc::F_GETFL) })
        .is_ok_and(|flags| flags & libc::O_DIRECT != 0)
}

/// What the kernel knows of the pages of the process (`/proc/self/pagemap`).
#[derive(Debug)]
pub struct PageStates {
    file: Fd,
}

impl PageStates {
    /// # Errors
    /// Those of `open`.
    pub fn open() -> Result<PageStates, Errno> {
        let flags = OpenFlags::new(Access::Read);
        let file = open_at(Fd::CURRENT_DIRECTORY, c"/proc/self/pagemap", flags)?;
        Ok(PageStates { file })
    }

    /// Reads the states of the pages from `address` on, one for each system page.
    ///
    /// # Errors
    /// Those of `pread`; `EIO` when there are fewer.
    pub fn read(&self, address: usize, states: &mut [PageState]) -> Result<(), Errno> {
        let start = address / super::page_size() * size_of::<PageState>();
        // SAFETY: a state is one word, of any value.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(states.as_mut_ptr().cast::<u8>(), size_of_val(states))
        };
        match pread(self.file, bytes, start as u64)? {
            got if got == bytes.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }
}

impl Drop for PageStates {
    fn drop(&mut self) {
        // SAFETY: opened by `open`.
        unsafe { close(self.file) };
    }
}

/// The state of one page of a private mapping of a file.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct PageState(u64);

impl PageState {
    /// Nothing is mapped: the page shows the file.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 & (0b11 << 62) == 0
    }

    /// A page of the file is mapped, so nothing was stored since the mapping was made.
    #[must_use]
    pub fn shows_file(self) -> bool {
        self.0 >> 61 == 0b101
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use crate::sys::{MapFile, fallocate, map_anonymous, map_file_over, memory_file, truncate};
    use std::println;

    #[test]
    fn a_line_of_maps_is_judged() {
        let pool = 0x7000_0000_0000..0x7000_1000_0000;
        let suspect = |line: &str| is_suspect(line.as_bytes(), &pool);
        assert!(!suspect(
            "700000000000-700000200000 rw-p 00000000 00:1a 12   /dev/shm/x (deleted)"
        ));
        assert!(suspect("700000100000-700000200000 r-xp 00000000 00:1a 12   /dev/shm/x (deleted)"));
        assert!(!suspect("710000100000-710000200000 r-xp 00000000 00:1a 12   /usr/lib/x.so"));
        assert!(suspect("7f0000000000-7f0000001000 rw-s 00000000 00:0e 5   anon_inode:[io_uring]"));
        assert!(suspect("7f0000000000-7f0000001000 rw-s 00000000 00:0e 5   /[aio] (deleted)"));
    }

    #[test]
    fn lines_are_found_across_the_borders_of_the_buffer() {
        assert_eq!(any_line(c"/proc/self/maps", |line| line.ends_with(b"[stack]")), Ok(true));
        assert_eq!(any_line(c"/proc/self/maps", |line| line.ends_with(b"[no such]")), Ok(false));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let wrong = |line: &[u8]| !line.is_empty() && line.split(|&byte| byte == b'-').count() < 2;
        assert!(maps.len() > 1024);
        assert_eq!(any_line(c"/proc/self/maps", wrong), Ok(false));
    }

    #[test]
    fn a_file_opened_for_direct_reads_is_noticed() {
        use std::os::unix::fs::OpenOptionsExt;
        assert!(!has_direct_files());
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        let Ok(file) = options.open(std::env::current_exe().unwrap()) else {
            println!("NOT CHECKED: the file system has no direct reads");
            return;
        };
        assert!(has_direct_files());
        drop(file);
    }

    #[test]
    fn a_stored_page_is_told_from_one_of_the_file() {
        let file = memory_file(c"states", 0).unwrap();
        let page = crate::sys::page_size();
        let len = 4 * page;
        truncate(file, len as u64).unwrap();
        fallocate(file, 0, len as u64).unwrap();
        let address = map_anonymous(len).unwrap();
        // SAFETY: the range is ours; the stores are inside.
        unsafe {
            map_file_over(address, len, file, 0, MapFile::Private).unwrap();
            address.add(page).write(1);
            address.add(2 * page).read_volatile();
            let states = PageStates::open().unwrap();
            let mut found = [PageState::default(); 3];
            states.read(address.addr().get(), &mut found).unwrap();
            assert!(!found[1].is_empty() && !found[1].shows_file());
            assert!(found[2].shows_file() && !found[2].is_empty());
            assert!(found[0].is_empty() || found[0].shows_file());
            crate::sys::unmap(address, len).unwrap();
            close(file);
        }
    }
}
