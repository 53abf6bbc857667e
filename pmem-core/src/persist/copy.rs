//! Copies and sets: which part goes which way.
//!
//! A range is a *head* up to the first line boundary, whole *lines*, and a *tail*. Head and tail go
//! through the cache and are flushed; lines go through it or past it. Flushing comes after all
//! stores: a flush between two stores to neighbouring lines slows both down several times.
//!
//! Words that lie in the destination are written by one store each, as the trait promises: stores
//! begin and end at word boundaries, except for the first and the last 8 bytes, whose words at the
//! edges do not lie in the destination as a whole.

use super::{CopyFlags, Engine, Stores, arch, words};
use crate::align::CACHE_LINE;

/// The way of a copy.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Way {
    /// Through the cache.
    Temporal,
    /// Through the cache, then written back.
    Flushed,
    /// Past the cache.
    NonTemporal,
}

#[inline(always)]
fn way(engine: &Engine, len: usize, flags: CopyFlags, needs_flush: bool) -> Way {
    let way = if flags.contains(CopyFlags::NOFLUSH) {
        Way::Temporal
    } else if !needs_flush {
        if flags.contains(CopyFlags::NONTEMPORAL) { Way::NonTemporal } else { Way::Temporal }
    } else if flags.intersects(CopyFlags::WC | CopyFlags::NONTEMPORAL) {
        Way::NonTemporal
    } else if flags.intersects(CopyFlags::WB | CopyFlags::TEMPORAL) || len < engine.threshold {
        Way::Flushed
    } else {
        Way::NonTemporal
    };
    match engine.stores {
        // These have no stores that go past the cache.
        Stores::Words | Stores::CLibrary if way == Way::NonTemporal && needs_flush => Way::Flushed,
        Stores::Words | Stores::CLibrary if way == Way::NonTemporal => Way::Temporal,
        _ => way,
    }
}

/// So much is copied before it is flushed: it stays in the nearest cache.
const BLOCK: usize = 32 << 10;

/// Up to this length a range is loaded as a whole before it is stored.
pub(super) const SHORT: usize = 256;

/// Up to this length a copy past the cache is shorter than the way of its first load from memory; longer
/// ones are looked ahead for by the processor.
const PREFETCHED: usize = 2048;

/// Copies as `memmove`; flushes unless the flags or `needs_flush` say otherwise. The fence is left to
/// the caller.
///
/// # Safety
/// As for [`Persist::copy`](super::Persist::copy).
#[inline(always)]
pub(super) unsafe fn copy(
    engine: &Engine,
    dest: *mut u8,
    src: *const u8,
    len: usize,
    flags: CopyFlags,
    needs_flush: bool,
) {
    if len == 0 || dest.cast_const() == src {
        return;
    }
    let way = way(engine, len, flags, needs_flush);
    if engine.temporal == Stores::CLibrary {
        // SAFETY: forwarded from the caller's contract.
        unsafe { core::ptr::copy(src, dest, len) };
        if way == Way::Flushed {
            // SAFETY: the destination is mapped.
            unsafe { flush(engine, dest, len) };
        }
        return;
    }
    // Bytes of the source that come later would be overwritten.
    let backwards = dest.addr().wrapping_sub(src.addr()) < len;
    if way == Way::Flushed && len > BLOCK {
        // SAFETY: forwarded from the caller's contract.
        return unsafe { copy_blocks(engine, dest, src, len, backwards) };
    }
    // SAFETY: forwarded from the caller's contract; the destination is mapped.
    unsafe {
        copy_part(engine, dest, src, len, way, backwards);
        if way == Way::Flushed {
            flush(engine, dest, len);
        }
    }
}

/// Copies and flushes by turns.
///
/// # Safety
/// As for [`copy`], with `backwards` as the overlap needs it.
unsafe fn copy_blocks(engine: &Engine, dest: *mut u8, src: *const u8, len: usize, backwards: bool) {
    let mut done = 0;
    while done < len {
        let size = BLOCK.min(len - done);
        let at = if backwards { len - done - size } else { done };
        // SAFETY: a part of both ranges; the order of the parts keeps what is still to be read.
        unsafe {
            copy_part(engine, dest.add(at), src.add(at), size, Way::Flushed, backwards);
            flush(engine, dest.add(at), size);
        }
        done += size;
    }
}

/// The head, lines and tail of a range, as lengths in bytes; lines only for more than one line.
#[derive(Copy, Clone, Debug)]
struct Split {
    head: usize,
    lines: usize,
    tail: usize,
}

impl Split {
    #[inline(always)]
    fn new(dest: *const u8, len: usize) -> Split {
        let head = dest.addr().wrapping_neg() & (CACHE_LINE - 1);
        if len < CACHE_LINE || len - head < CACHE_LINE {
            // Not one whole line.
            let head = head.min(len);
            return Split { head, lines: 0, tail: len - head };
        }
        let tail = (len - head) & (CACHE_LINE - 1);
        Split { head, lines: len - head - tail, tail }
    }
}

