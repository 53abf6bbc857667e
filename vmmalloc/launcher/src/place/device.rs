//! A device-DAX node as the place: it holds the pool of one process at a time.

use super::{Place, bad};
use crate::failure::Failure;
use crate::os::c_path;
use crate::settings::{Settings, Sourced, variable};
use crate::size::{MIN_POOL_BYTES, human};
use pmem_core::errno::Errno;
use pmem_core::error::Error;
use pmem_core::source::Source;
use std::ffi::OsString;

/// Checks a device by opening, locking and mapping it as the library will.
pub(super) fn check(settings: &Settings, device: &Sourced<OsString>) -> Result<Place, Failure> {
    if settings.fork == Some(2) {
        return Err(Failure::configuration(
            "--fork (or VMMALLOC_FORK) 2 copies the pool, and a device has no room for that: give 1 or 3",
        ));
    }
    let path = std::path::absolute(&device.value)
        .map_err(|_| bad(device, "is no file name", "name a device such as /dev/dax0.0"))?;
    let c_path = c_path(path.as_os_str())
        .map_err(|_| bad(device, "is no file name", "name a device such as /dev/dax0.0"))?;
    let size_bytes = settings.size_bytes.as_ref().map(|size| size.value);
    let most = size_bytes.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
    let mut warnings = Vec::new();
    match Source::device_dax_up_to(&c_path, most) {
        Ok(source) if (source.len() as u64) < MIN_POOL_BYTES => {
            return Err(bad(
                device,
                &format!(
                    "has only {}, less than the smallest pool of {MIN_POOL_BYTES} bytes",
                    human(source.len() as u64)
                ),
                "name a larger one",
            ));
        }
        Ok(_) => {}
        Err(error) if error.operation == "flock" && settings.overflow_to_dram == Some(true) => {
            warnings.push(format!(
                "{} is in use by another process: the heap is in ordinary memory",
                super::shown(device)
            ));
        }
        Err(error) => return Err(refused(device, &error)),
    }
    Ok(Place { variable: variable::DEVICE, value: path.into(), size_bytes, warnings })
}

fn refused(device: &Sourced<OsString>, error: &Error) -> Failure {
    let another = "name a device-dax such as /dev/dax0.0 (see daxctl list)";
    let (problem, remedy) = match (error.operation, error.errno) {
        ("flock", _) => (
            "is in use by another process".to_owned(),
            "end that, name another device, or give --overflow dram to go on in ordinary memory",
        ),
        ("open", Errno::ENOENT | Errno::ENOTDIR) => ("does not exist".to_owned(), another),
        ("open", Errno::EINVAL) => ("is no device-dax".to_owned(), another),
        ("open", Errno::EACCES | Errno::EPERM) => (
            "cannot be opened for reading and writing (permission denied)".to_owned(),
            "run as a user who may, or change its permissions",
        ),
        ("mmap", Errno::ENOMEM) => (
            "cannot be mapped (no address space left)".to_owned(),
            "raise the limit (ulimit -v unlimited) or give a smaller --size",
        ),
        ("size", _) => (
            "deals in larger pages than the size asked for".to_owned(),
            "give a larger --size, or none",
        ),
        _ => (format!("cannot be used: {error}"), another),
    };
    super::bad(device, &problem, remedy)
}
