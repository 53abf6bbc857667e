//! A queue of numbers in segments: 4 bytes per slot, and at most two segments more than are used.

use std::collections::VecDeque;

const SEGMENT_SLOTS: usize = 256;

type Segment = Box<[u32; SEGMENT_SLOTS]>;

pub(super) struct Ring {
    segments: VecDeque<Segment>,
    /// Slots of the first segment that are gone.
    start: usize,
    len: usize,
    /// The segment that was emptied last, for the next one that is needed.
    spare: Option<Segment>,
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self { segments: VecDeque::new(), start: 0, len: 0, spare: None }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, value: u32) {
        let end = self.start + self.len;
        if end == self.segments.len() * SEGMENT_SLOTS {
            let new = self.spare.take().unwrap_or_else(|| Box::new([0; SEGMENT_SLOTS]));
            self.segments.push_back(new);
        }
        self.segments[end / SEGMENT_SLOTS][end % SEGMENT_SLOTS] = value;
        self.len += 1;
    }

    #[inline]
    pub(super) fn front(&self) -> Option<u32> {
        (self.len > 0).then(|| self.segments[0][self.start])
    }

    /// What is so many places behind the front.
    #[inline]
    pub(super) fn ahead(&self, places: usize) -> Option<u32> {
        let at = self.start + places;
        (places < self.len).then(|| self.segments[at / SEGMENT_SLOTS][at % SEGMENT_SLOTS])
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        let value = self.front()?;
        self.start += 1;
        self.len -= 1;
        if self.start == SEGMENT_SLOTS {
            self.start = 0;
            self.spare = self.segments.pop_front();
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let slots = self.segments.iter().flat_map(|segment| segment.iter());
        slots.copied().skip(self.start).take(self.len)
    }

    pub(super) fn memory(&self) -> usize {
        let segments = self.segments.len() + usize::from(self.spare.is_some());
        segments * size_of::<[u32; SEGMENT_SLOTS]>()
            + self.segments.capacity() * size_of::<Segment>()
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_a_queue() {
        let mut ring = Ring::new();
        let mut model = VecDeque::new();
        for round in 0..40u32 {
            for i in 0..(round * 37) % 700 {
                ring.push(round << 16 | i);
                model.push_back(round << 16 | i);
            }
            for _ in 0..(round * 53) % 700 {
                assert_eq!(ring.front(), model.front().copied());
                assert_eq!(ring.pop(), model.pop_front());
            }
            assert_eq!(ring.len(), model.len());
            assert!(ring.iter().eq(model.iter().copied()));
            assert!(ring.memory() <= (model.len() + 4 * SEGMENT_SLOTS) * 4);
        }
    }
}