/// # Safety
/// As for [`copy`], with `backwards` as the overlap needs it.
#[inline(always)]
unsafe fn copy_part(
    engine: &Engine,
    dest: *mut u8,
    src: *const u8,
    len: usize,
    way: Way,
    backwards: bool,
) {
    let past = way == Way::NonTemporal;
    if len <= if past { CACHE_LINE - 1 } else { SHORT } {
        // SAFETY: forwarded from the caller's contract.
        unsafe {
            copy_small(engine, dest, src, len);
            if past {
                flush(engine, dest, len);
            }
        }
        return;
    }
    let split = Split::new(dest, len);
    let kind = if past { engine.stores } else { engine.temporal };
    if past && len <= PREFETCHED && split.lines != 0 {
        // SAFETY: nothing is accessed.
        unsafe { arch::prefetch(src, split.lines / CACHE_LINE) };
    }
    // SAFETY: the parts make up the ranges; their order, and that within the lines, keeps what is
    // still to be read.
    unsafe {
        let (lines_to, lines_from) = (dest.add(split.head), src.add(split.head));
        let (tail_to, tail_from) = (lines_to.add(split.lines), lines_from.add(split.lines));
        // What comes first is flushed first: its way to memory is the longest.
        if backwards {
            copy_edge(engine, tail_to, tail_from, split.tail, past);
            arch::copy_lines(engine, kind, past, lines_to, lines_from, split.lines, true);
            copy_edge(engine, dest, src, split.head, past);
        } else {
            copy_edge(engine, dest, src, split.head, past);
            arch::copy_lines(engine, kind, past, lines_to, lines_from, split.lines, false);
            copy_edge(engine, tail_to, tail_from, split.tail, past);
        }
    }
}

/// A head or a tail.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
unsafe fn copy_edge(engine: &Engine, dest: *mut u8, src: *const u8, len: usize, flushed: bool) {
    if len == 0 {
        return;
    }
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        copy_small(engine, dest, src, len);
        if flushed {
            flush(engine, dest, len);
        }
    }
}

/// Up to [`SHORT`] bytes. All loads come before all stores.
///
/// # Safety
/// As for [`copy`].
#[inline]
unsafe fn copy_small(engine: &Engine, dest: *mut u8, src: *const u8, len: usize) {
    // SAFETY: pieces of both ranges.
    unsafe {
        if len < 8 {
            return words::copy_bytes(dest, src, len);
        }
        let last = len - 8;
        let (first_word, last_word) = (words::load(src), words::load(src.add(last)));
        let head = dest.addr().wrapping_neg() & 7;
        let whole = (len - head) & !7;
        let (words_to, words_from) = (dest.add(head), src.add(head));
        if whole <= CACHE_LINE {
            arch::copy_words(words_to, words_from, whole);
        } else if engine.temporal == Stores::Words {
            let backwards = dest.addr().wrapping_sub(src.addr()) < len;
            words::copy_words(words_to, words_from, whole, backwards);
        } else {
            arch::copy_short(engine.temporal, words_to, words_from, whole);
        }
        // Their words that lie in the destination as a whole have been written, to the same value.
        if head != 0 {
            words::store(dest, first_word);
        }
        if head + whole != len {
            words::store(dest.add(last), last_word);
        }
    }
}

/// Sets as `memset`, otherwise as [`copy`].
///
/// # Safety
/// As for [`Persist::set`](super::Persist::set).
#[inline(always)]
pub(super) unsafe fn set(
    engine: &Engine,
    dest: *mut u8,
    byte: u8,
    len: usize,
    flags: CopyFlags,
    needs_flush: bool,
) {
    if len == 0 {
        return;
    }
    let way = way(engine, len, flags, needs_flush);
    if way == Way::Flushed && len > BLOCK {
        // SAFETY: forwarded from the caller's contract.
        return unsafe { set_blocks(engine, dest, byte, len) };
    }
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        set_part(engine, dest, byte, len, way);
        if way == Way::Flushed {
            flush(engine, dest, len);
        }
    }
}

/// Sets and flushes by turns.
///
/// # Safety
/// As for [`set`].
unsafe fn set_blocks(engine: &Engine, dest: *mut u8, byte: u8, len: usize) {
    let mut done = 0;
    while done < len {
        let size = BLOCK.min(len - done);
        // SAFETY: a part of the range.
        unsafe {
            set_part(engine, dest.add(done), byte, size, Way::Flushed);
            flush(engine, dest.add(done), size);
        }
        done += size;
    }
}

