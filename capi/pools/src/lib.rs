//! What the C libraries of persistent pools have in common. Each library has its own copy of all state.
//!
//! ```text
//! message    the text of the last error, for each thread
//! ctl        settings by name, from calls, a variable and a file
//! version    is the library new enough?
//! memory     the caller's malloc and free; handles
//! path       C strings as paths
//! ```

pub mod ctl;
pub mod memory;
pub mod message;
pub mod path;
pub mod version;
