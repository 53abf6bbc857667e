//! Settings by name: `ctl_get`, `ctl_set`, `ctl_exec`, the variable `..._CONF` and the file `..._CONF_FILE` names.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicI32, Ordering};
use pmem_core::errno::Errno;
use pool_format::{Access, CreateOptions, Feature, OpenOptions};
use std::fs;
use std::io::Read;

/// The largest configuration file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A setting of the library: 0 is off, anything else on.
struct Entry {
    name: &'static str,
    value: AtomicI32,
}

const fn entry(name: &'static str, value: i32) -> Entry {
    Entry { name, value: AtomicI32::new(value) }
}

static PREFAULT_AT_CREATE: Entry = entry("prefault.at_create", 0);
static PREFAULT_AT_OPEN: Entry = entry("prefault.at_open", 0);
static SDS_AT_CREATE: Entry = entry("sds.at_create", 1);
static FALLOCATE_AT_CREATE: Entry = entry("fallocate.at_create", 1);
static COPY_ON_WRITE_AT_OPEN: Entry = entry("copy_on_write.at_open", 0);

static ENTRIES: [&Entry; 5] = [
    &PREFAULT_AT_CREATE,
    &PREFAULT_AT_OPEN,
    &SDS_AT_CREATE,
    &FALLOCATE_AT_CREATE,
    &COPY_ON_WRITE_AT_OPEN,
];

impl Entry {
    fn is_on(&self) -> bool {
        self.value.load(Ordering::Relaxed) != 0
    }
}

/// Applies the settings to the making of a pool.
pub fn apply_to_create(options: &mut CreateOptions) {
    options.prefault = PREFAULT_AT_CREATE.is_on();
    options.allocate = FALLOCATE_AT_CREATE.is_on();
    options.features = options.features.with(Feature::ShutdownState, SDS_AT_CREATE.is_on());
}

/// Applies the settings to the opening of a pool.
pub fn apply_to_open(options: &mut OpenOptions) {
    options.prefault = PREFAULT_AT_OPEN.is_on();
    if COPY_ON_WRITE_AT_OPEN.is_on() {
        options.access = Access::CopyOnWrite;
    }
}

/// What is asked of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Its value into an `int`.
    Get,
    /// Its value from an `int`.
    Set,
    /// Doing something; no entry can.
    Exec,
}

/// Answers a query: 0, or -1 with `errno` `EINVAL` and a text.
///
/// # Safety
/// `name` is null or a C string; `argument` is null or points to an `int`.
pub unsafe fn query(kind: Query, name: *const c_char, argument: *mut c_void) -> c_int {
    let fail = |text: &str| pmem_capi_shared::fail(Errno::EINVAL, format_args!("{text}"));
    if name.is_null() {
        return fail("invalid query");
    }
    // SAFETY: a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) else {
        return fail(&format!("invalid query entry point {name}"));
    };
    let argument = argument.cast::<c_int>();
    match kind {
        Query::Exec => fail(&format!("invalid query entry point {name}")),
        Query::Get if argument.is_null() => fail("read queries require non-NULL argument"),
        Query::Set if argument.is_null() => fail("write queries require non-NULL argument"),
        Query::Get => {
            // SAFETY: points to an int.
            unsafe { argument.write(entry.value.load(Ordering::Relaxed)) };
            0
        }
        Query::Set => {
            // SAFETY: points to an int.
            entry.value.store(unsafe { argument.read() }, Ordering::Relaxed);
            0
        }
    }
}

/// Reads both sources of configuration, when the library is loaded. What they say wrongly ends the process; unknown names
/// and bad values are passed over.
pub fn configure(library: &str, variable: &str, file_variable: &str) {
    crate::races::look();
    let stop = |what: &str, text: &str| -> ! {
        eprintln!("{library}: {what}: {text}");
        std::process::abort();
    };
    if let Some(text) = std::env::var_os(variable)
        && let Err(text) = apply(&text.to_string_lossy())
    {
        stop(variable, text);
    }
    let Some(path) = std::env::var_os(file_variable).filter(|path| !path.is_empty()) else {
        return;
    };
    let mut text = String::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    if let Err(error) = read {
        stop(file_variable, &format!("{}: {error}", path.display()));
    }
    if text.len() as u64 > MOST_BYTES {
        stop(file_variable, &format!("{} is larger than 1 MiB", path.display()));
    }
    if let Err(text) = apply(&without_comments(&text)) {
        stop(file_variable, text);
    }
}

/// Drops blanks, and comments from `#` to the end of the line.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or(line));
    lines.flat_map(str::chars).filter(|character| !character.is_ascii_whitespace()).collect()
}

/// Applies `name=value;name=value;...`.
fn apply(text: &str) -> Result<(), &'static str> {
    for query in text.split(';').filter(|query| !query.is_empty()) {
        let mut parts = query.split('=');
        let (Some(name), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a query has the form name=value");
        };
        if name.is_empty() || value.is_empty() {
            return Err("a query has the form name=value");
        }
        let value = match value.as_bytes()[0] {
            b'y' | b'Y' | b'1' => 1,
            b'n' | b'N' | b'0' => 0,
            _ => continue,
        };
        if let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) {
            entry.value.store(value, Ordering::Relaxed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_configuration() {
        assert_eq!(apply("prefault.at_open=Yes;nope=1;;sds.at_create=x"), Ok(()));
        assert!(PREFAULT_AT_OPEN.is_on() && SDS_AT_CREATE.is_on());
        assert_eq!(apply("prefault.at_open=n;"), Ok(()));
        assert!(!PREFAULT_AT_OPEN.is_on());
        for text in ["a", "a=b=c", "=", "prefault.at_open="] {
            assert!(apply(text).is_err(), "{text}");
        }
        assert_eq!(without_comments(" a = 1 ; # x\nb=2 ;"), "a=1;b=2;");
    }

    #[test]
    fn queries() {
        let mut value = 7;
        let mut ask = |kind, name: &CStr| {
            // SAFETY: a C string and an int.
            unsafe { query(kind, name.as_ptr(), (&raw mut value).cast()) }
        };
        assert_eq!(ask(Query::Set, c"fallocate.at_create"), 0);
        assert_eq!(ask(Query::Get, c"fallocate.at_create"), 0);
        for name in [c"", c"fallocate", c"fallocate.at_create.x", c".fallocate.at_create"] {
            assert_eq!(ask(Query::Get, name), -1);
        }
        assert_eq!(ask(Query::Exec, c"fallocate.at_create"), -1);
        assert_eq!(value, 7);
        FALLOCATE_AT_CREATE.value.store(1, Ordering::Relaxed);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { query(Query::Get, core::ptr::null(), core::ptr::null_mut()) }, -1);
    }
}
