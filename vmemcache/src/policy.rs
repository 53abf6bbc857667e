//! Replacement policies: which entry leaves when space is needed.
//!
//! A policy belongs to one shard of the cache. It knows entries as [`Token`]s and keeps only their order; the entry's own
//! data stays with the engine, which shows it through [`Entries`].
//!
//! | call | when | under the shard's lock? |
//! |---|---|---|
//! | [`touch`] | each hit | no |
//! | [`Policy::hit`] | a hit for which `touch` returned true | yes |
//! | [`Policy::insert`] | an entry has come in | yes |
//! | [`Policy::victim`] | space is needed | yes |
//! | [`Policy::remove`] | an entry leaves for another reason | yes |
//! | [`Policy::resized`] | a value was replaced in place by one of another size | yes |
//! | [`Policy::set_capacity`] | the shard grows or shrinks | yes |
//!
//! What a hit leaves behind is a *mark*, one byte with the entry. It counts hits up to [`Policy::mark_max`] and is then
//! not written again, so the hits of a popular entry write nothing. A policy that wants to be told of an entry's next
//! hit *arms* its mark ([`ARMED`]).
//!
//! Sizes are in bytes, or in any other unit as long as the capacity is in the same: queue shares are shares of it.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

mod adaptive;
mod clock;
mod fifo;
mod ghost;
mod list;
mod lru;
mod queues;
mod ring;
mod s3fifo;
mod sieve;

pub use adaptive::Adaptive;
pub use clock::Clock;
pub use fifo::Fifo;
pub use lru::Lru;
pub use s3fifo::S3Fifo;
pub use sieve::Sieve;

/// The number by which a shard knows an entry: an index into its slab. It may be reused when its entry is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Token(u32);

impl Token {
    /// The largest number. The bits above it are the policies' own.
    pub const MAX: u32 = (1 << 28) - 1;

    /// The token of this number.
    ///
    /// # Panics
    /// If the number is above [`Token::MAX`]. A shard's slab must be limited to that.
    #[inline]
    pub const fn new(index: u32) -> Self {
        assert!(index <= Self::MAX, "a shard has at most 2^28 entries");
        Self(index)
    }

    /// The number.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// What a policy may ask about the entries it was given. Called under the shard's lock.
pub trait Entries {
    /// The entry's mark. Readers without a lock [`touch`] it at the same time.
    fn mark(&self, token: Token) -> &AtomicU8;

    /// The entry's size: what it takes from the capacity. The same from `insert` to `victim` or `remove`, but for
    /// [`Policy::resized`].
    fn bytes(&self, token: Token) -> u64;

    /// A hash of the entry's key with all 64 bits well mixed: the same each time that this key comes in. Asked at most
    /// once per insertion, once per eviction and once per call of [`Policy::hit`].
    fn hash(&self, token: Token) -> u64;

    /// Says that the entry will be asked about after about so many further insertions or evictions. A hint: what the answers
    /// need can be fetched meanwhile. Whoever asks may be wrong. Gives the hash if it is known by now.
    fn expect(&self, _token: Token, _steps: usize) -> Option<u64> {
        None
    }
}

/// The bit of a mark that asks for a report of the next hit.
pub const ARMED: u8 = 0x80;

/// The bits of a mark that count hits.
const COUNT: u8 = 0x7f;

/// Notes a hit in the entry's mark. `max` is the policy's [`mark_max`](Policy::mark_max). True if the policy wants to
/// be told of this hit: take the shard's lock and call [`Policy::hit`].
///
/// # Cost
/// One load, and a store only while the count is below `max`. Counts are lost when threads race, which is harmless: a mark
/// is a hint.
#[inline]
pub fn touch(mark: &AtomicU8, max: u8) -> bool {
    let seen = mark.load(Relaxed);
    if seen & COUNT < max {
        mark.store(seen + 1, Relaxed);
    }
    seen & ARMED != 0
}

/// A replacement policy of one shard.
///
/// A policy *tracks* a token from `insert` to the call of `victim` or `remove` that ends it. Calls with a token that
/// is not tracked, and `insert` of one that is, have no effect; they are no errors because an eviction and a removal
/// of one entry may overlap in the engine.
pub trait Policy {
    /// The value at which the mark of an entry saturates; 0 if the policy does not look at marks. Never changes.
    fn mark_max(&self) -> u8;

    /// Whether no report may be dropped, because the order is exact. Never changes.
    ///
    /// If so, the engine tells of all hits in their order, at the latest before it asks for a victim or has an entry come in.
    /// If not, it should only try the lock, and go on without it: all that is lost is a sample, and the next
    /// hit is reported again.
    fn reports_are_binding(&self) -> bool {
        false
    }

    /// Takes the report of a hit, after [`touch`] returned true. Ignored for an entry whose mark is no longer armed.
    fn hit<E: Entries>(&mut self, _token: Token, _entries: &E) {}

    /// Says that an entry whose key has this hash is about to come in. A hint: what is known of the key can be fetched meanwhile.
    fn expect(&self, _hash: u64) {}

