//! The commands.

pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod simulate;
