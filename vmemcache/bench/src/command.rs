//! The commands.

pub(crate) mod run;
pub(crate) mod simulate;