/// # Safety
/// As for [`set`].
#[inline(always)]
unsafe fn set_part(engine: &Engine, dest: *mut u8, byte: u8, len: usize, way: Way) {
    if engine.temporal == Stores::CLibrary {
        // SAFETY: forwarded from the caller's contract.
        return unsafe { core::ptr::write_bytes(dest, byte, len) };
    }
    let word = u64::from_ne_bytes([byte; 8]);
    let past = way == Way::NonTemporal;
    if len <= SHORT && !past {
        // SAFETY: forwarded from the caller's contract.
        return unsafe { set_small(engine, dest, word, len) };
    }
    let split = Split::new(dest, len);
    let kind = if past { engine.stores } else { engine.temporal };
    // SAFETY: the parts make up the range.
    unsafe {
        let lines = dest.add(split.head);
        let tail = lines.add(split.lines);
        set_edge(engine, dest, word, split.head, past);
        arch::set_lines(engine, kind, past, lines, word, split.lines);
        set_edge(engine, tail, word, split.tail, past);
    }
}

/// A head or a tail.
///
/// # Safety
/// As for [`set`].
#[inline(always)]
unsafe fn set_edge(engine: &Engine, dest: *mut u8, word: u64, len: usize, flushed: bool) {
    // SAFETY: forwarded from the caller's contract.
    unsafe {
        set_small(engine, dest, word, len);
        if flushed {
            flush(engine, dest, len);
        }
    }
}

/// Up to [`SHORT`] bytes.
///
/// # Safety
/// As for [`set`].
#[inline]
unsafe fn set_small(engine: &Engine, dest: *mut u8, word: u64, len: usize) {
    // SAFETY: pieces of the range.
    unsafe {
        if len < 8 {
            return words::copy_bytes(dest, word.to_ne_bytes().as_ptr(), len);
        }
        let head = dest.addr().wrapping_neg() & 7;
        let whole = (len - head) & !7;
        if whole <= CACHE_LINE || engine.temporal == Stores::Words {
            words::set_words(dest.add(head), word, whole);
        } else {
            arch::set_short(engine.temporal, dest.add(head), word, whole);
        }
        if head != 0 {
            words::store(dest, word);
        }
        if head + whole != len {
            words::store(dest.add(len - 8), word);
        }
    }
}

/// Starts to write back all lines that a range touches.
///
/// # Safety
/// The range is mapped.
#[inline]
pub(super) unsafe fn flush(engine: &Engine, addr: *const u8, len: usize) {
    if len == 0 {
        return;
    }
    let into_line = addr.addr() & (CACHE_LINE - 1);
    let first = addr.wrapping_sub(into_line);
    let count = (into_line + len).div_ceil(CACHE_LINE);
    // SAFETY: lines of the range, on mapped pages.
    unsafe { arch::flush_lines(engine.flush, first, count) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::Options;

    #[test]
    fn ways() {
        let mut engine = Engine::new(&Options::default());
        engine.threshold = 512;
        engine.stores = Stores::Sse2;
        let of = |len, flags| (way(&engine, len, flags, true), way(&engine, len, flags, false));
        assert_eq!(of(511, CopyFlags::NONE), (Way::Flushed, Way::Temporal));
        assert_eq!(of(512, CopyFlags::NONE), (Way::NonTemporal, Way::Temporal));
        assert_eq!(of(1, CopyFlags::WC), (Way::NonTemporal, Way::Temporal));
        assert_eq!(of(1, CopyFlags::NONTEMPORAL), (Way::NonTemporal, Way::NonTemporal));
        assert_eq!(of(4096, CopyFlags::WB), (Way::Flushed, Way::Temporal));
        assert_eq!(of(4096, CopyFlags::TEMPORAL), (Way::Flushed, Way::Temporal));
        let noflush = CopyFlags::NOFLUSH | CopyFlags::NONTEMPORAL;
        assert_eq!(of(4096, noflush), (Way::Temporal, Way::Temporal));
        let both = CopyFlags::WC | CopyFlags::TEMPORAL;
        assert_eq!(of(4096, both), (Way::NonTemporal, Way::Temporal));
        engine.stores = Stores::Words;
        assert_eq!(way(&engine, 4096, CopyFlags::NONTEMPORAL, true), Way::Flushed);
        assert_eq!(way(&engine, 4096, CopyFlags::NONTEMPORAL, false), Way::Temporal);
    }

    #[test]
    fn splits() {
        for start in 0..64usize {
            for len in 0..300 {
                let split = Split::new(core::ptr::without_provenance(64 + start), len);
                assert_eq!(split.head + split.lines + split.tail, len);
                assert!(split.head < 64 && split.tail < 64 && split.lines.is_multiple_of(64));
                assert!(split.lines == 0 || (start + split.head).is_multiple_of(64));
            }
        }
    }
}
