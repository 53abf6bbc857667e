//! Stand-in where single steps are not implemented.

use std::path::Path;

use super::Counts;
use super::locations::Places;
use crate::error::{Error, Result};

/// Whose instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All but those of the tracee's own code.
    OutsideProgram,
    /// All.
    Everything,
}

/// Why processes cannot be traced here.
pub fn refusal() -> Option<String> {
    Some("instructions are counted on x86-64 only".to_owned())
}

/// Always fails.
///
/// # Errors
/// Instructions are counted on x86-64 only.
pub fn count(
    _: &Path,
    _: &[String],
    _: &[(String, String)],
    _: Scope,
    _: &mut Places,
) -> Result<Counts> {
    Err(Error::new("instructions are counted on x86-64 only"))
}
