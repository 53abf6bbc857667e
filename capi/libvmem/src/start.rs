//! What happens once, when the library is loaded or first called.

use pmem_core::sync::Once;

use crate::{fork, log, memcheck, message};

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
        message::prepare();
        log::open();
        fork::install();
    });
}