    /// Begins to track an entry and resets its mark. The entry may be over capacity: space is made by `victim`,
    /// before or after.
    fn insert<E: Entries>(&mut self, token: Token, entries: &E);

    /// Chooses the entry to leave, and tracks it no more.
    ///
    /// Candidates are offered to `accept` in the policy's order until it returns true. One that it refuses, as when a
    /// reader holds it, is treated as in use at this moment: it goes to where a hit entry goes, and is not offered again
    /// by this call. None if every entry was refused or there is none.
    ///
    /// To give a victim back, `insert` it again: it is then treated like a key that returns soon.
    ///
    /// # Cost
    /// O(1) amortised over insertions, hits and refusals.
    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        accept: impl FnMut(Token) -> bool,
    ) -> Option<Token>;

    /// The entry that [`victim`](Self::victim) is likely to offer first, so that it can be fetched ahead; none if that is not
    /// known at once.
    fn next_victim(&self) -> Option<Token> {
        None
    }

    /// Stops tracking an entry that is deleted, expired or otherwise gone. False if it was not tracked.
    fn remove<E: Entries>(&mut self, token: Token, entries: &E) -> bool;

    /// Notes that a tracked entry's size has changed from `old` to `new`. `Entries::bytes` already returns the new one.
    fn resized(&mut self, _token: Token, _old: u64, _new: u64) {}

    /// Sets the shard's capacity. Takes effect with the following calls; nothing is moved now.
    fn set_capacity(&mut self, _bytes: u64) {}

    /// The number of tracked entries.
    fn len(&self) -> usize;

    /// Whether no entry is tracked.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// DRAM in bytes taken by the policy, without the marks.
    fn memory(&self) -> usize;

    /// Checks every invariant. For tests; visits all entries.
    ///
    /// # Panics
    /// If one is broken.
    fn validate<E: Entries>(&self, entries: &E);
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $policy:ident, $name:literal;)*) => {
        /// The policies by name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name, as in options and tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// A policy of this kind for a shard of this capacity.
            pub fn build(self, capacity: u64) -> AnyPolicy {
                match self {
                    $(Self::$kind => AnyPolicy::$kind($policy::new(capacity)),)*
                }
            }
        }

        /// A policy chosen at run time.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyPolicy {
            $($(#[$doc])* $kind($policy),)*
        }

        macro_rules! each {
            ($self:ident, $inner:ident => $call:expr) => {
                match $self {
                    $(AnyPolicy::$kind($inner) => $call,)*
                }
            };
        }
    };
}

kinds! {
    /// [`Adaptive`], the default.
    Adaptive, Adaptive, "adaptive";
    /// [`Lru`]
    Lru, Lru, "lru";
    /// [`S3Fifo`]
    S3Fifo, S3Fifo, "s3-fifo";
    /// [`Sieve`]
    Sieve, Sieve, "sieve";
    /// [`Clock`]
    Clock, Clock, "clock";
    /// [`Fifo`]
    Fifo, Fifo, "fifo";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No policy has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no policy \"{}\"; there are", self.0)?;
        for kind in Kind::ALL {
            write!(f, " {kind}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for Kind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let same = |kind: &&Self| kind.name().eq_ignore_ascii_case(name);
        Self::ALL.iter().find(same).copied().ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

impl Policy for AnyPolicy {
    fn mark_max(&self) -> u8 {
        each!(self, policy => policy.mark_max())
    }

    fn reports_are_binding(&self) -> bool {
        each!(self, policy => policy.reports_are_binding())
    }

    fn hit<E: Entries>(&mut self, token: Token, entries: &E) {
        each!(self, policy => policy.hit(token, entries))
    }

    fn expect(&self, hash: u64) {
        each!(self, policy => policy.expect(hash))
    }

    fn insert<E: Entries>(&mut self, token: Token, entries: &E) {
        each!(self, policy => policy.insert(token, entries))
    }

    fn victim<E: Entries>(
        &mut self,
        entries: &E,
        accept: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        each!(self, policy => policy.victim(entries, accept))
    }

    fn next_victim(&self) -> Option<Token> {
        each!(self, policy => policy.next_victim())
    }

    fn remove<E: Entries>(&mut self, token: Token, entries: &E) -> bool {
        each!(self, policy => policy.remove(token, entries))
    }

    fn resized(&mut self, token: Token, old: u64, new: u64) {
        each!(self, policy => policy.resized(token, old, new))
    }

    fn set_capacity(&mut self, bytes: u64) {
        each!(self, policy => policy.set_capacity(bytes))
    }

    fn len(&self) -> usize {
        each!(self, policy => policy.len())
    }

    fn memory(&self) -> usize {
        each!(self, policy => policy.memory())
    }

    fn validate<E: Entries>(&self, entries: &E) {
        each!(self, policy => policy.validate(entries))
    }
}

/// Spreads an entry's hash anew, so that bits by which the engine chose shard or bucket say nothing here.
pub(crate) fn spread(hash: u64) -> u64 {
    let product = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests;
