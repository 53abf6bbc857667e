//! What is read when the library is loaded.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use pmem::Cpu;
use pmem_core::env;
use pmem_core::mapping::{parse_hint, prefer_addresses_from};
use pmem_core::persist::Engine;

const UNKNOWN: u8 = 0;
const FLUSHES: u8 = 1;
const FENCES: u8 = 2;

static BACKEND: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The backend for memory that `pmem_is_pmem` accepts.
#[inline]
pub(crate) fn memory() -> &'static Cpu {
    match BACKEND.load(Relaxed) {
        FLUSHES => Cpu::CACHE_LINE,
        FENCES => Cpu::BYTE,
        _ => choose(),
    }
}

/// In a static library the constructor may have been left out by the linker, or may run later than
/// another one that calls us.
#[cold]
fn choose() -> &'static Cpu {
    let _ = Engine::get();
    if let Some(hint) = env::get(c"PMEM_MMAP_HINT").and_then(|text| parse_hint(text.to_bytes())) {
        prefer_addresses_from(hint);
    }
    let fences = pmem::auto_flush() == Ok(true);
    BACKEND.store(if fences { FENCES } else { FLUSHES }, Relaxed);
    if fences { Cpu::BYTE } else { Cpu::CACHE_LINE }
}

extern "C" fn at_load() {
    crate::log::start();
    choose();
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;
