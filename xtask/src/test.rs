//! x
use crate::Stop;
pub(crate) fn run(_: Vec<std::ffi::OsString>) -> Result<(), Stop> {
    Ok(())
}
