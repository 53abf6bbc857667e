//! What the C libraries of persistent pools have in common. Each library has its own copy of all state.
//!
//! ```text
//! ctl        settings by name, from calls, a variable and a file
//! memory     the caller's malloc and free; handles
//! open       pools behind handles; paths; the settings applied
//! races      order for valgrind's tools
//! ```

pub mod ctl;
pub mod memory;
pub mod open;
pub mod races;
