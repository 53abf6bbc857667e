//! `pmem_map_file`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};

use pmem::Granularity;
use pmem::registry::Entry;
use pmem::{Backing, Rights};
use pmem_core::dax::{self, DaxDevice};
use pmem_core::errno::Errno;
use pmem_core::mapping;
use pmem_core::nvdimm::{Device, SYSTEM};
use pmem_core::sys::{self, Fd, FileStatus, SignalBlock};

use crate::messages;
use crate::start;
use crate::tracked::{TRACKED, pmem_is_pmem};

const CREATE: c_int = 1 << 0;
const EXCL: c_int = 1 << 1;
const SPARSE: c_int = 1 << 2;
const TMPFILE: c_int = 1 << 3;

/// Why it failed: a text, and what errno becomes.
struct Failure {
    text: String,
    errno: Errno,
}

impl Failure {
    fn invalid(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), errno: Errno::EINVAL }
    }

    fn system(operation: &str, path: &CStr, errno: Errno) -> Failure {
        Failure { text: format!("{operation} \"{}\": {errno}", path.to_string_lossy()), errno }
    }
}

/// Maps a file, which is made or cut to `len` with `PMEM_FILE_CREATE`. NULL and errno on failure.
///
/// # Safety
/// `path` is NULL or a C string; the other pointers are NULL or writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pmem_map_file(
    path: *const c_char,
    len: usize,
    flags: c_int,
    mode: libc::mode_t,
    mapped_lenp: *mut usize,
    is_pmemp: *mut c_int,
) -> *mut c_void {
    trace!(
        "pmem_map_file",
        "path {} len {len} flags {flags} mode {mode} mapped_lenp {mapped_lenp:p} is_pmemp {is_pmemp:p}",
        c_text!(path)
    );
    // The place for mappings is read there.
    start::memory();
    let mapped = if path.is_null() {
        Err(Failure::invalid("invalid (NULL) path"))
    } else {
        // SAFETY: a C string by the caller's contract.
        map_file(unsafe { CStr::from_ptr(path) }, len, flags, mode)
    };
    match mapped {
        Ok((base, len)) => {
            let base: *mut c_void = base.as_ptr().cast();
            if !mapped_lenp.is_null() {
                // SAFETY: writable by the caller's contract.
                unsafe { mapped_lenp.write(len) };
            }
            if !is_pmemp.is_null() {
                // SAFETY: as above.
                unsafe { is_pmemp.write(pmem_is_pmem(base, len)) };
            }
            base
        }
        Err(failure) => {
            messages::fail(format_args!("{}", failure.text));
            failure.errno.set();
            null_mut()
        }
    }
}

/// What is at a path; `None` when nothing is.
fn examine(path: &CStr) -> Result<Option<FileStatus>, Failure> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: a C string.
    let number = unsafe { libc::open(path.as_ptr(), flags) };
    if number < 0 {
        return match Errno::last() {
            Errno::ENOENT => Ok(None),
            errno => Err(Failure::system("open", path, errno)),
        };
    }
    let file = Opened(number);
    sys::file_status(file.fd()).map(Some).map_err(|errno| Failure::system("stat", path, errno))
}

/// A descriptor that is closed at the end.
struct Opened(c_int);

impl Opened {
    fn fd(&self) -> Fd {
        Fd::from_raw(self.0)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: opened by this module and used no more.
        unsafe { sys::close(self.fd()) };
    }
}

fn map_file(
    path: &CStr,
    len: usize,
    flags: c_int,
    mode: libc::mode_t,
) -> Result<(NonNull<u8>, usize), Failure> {
    let device = match examine(path)? {
        None => None,
        Some(status) if status.is_regular() || status.is_directory() => None,
        Some(status) => {
            let described = dax::describe(&status);
            let described = described.map_err(|errno| Failure::system("sysfs", path, errno))?;
            let name = path.to_string_lossy();
            let refused =
                || Failure::invalid(format!("\"{name}\" is neither a regular file nor device DAX"));
            Some(described.ok_or_else(refused)?)
        }
    };
    if flags & !(CREATE | EXCL | SPARSE | TMPFILE) != 0 {
        return Err(Failure::invalid(format!("invalid flag specified {flags:x}")));
    }
    if let Some(device) = device {
        return map_device(path, len, flags, device);
    }
    let has = |flag| flags & flag != 0;
    if has(CREATE) && i64::try_from(len).is_err() {
        return Err(Failure::invalid(format!("invalid file length {len}")));
    }
    if !has(CREATE) && len != 0 {
        return Err(Failure::invalid("non-zero 'len' not allowed without PMEM_FILE_CREATE"));
    }
    if has(CREATE) && len == 0 {
        return Err(Failure::invalid("zero 'len' not allowed with PMEM_FILE_CREATE"));
    }
    if has(TMPFILE) && !has(CREATE) {
        return Err(Failure::invalid("PMEM_FILE_TMPFILE not allowed without PMEM_FILE_CREATE"));
    }
    let file = open(path, flags, mode)?;
    let mapped = size_file(&file, path, len, flags).and_then(|len| {
        let mapped = map_opened(&file, len, mapping::alignment_for(len), Backing::File, false);
        mapped.map_err(|errno| Failure::system("mmap", path, errno)).map(|base| (base, len))
    });
    if mapped.is_err() && has(CREATE) && has(EXCL) && !has(TMPFILE) {
        // SAFETY: a C string. The file is this call's own.
        unsafe { libc::unlink(path.as_ptr()) };
    }
    mapped
}

