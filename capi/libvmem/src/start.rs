//! What happens once, when the library is loaded or first called.

use pmem_core::env;
use pmem_core::source::{parse_hint, prefer_addresses_from};
use pmem_core::sync::Once;
use pmem_core::sys;

use vmem_engine::memcheck;

use crate::{fork, log, message, pools};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    ensure();
}

/// Does it, if the loader has not yet: constructors of other libraries may make pools before ours runs.
pub(crate) fn ensure() {
    static DONE: Once = Once::new();
    // Started from inside itself, nothing here needs the rest.
    let _ = DONE.call(|| {
        memcheck::look();
        pools::are_atomic();
        message::prepare();
        log::open();
        fork::install();
        prefer_addresses();
    });
}

fn prefer_addresses() {
    if let Some(text) = env::get(c"PMEM_MMAP_HINT").filter(|_| !sys::is_secure())
        && let Some(address) = parse_hint(text.to_bytes())
    {
        prefer_addresses_from(address);
    }
}
