//! A backend of `Persist` that makes the stores, and notes them.

use std::sync::Mutex;

use pmem_core::errno::Errno;
use pmem_core::persist::{CopyFlags, Cpu, Granularity, Persist};

/// One thing that happened to the region. Offsets and lengths are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes were stored.
    Store {
        /// Where.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// The lines of a range were flushed.
    Flush {
        /// Where it starts.
        offset: usize,
        /// Its length.
        len: usize,
    },
    /// What was flushed before is durable.
    Fence,
    /// The test has come to a point that the checker knows.
    Mark(u64),
}

/// What a recorder has seen.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The region before the first event.
    pub initial: Vec<u8>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl Trace {
    /// Ranges (offset and length) that were stored and may not be durable at the end: nothing flushed them, or no
    /// fence came after the flush. Whole lines.
    #[must_use]
    pub fn not_durable(&self) -> Vec<(usize, usize)> {
        let mut lines = crate::lines::Lines::default();
        for event in &self.events {
            lines.apply(event);
        }
        lines.pending_ranges()
    }
}

enum Memory {
    /// Allocated here; in words, for the alignment.
    Owned { _words: Vec<u64> },
    /// The user's.
    Foreign,
}

/// Notes the stores to one region of memory, flushes and fences. Stores elsewhere are made and not noted.
pub struct Recorder {
    base: *mut u8,
    len: usize,
    initial: Vec<u8>,
    events: Mutex<Vec<Event>>,
    _memory: Memory,
}

// SAFETY: the pointer is only followed by the unsafe functions of `Persist`, whose callers see to it that nobody
// else writes; the list of events has a lock.
unsafe impl Send for Recorder {}
// SAFETY: as above.
unsafe impl Sync for Recorder {}

impl Recorder {
    /// A region of zeros of its own, aligned to a cache line.
    #[must_use]
    pub fn new(len: usize) -> Recorder {
        // Room to align the start.
        let mut words = vec![0u64; len.div_ceil(8) + 8];
        let start: *mut u8 = words.as_mut_ptr().cast();
        let base = start.wrapping_add(start.addr().wrapping_neg() & 63);
        Recorder {
            base,
            len,
            initial: vec![0; len],
            events: Mutex::default(),
            _memory: Memory::Owned { _words: words },
        }
    }

    /// A region that exists: its present content counts as durable.
    ///
    /// # Safety
    /// The region is aligned to a cache line, and readable as long as the recorder lives.
    #[must_use]
    pub unsafe fn over(base: *mut u8, len: usize) -> Recorder {
        assert!(base.addr().is_multiple_of(64), "the region must be aligned to a cache line");
        // SAFETY: readable by the caller's contract.
        let initial = unsafe { std::slice::from_raw_parts(base, len) }.to_vec();
        Recorder { base, len, initial, events: Mutex::default(), _memory: Memory::Foreign }
    }

    /// The start of the region.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// Notes that the test has come to a point: the checker sees the number of the last one before the crash.
    pub fn mark(&self, number: u64) {
        self.note(Event::Mark(number));
    }

    /// Ends the recording.
    ///
    /// # Panics
    /// When the region holds something that no noted store has put there: a store went past the trait.
    #[must_use]
    pub fn finish(self) -> Trace {
        let events = self.events.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut expected = self.initial.clone();
        for event in &events {
            if let Event::Store { offset, bytes } = event {
                expected[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        for (offset, &byte) in expected.iter().enumerate() {
            // SAFETY: inside the region.
            let now = unsafe { self.base.add(offset).read() };
            assert!(now == byte, "byte {offset} is {now:#x} and was stored past the recorder");
        }
        Trace { initial: self.initial, events }
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(event);
    }

    /// The part of a range that lies in the region.
    fn part(&self, addr: *const u8, len: usize) -> Option<(usize, usize)> {
        let start = addr.addr().max(self.base.addr());
        let end = addr.addr().saturating_add(len).min(self.base.addr() + self.len);
        (start < end).then(|| (start - self.base.addr(), end - start))
    }

    fn note_store(&self, dest: *const u8, len: usize) {
        if let Some((offset, len)) = self.part(dest, len) {
            // SAFETY: inside the region, just written.
            let bytes = unsafe { std::slice::from_raw_parts(self.base.add(offset), len) }.to_vec();
            self.note(Event::Store { offset, bytes });
        }
    }

    fn note_end(&self, dest: *const u8, len: usize, flags: CopyFlags) {
        if !flags.contains(CopyFlags::NOFLUSH) {
            if let Some((offset, len)) = self.part(dest, len) {
                self.note(Event::Flush { offset, len });
            }
            if !flags.contains(CopyFlags::NODRAIN) {
                self.note(Event::Fence);
            }
        }
    }
}

impl Persist for Recorder {
    fn granularity(&self) -> Granularity {
        Granularity::CacheLine
    }

    unsafe fn flush(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        if let Some((offset, len)) = self.part(addr, len) {
            self.note(Event::Flush { offset, len });
        }
        Ok(())
    }

    fn drain(&self) {
        self.note(Event::Fence);
    }

    unsafe fn copy(
        &self,
        dest: *mut u8,
        src: *const u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { Cpu::get().copy(dest, src, len, CopyFlags::NOFLUSH) }?;
        self.note_store(dest, len);
        self.note_end(dest, len, flags);
        Ok(())
    }

    unsafe fn set(
        &self,
        dest: *mut u8,
        byte: u8,
        len: usize,
        flags: CopyFlags,
    ) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { Cpu::get().set(dest, byte, len, CopyFlags::NOFLUSH) }?;
        self.note_store(dest, len);
        self.note_end(dest, len, flags);
        Ok(())
    }

    unsafe fn store_u64(&self, dest: *mut u64, value: u64) {
        // SAFETY: forwarded from the caller's contract.
        unsafe { Cpu::get().store_u64(dest, value) };
        self.note_store(dest.cast(), 8);
    }

    unsafe fn deep_persist(&self, addr: *const u8, len: usize) -> Result<(), Errno> {
        // SAFETY: forwarded from the caller's contract.
        unsafe { self.persist(addr, len) }
    }
}
