//! Telling the user what leaves and what is missing.

use crate::read::Value;

/// Why an entry leaves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// A put needed its space.
    Capacity,
    /// The user asked for it.
    Explicit,
    /// The key got another value.
    Replaced,
    /// Its time was over.
    Expired,
    /// The cache was cleared.
    Cleared,
    /// Its namespace was over its quota.
    Quota,
    /// The cache became smaller.
    Resized,
    /// Its bytes had changed when the cache was opened again. Only counted: there is no value to tell of.
    Damaged,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All of them, in the order of their numbers.
    pub const ALL: [Cause; Cause::COUNT] = [
        Cause::Capacity,
        Cause::Explicit,
        Cause::Replaced,
        Cause::Expired,
        Cause::Cleared,
        Cause::Quota,
        Cause::Resized,
        Cause::Damaged,
    ];

    /// The name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Capacity => "capacity",
            Cause::Explicit => "explicit",
            Cause::Replaced => "replaced",
            Cause::Expired => "expired",
            Cause::Cleared => "cleared",
            Cause::Quota => "quota",
            Cause::Resized => "resized",
            Cause::Damaged => "damaged",
        }
    }
}

/// Is told what leaves the cache and what is not there.
///
/// The methods run in the thread that caused the event, without locks: they may call any method of this or another
/// cache, which may cause further events (a put within [`on_evict`](Self::on_evict) may evict the next entry). Only
/// dropping the cache from within is not possible, for the caller borrows it.
pub trait Listener: Send + Sync {
    /// An entry leaves: once for each.
    ///
    /// With the causes [`Capacity`](Cause::Capacity), [`Quota`](Cause::Quota), [`Resized`](Cause::Resized) and
    /// [`Explicit`](Cause::Explicit) the call comes before the removal: the entry can still be found, a put of its key finds it there,
    /// and removing it once more, here or in another thread, takes it away at once. So it does with [`Cleared`](Cause::Cleared), and
    /// with [`Expired`](Cause::Expired), but then no get finds it. With [`Replaced`](Cause::Replaced) the call comes after: a get finds
    /// the new value.
    fn on_evict(&self, key: &[u8], value: &Value<'_>, cause: Cause) {
        let _ = (key, value, cause);
    }

    /// A get has found nothing, and is about to say so.
    fn on_miss(&self, key: &[u8]) {
        let _ = key;
    }

    /// As [`on_evict`](Self::on_evict), with the name of the namespace (empty without one). This is what the cache calls; it
    /// calls `on_evict` unless it is implemented.
    fn on_evict_in(&self, namespace: &str, key: &[u8], value: &Value<'_>, cause: Cause) {
        let _ = namespace;
        self.on_evict(key, value, cause);
    }

    /// As [`on_miss`](Self::on_miss), with the name of the namespace, in the same way.
    fn on_miss_in(&self, namespace: &str, key: &[u8]) {
        let _ = namespace;
        self.on_miss(key);
    }
}
