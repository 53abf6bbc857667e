//! Return codes and messages.

use std::ffi::{c_char, c_int};

use pmem::{Error, ErrorKind};

/// 0, or the code of a failure, whose text is kept.
pub(crate) fn code(result: Result<(), Error>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            pmem_capi_shared::set_message(format_args!("{error}"));
            error.code()
        }
    }
}

/// The code of a failure of this layer.
pub(crate) fn refuse(kind: ErrorKind, operation: &'static str) -> c_int {
    code(Err(Error::new(kind, operation)))
}

/// The message of the calling thread's last failure; never NULL.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem2_errormsg() -> *const c_char {
    pmem_capi_shared::message()
}

/// The error number nearest to a return code.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pmem2_err_to_errno(code: c_int) -> c_int {
    trace!("pmem2_err_to_errno", "code {code}");
    const FIRST_OWN: c_int = -100_000;
    if code == ErrorKind::NotSupported.code() {
        libc::ENOTSUP
    } else if code <= FIRST_OWN {
        libc::EINVAL
    } else {
        code.wrapping_neg()
    }
}
