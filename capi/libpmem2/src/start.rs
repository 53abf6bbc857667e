//! What is read when the library is loaded.

use pmem_core::env;
use pmem_core::mapping::{parse_hint, prefer_addresses_from};
use pmem_core::persist::Engine;

/// Also called before maps and reservations are made: in a static library the constructor may run
/// after one of the program's own, or not at all.
pub(crate) extern "C" fn start() {
    static STARTED: std::sync::Once = std::sync::Once::new();
    STARTED.call_once(|| {
        crate::log::start();
        let _ = Engine::get();
        let hint = env::get(c"PMEM_MMAP_HINT").and_then(|text| parse_hint(text.to_bytes()));
        if let Some(hint) = hint {
            prefer_addresses_from(hint);
        }
    });
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = start;
