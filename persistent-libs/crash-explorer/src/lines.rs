//! Which stores wait in the cache, line by line.

use std::collections::BTreeMap;

use crate::recorder::Event;

pub(crate) const LINE: usize = 64;

/// A part of a store that arrives as a whole: it lies in one aligned word.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The part of one store that lies in one line.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) pieces: Vec<Piece>,
}

/// What waits for one line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) stores: Vec<Store>,
    /// So many of them are durable after the next fence.
    flushed: usize,
}

/// Lines with stores that may not be durable, by the offset of the line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    pub(crate) pending: BTreeMap<usize, Line>,
}

impl Lines {
    /// Takes note of an event. After a fence it gives the stores that are durable from now on, in order.
    pub(crate) fn apply(&mut self, event: &Event) -> Vec<Store> {
        match event {
            Event::Store { offset, bytes } => self.store(*offset, bytes),
            Event::Flush { offset, len } => {
                let first = offset / LINE * LINE;
                for (_, line) in self.pending.range_mut(first..offset + len) {
                    line.flushed = line.stores.len();
                }
            }
            Event::Fence => return self.fence(),
            Event::Mark(_) => {}
        }
        Vec::new()
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done;
            let in_line = (LINE - at % LINE).min(bytes.len() - done);
            let part = &bytes[done..done + in_line];
            let line = self.pending.entry(at / LINE * LINE).or_default();
            line.stores.push(Store { pieces: pieces(at, part) });
            done += in_line;
        }
    }

    fn fence(&mut self) -> Vec<Store> {
        let mut durable = Vec::new();
        self.pending.retain(|_, line| {
            durable.extend(line.stores.drain(..line.flushed));
            line.flushed = 0;
            !line.stores.is_empty()
        });
        durable
    }

    pub(crate) fn pending_ranges(&self) -> Vec<(usize, usize)> {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for &offset in self.pending.keys() {
            match ranges.last_mut() {
                Some((start, len)) if *start + *len == offset => *len += LINE,
                _ => ranges.push((offset, LINE)),
            }
        }
        ranges
    }
}

fn pieces(offset: usize, bytes: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done;
        let len = (8 - at % 8).min(bytes.len() - done);
        pieces.push(Piece { offset: at, bytes: bytes[done..done + len].to_vec() });
        done += len;
    }
    pieces
}