fn map_device(
    path: &CStr,
    len: usize,
    flags: c_int,
    device: DaxDevice,
) -> Result<(NonNull<u8>, usize), Failure> {
    if flags & !(CREATE | SPARSE) != 0 {
        return Err(Failure::invalid("flag unsupported for device DAX"));
    }
    let size = usize::try_from(device.size).unwrap_or(usize::MAX);
    if len != 0 && len != size {
        return Err(Failure::invalid(format!(
            "device DAX: length must be either 0 or the exact size of the device, {size}"
        )));
    }
    let file = open(path, 0, 0)?;
    let region = sys::file_status(file.fd())
        .and_then(|status| SYSTEM.region_of(Device::behind(&status)))
        .unwrap_or(None);
    let alignment = device.align.max(mapping::alignment_for(size));
    let mapped = map_opened(&file, size, alignment, Backing::Device(region), true);
    mapped.map_err(|errno| Failure::system("mmap", path, errno)).map(|base| (base, size))
}

fn open(path: &CStr, flags: c_int, mode: libc::mode_t) -> Result<Opened, Failure> {
    let mut how = libc::O_RDWR | libc::O_CLOEXEC;
    if flags & TMPFILE != 0 {
        return open_temporary(path, flags);
    }
    if flags & CREATE != 0 {
        how |= libc::O_CREAT;
        if flags & EXCL != 0 {
            how |= libc::O_EXCL;
        }
    }
    // SAFETY: a C string.
    match unsafe { libc::open(path.as_ptr(), how, mode) } {
        number if number >= 0 => Ok(Opened(number)),
        _ => Err(Failure::system("open", path, Errno::last())),
    }
}

/// A file without a name, or one whose name is taken away at once where there are no such files.
fn open_temporary(directory: &CStr, flags: c_int) -> Result<Opened, Failure> {
    let mut how = libc::O_RDWR | libc::O_CLOEXEC | libc::O_TMPFILE;
    if flags & EXCL != 0 {
        how |= libc::O_EXCL;
    }
    // SAFETY: a C string.
    let number = unsafe { libc::open(directory.as_ptr(), how, 0o600) };
    if number >= 0 {
        return Ok(Opened(number));
    }
    match Errno::last() {
        Errno::EOPNOTSUPP => {}
        errno => return Err(Failure::system("open", directory, errno)),
    }
    let mut template = directory.to_bytes().to_vec();
    template.extend_from_slice(b"/pmem.XXXXXX");
    let Ok(template) = CString::new(template) else {
        return Err(Failure::system("mkstemp", directory, Errno::EINVAL));
    };
    let template = template.into_raw();
    // Nothing may end the process between making the file and taking its name away.
    let signals = SignalBlock::new();
    // SAFETY: a C string that may be written to.
    let number = unsafe { libc::mkostemp(template, libc::O_CLOEXEC) };
    let errno = Errno::last();
    if number >= 0 {
        // SAFETY: the name that mkostemp has made.
        unsafe { libc::unlink(template) };
    }
    drop(signals);
    // SAFETY: from `into_raw` above; mkostemp keeps the length.
    drop(unsafe { CString::from_raw(template) });
    if number < 0 {
        return Err(Failure::system("mkstemp", directory, errno));
    }
    Ok(Opened(number))
}

/// Gives a made file its size; tells the size.
fn size_file(file: &Opened, path: &CStr, len: usize, flags: c_int) -> Result<usize, Failure> {
    if flags & CREATE == 0 {
        let status = sys::file_status(file.fd());
        let status = status.map_err(|errno| Failure::system("stat", path, errno))?;
        return usize::try_from(status.len)
            .map_err(|_| Failure::system("stat", path, Errno::EFBIG));
    }
    sys::truncate(file.fd(), len as u64)
        .map_err(|errno| Failure::system("ftruncate", path, errno))?;
    if flags & SPARSE == 0 {
        let Ok(wanted) = libc::off_t::try_from(len) else {
            return Err(Failure::system("posix_fallocate", path, Errno::EFBIG));
        };
        // SAFETY: no memory is involved.
        match unsafe { libc::posix_fallocate(file.0, 0, wanted) } {
            0 => {}
            number => return Err(Failure::system("posix_fallocate", path, Errno(number))),
        }
    }
    Ok(len)
}

/// Maps `len` bytes, and tracks them if they are persistent memory.
fn map_opened(
    file: &Opened,
    len: usize,
    alignment: usize,
    backing: Backing,
    is_device: bool,
) -> Result<NonNull<u8>, Errno> {
    let base = mapping::reserve(len, alignment)?;
    // SAFETY: reserved above.
    let mapped = unsafe { mapping::map_shared_over(base, len, Rights::READ_WRITE, file.fd(), 0) };
    let rounded = len.next_multiple_of(sys::page_size());
    match mapped {
        Ok(synchronous) => {
            let start = base.as_ptr().addr();
            if synchronous || is_device {
                let granularity = Granularity::CacheLine;
                TRACKED.replace(Entry { start, len: rounded, granularity, backing, token: 0 });
            } else {
                // Others may have unmapped something here that was tracked.
                TRACKED.cut(start, rounded);
            }
            Ok(base)
        }
        Err(errno) => {
            // SAFETY: reserved above, seen by nobody.
            let _ = unsafe { sys::unmap(base, rounded) };
            Err(errno)
        }
    }
}
