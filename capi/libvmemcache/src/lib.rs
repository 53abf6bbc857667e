#![doc = include_str!("../README.md")]

#[macro_use]
mod log;

mod add;
mod alloc;
mod api;
mod handle;
mod pending;
mod races;

/// Opens the log before anybody can log.
#[cfg(feature = "log")]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn open() {
        log::open();
    }
    open
};
