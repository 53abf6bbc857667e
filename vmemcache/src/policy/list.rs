//! Doubly linked lists of tokens: 8 bytes per entry, no allocation per operation.
//!
//! A token is in at most one of the `N` lists, and its node says in which. The nodes are in segments that never move, so
//! that growth copies nothing and takes at most one segment more than is used.

use super::Token;

const SEGMENT_NODES: usize = 512;
const INDEX_BITS: u32 = 30;
const INDEX: u32 = (1 << INDEX_BITS) - 1;
/// Ends a list.
const NIL: u32 = INDEX;

const _: () = assert!(Token::MAX < NIL);
const _: () = assert!(size_of::<Node>() == 8);

/// Bits 0-29 of `older` and `newer` are tokens, bits 30-31 of `older` are 1 + the list, or 0 outside of all lists.
#[derive(Clone, Copy)]
struct Node {
    older: u32,
    newer: u32,
}

const OUTSIDE: Node = Node { older: NIL, newer: NIL };

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
    len: usize,
}

/// `N` lists over one set of nodes; `N` is at most 3.
pub(super) struct Lists<const N: usize> {
    segments: Vec<Box<[Node; SEGMENT_NODES]>>,
    ends: [Ends; N],
}

impl<const N: usize> Lists<N> {
    pub(super) const fn new() -> Self {
        const { assert!(N >= 1 && N <= 3, "two bits hold 1 + the list") };
        Self { segments: Vec::new(), ends: [Ends { oldest: NIL, newest: NIL, len: 0 }; N] }
    }

    fn node(&self, index: u32) -> Node {
        let index = index as usize;
        self.segments[index / SEGMENT_NODES][index % SEGMENT_NODES]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        let index = index as usize;
        &mut self.segments[index / SEGMENT_NODES][index % SEGMENT_NODES]
    }

    /// In which list the token is.
    pub(super) fn list_of(&self, token: Token) -> Option<usize> {
        let index = token.index() as usize;
        let node = self.segments.get(index / SEGMENT_NODES)?[index % SEGMENT_NODES];
        (node.older >> INDEX_BITS).checked_sub(1).map(|list| list as usize)
    }

    pub(super) fn len(&self, list: usize) -> usize {
        self.ends[list].len
    }

    pub(super) fn oldest(&self, list: usize) -> Option<Token> {
        token(self.ends[list].oldest)
    }

    pub(super) fn newest(&self, list: usize) -> Option<Token> {
        token(self.ends[list].newest)
    }

    /// The next newer one in the same list.
    pub(super) fn newer(&self, of: Token) -> Option<Token> {
        token(self.node(of.index()).newer & INDEX)
    }

    /// Puts a token that is in no list at the newest end.
    pub(super) fn push(&mut self, list: usize, new: Token) {
        debug_assert_eq!(self.list_of(new), None);
        let index = new.index();
        while self.segments.len() <= index as usize / SEGMENT_NODES {
            self.segments.push(Box::new([OUTSIDE; SEGMENT_NODES]));
        }
        let before = self.ends[list].newest;
        let tag = (list as u32 + 1) << INDEX_BITS;
        *self.node_mut(index) = Node { older: tag | before, newer: NIL };
        if before == NIL {
            self.ends[list].oldest = index;
        } else {
            self.node_mut(before).newer = index;
        }
        self.ends[list].newest = index;
        self.ends[list].len += 1;
    }

    /// Takes a token out of its list, which is returned.
    pub(super) fn remove(&mut self, gone: Token) -> Option<usize> {
        let list = self.list_of(gone)?;
        let node = self.node(gone.index());
        let (older, newer) = (node.older & INDEX, node.newer & INDEX);
        if older == NIL {
            self.ends[list].oldest = newer;
        } else {
            self.node_mut(older).newer = newer;
        }
        if newer == NIL {
            self.ends[list].newest = older;
        } else {
            let node = self.node_mut(newer);
            node.older = (node.older & !INDEX) | older;
        }
        *self.node_mut(gone.index()) = OUTSIDE;
        self.ends[list].len -= 1;
        Some(list)
    }

    /// Puts a token that is in some list at the newest end of `list`.
    pub(super) fn renew(&mut self, list: usize, token: Token) {
        if self.list_of(token) == Some(list) && self.ends[list].newest == token.index() {
            return;
        }
        self.remove(token);
        self.push(list, token);
    }

    /// From the oldest to the newest.
    pub(super) fn iter(&self, list: usize) -> impl Iterator<Item = Token> {
        std::iter::successors(self.oldest(list), |&at| self.newer(at))
    }

    pub(super) fn memory(&self) -> usize {
        self.segments.len() * size_of::<[Node; SEGMENT_NODES]>()
            + self.segments.capacity() * size_of::<Box<[Node; SEGMENT_NODES]>>()
    }

    /// Checks that links agree in both directions, and that lengths and membership are right.
    pub(super) fn validate(&self) {
        let mut linked = 0;
        for list in 0..N {
            let mut older = NIL;
            let mut len = 0;
            for at in self.iter(list) {
                assert_eq!(self.list_of(at), Some(list), "{at:?} is in the wrong list");
                assert_eq!(self.node(at.index()).older & INDEX, older, "backward link of {at:?}");
                older = at.index();
                len += 1;
                assert!(
                    len <= self.ends[list].len,
                    "list {list} is longer than its count, or a ring"
                );
            }
            assert_eq!(self.ends[list].newest, older, "newest end of list {list}");
            assert_eq!(self.ends[list].len, len, "count of list {list}");
            linked += len;
        }
        let tagged = self
            .segments
            .iter()
            .flat_map(|s| s.iter())
            .filter(|n| n.older >> INDEX_BITS != 0)
            .count();
        assert_eq!(tagged, linked, "nodes that say they are in a list");
    }
}

impl<const N: usize> std::fmt::Debug for Lists<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lists").field("ends", &self.ends).finish_non_exhaustive()
    }
}

fn token(index: u32) -> Option<Token> {
    (index != NIL).then_some(Token(index))
}
