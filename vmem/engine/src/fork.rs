//! Fork: parent and child both go on allocating, without seeing each other's stores.
//!
//! Descriptors lie in private memory, so the kernel copies them; only pools over shared mappings
//! need care. Before the fork all locks are taken, so the child finds every structure at rest, and
//! each shared pool gets a plan:
//!
//! ```text
//! plan      before the fork (parent)                  in the child
//! Freeze    live extents become private mappings of   free extents become anonymous memory
//!           the file: copy-on-write for both sides;
//!           free extents stay shared, so new blocks
//!           of the parent still come from the medium
//! Clone     live extents are copied to a new file     the new file is mapped over the pool
//! Copy      live extents are copied to DRAM           the copy is moved over the pool
//! Share     nothing                                   free extents become anonymous memory;
//!                                                     live ones are never used again, since the
//!                                                     parent uses them: freeing their blocks
//!                                                     does nothing
//! ```
//!
//! After `Freeze` the parent's pages come home when the child is gone; see `home`. A child of a fork
//! without handlers does not come here; see `orphan`.
//!
//! `Copy` is what remains when a pool cannot be frozen or cloned: the program has closed the descriptor, the
//! source is a device or huge pages, or the system's pages are larger than ours.

use crate::arena::{Arena, Forking};
use crate::config::{PAGE, PAGE_SHIFT};
use crate::home::OFFSPRING;
use crate::memcheck;
use crate::orphan::{self, is_orphan};
use crate::pool::PoolInner;
use crate::protocol::start::{Caller, Start};
use crate::registry::{self, REGISTRY};
use crate::size_class::ClassId;
use crate::thread;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, Ordering};
use pmem_core::errno::Errno;
use pmem_core::source::{FileClone, Source, SourceKind};
use pmem_core::sync::{ThreadId, is_forking, set_fork_owner};
use pmem_core::sys;

pub use crate::home::{DEFAULT_HOME_MS, set_home_ms};

/// What a fork does with pools over shared mappings; the values of `VMMALLOC_FORK`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ForkMode {
    /// Blocks that exist are shared by parent and child; new ones are not.
    Share = 0,
    /// Copy on write in DRAM.
    Private = 1,
    /// The child gets a file of its own; the fork fails without space for it.
    Copy = 2,
    /// As `Copy`, or `Private` when that fails.
    CopyOrPrivate = 3,
}

/// Why a pool could not be prepared for a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForkError {
    /// Making the live extents private failed.
    Remap(Errno),
    /// Copying the pool failed.
    Clone(Errno),
    /// The child could not map its memory.
    Map(Errno),
}

/// What was prepared for one pool.
pub(crate) enum Plan {
    Nothing,
    Share,
    Freeze,
    Clone(FileClone),
    Copy(NonNull<u8>),
}

/// Above this number of live runs, small free gaps between them are frozen too: each run can cost
/// a mapping, and a process may have about 65,000.
const MANY_RUNS: usize = 4096;
const SMALL_GAP_PAGES: usize = 64;

/// Takes all locks of the engine and prepares every pool.
///
/// # Errors
/// The first pool's failure. The locks are held all the same: call [`parent`] or end the process.
///
/// # Safety
/// Followed, in the same thread, by [`parent`] in this process, and [`child`] in the child.
pub unsafe fn prepare(mode: ForkMode) -> Result<(), ForkError> {
    let _quiet = memcheck::quiet();
    if is_orphan() {
        return Ok(()); // nothing here is this process's to prepare, and locks may be held by nobody
    }
    // SAFETY: given back by `parent` or `child`, by contract; no guard is held here.
    unsafe {
        memcheck::lock_for_fork();
        REGISTRY.lock_for_fork();
    }
    set_fork_owner(Some(ThreadId::current()));
    let registry = registry::lock(); // passes: we are the owner
    let mut result = Ok(());
    let mut freezes = false;
    for pool in registry.pools.iter() {
        pool.arena.set_forking(Forking::Quiet);
        // SAFETY: as above.
        unsafe { pool.lock_for_fork() };
    }
    for pool in registry.pools.iter() {
        match pool.plan(mode) {
            Ok(plan) => {
                freezes |= matches!(plan, Plan::Freeze) && !pool.arena.is_detached();
                // SAFETY: the pool is locked by this thread.
                unsafe { *pool.fork_plan.get() = plan }
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    // SAFETY: as above.
    unsafe { OFFSPRING.lock_for_fork() };
    if freezes {
        OFFSPRING.lock().before_fork();
    }
    result
}

/// Releases everything in the parent.
///
/// # Safety
/// The calling thread called [`prepare`] and has not called `parent` since.
pub unsafe fn parent() {
    let _quiet = memcheck::quiet();
    if !is_forking() {
        return; // an orphan
    }
    OFFSPRING.lock().after_fork();
    // SAFETY: locked by this thread in `prepare`.
    unsafe { OFFSPRING.unlock_after_fork() };
    let registry = registry::lock();
    for pool in registry.pools.iter() {
        // SAFETY: locked by this thread in `prepare`.
        unsafe {
            let plan = core::mem::replace(&mut *pool.fork_plan.get(), Plan::Nothing);
            if let Plan::Copy(copy) = plan {
                let _ = sys::unmap(copy, pool.arena.source.len());
            }
            pool.arena.set_forking(Forking::No);
            pool.unlock_after_fork();
        }
    }
    drop(registry);
    set_fork_owner(None);
    // SAFETY: locked by this thread in `prepare`.
    unsafe {
        REGISTRY.unlock_after_fork();
        memcheck::unlock_after_fork();
    }
}

/// Makes the pools usable in the child.
///
/// # Errors
/// A pool whose memory could not be mapped: the child must end.
///
/// # Safety
/// The calling thread is the only one of a process made by a fork, after [`prepare`].
pub unsafe fn child() -> Result<(), ForkError> {
    let _quiet = memcheck::quiet();
    if !is_forking() {
        return Ok(()); // the child of an orphan
    }
    let mut result = Ok(());
    orphan::adopt();
    OFFSPRING.lock().in_child();
    // SAFETY: the only thread.
    unsafe { OFFSPRING.force_unlock() };
    {
        let registry = registry::lock();
        for pool in registry.pools.iter() {
            // SAFETY: the only thread; the locks were taken by it before the fork.
            unsafe {
                pool.force_unlock();
                pool.restore_caches();
                pool.arena.set_forking(Forking::No);
                let plan = core::mem::replace(&mut *pool.fork_plan.get(), Plan::Nothing);
                if let Err(error) = pool.apply(plan) {
                    result = Err(error);
                }
            }
        }
    }
    set_fork_owner(None);
    // SAFETY: the only thread.
    unsafe {
        REGISTRY.force_unlock();
        memcheck::unlock_in_child();
        registry::lock().retire_vanished();
    }
    result
}

/// The mode that handlers installed by [`install`] use.
static MODE: AtomicU8 = AtomicU8::new(ForkMode::Private as u8);

/// Registers fork handlers for the process, once, with [`ForkMode::Private`]; a failing fork ends the
/// process with a message. For users of pools in programs; the interposer has its own handlers.
///
/// # Errors
/// ENOMEM from `pthread_atfork`.
pub fn install() -> Result<(), Errno> {
    /// Set, to anything, when the handlers are there. No lock: another thread may fork while this one
    /// installs them, and the child, in which nothing runs on behalf of a fork yet, starts again.
    static INSTALLED: Start<AtomicU8> = Start::new();
    extern "C" fn before() {
        let mode = match MODE.load(Ordering::Relaxed) {
            0 => ForkMode::Share,
            2 => ForkMode::Copy,
            3 => ForkMode::CopyOrPrivate,
            _ => ForkMode::Private,
        };
        // Twice installed, see above.
        if is_forking() {
            return;
        }
        // SAFETY: the other two handlers follow in this thread.
        if unsafe { prepare(mode) }.is_err() {
            sys::abort_with(b"vmem: a pool could not be prepared for fork()\n");
        }
    }
    extern "C" fn in_parent() {
        if is_forking() {
            // SAFETY: follows `before`.
            unsafe { parent() };
        }
    }
    extern "C" fn in_child() {
        // SAFETY: the child of the fork that `before` prepared.
        if is_forking() && unsafe { child() }.is_err() {
            sys::abort_with(b"vmem: a pool could not be mapped after fork()\n");
        }
    }
    // Whoever comes second must not go on before the handlers are there.
    let installed = INSTALLED.get_or_make(Caller::current, || {
        match sys::at_fork(before, in_parent, in_child) {
            Ok(()) => (&raw const MODE).cast_mut(),
            Err(_) => ptr::null_mut(),
        }
    });
    if installed.is_null() { Err(Errno::ENOMEM) } else { Ok(()) }
}

/// Whether a store to the source's memory is seen by other processes that have the mapping.
pub(crate) fn is_shared(source: &Source) -> bool {
    !matches!(source.kind(), SourceKind::Anonymous | SourceKind::CallerRegion)
}

impl PoolInner {
    /// # Safety
    /// See [`prepare`].
    unsafe fn lock_for_fork(&self) {
        // SAFETY: contract.
        unsafe {
            self.caches.lock_for_fork();
            for bin in self.bin_locks() {
                bin.lock_for_fork();
            }
            self.arena.heap.lock_for_fork();
            // A purge ends under the lock, and whoever finds no room waits for that: the thread that
            // forks would wait for ever.
            while self.arena.heap.lock().purging > 0 {
                self.arena.heap.unlock_after_fork();
                sys::yield_now();
                self.arena.heap.lock_for_fork();
            }
            self.arena.meta.lock_for_fork();
        }
    }

    /// # Safety
    /// See [`parent`].
    unsafe fn unlock_after_fork(&self) {
        // SAFETY: contract.
        unsafe {
            self.arena.meta.unlock_after_fork();
            self.arena.heap.unlock_after_fork();
            for bin in self.bin_locks() {
                bin.unlock_after_fork();
            }
            self.caches.unlock_after_fork();
        }
    }

    /// # Safety
    /// See [`child`].
    unsafe fn force_unlock(&self) {
        // SAFETY: contract.
        unsafe {
            self.arena.meta.force_unlock();
            self.arena.heap.force_unlock();
            for bin in self.bin_locks() {
                bin.force_unlock();
            }
            self.caches.force_unlock();
        }
    }

    /// Prepares this pool; all its locks are held by the calling thread.
    fn plan(&self, mode: ForkMode) -> Result<Plan, ForkError> {
        let arena = &self.arena;
        if !is_shared(&arena.source) || arena.is_sharing() {
            return Ok(Plan::Nothing);
        }
        match mode {
            // In a child of an earlier fork everything is private.
            ForkMode::Share if arena.is_detached() => return Ok(Plan::Nothing),
            ForkMode::Share => return Ok(Plan::Share),
            ForkMode::Private => {}
            ForkMode::Copy | ForkMode::CopyOrPrivate => match arena.clone_live() {
                Ok(clone) => return Ok(Plan::Clone(clone)),
                // The program has closed our descriptors: there is no way to the directory.
                Err(Errno::EBADF) => {
                    return arena.copy_live().map(Plan::Copy).map_err(ForkError::Clone);
                }
                Err(errno) if mode == ForkMode::Copy => return Err(ForkError::Clone(errno)),
                Err(_) => {}
            },
        }
        if !arena.is_detached() {
            // What is frozen before a failure comes home too.
            arena.home.left(arena.now());
            // SAFETY: the calling thread's cache, if it has one. Other threads see to theirs themselves.
            if let Some(cache) = unsafe { thread::present_cache_of(self).as_ref() } {
                cache.ask_slowly_while_away(self);
            }
        }
        if !arena.is_detached() && arena.has_many_live_runs() {
            // Without holes there are fewer. Where there is no space for that they stay.
            for class in ClassId::all() {
                // SAFETY: the bin of this class and pool.
                unsafe { self.bin(class).back_all(arena, class) };
            }
        }
        match arena.freeze_live() {
            Ok(()) => {
                if !arena.is_detached() {
                    arena.set_forking(Forking::Freezing);
                }
                Ok(Plan::Freeze)
            }
            Err(Errno::EBADF | Errno::EOPNOTSUPP | Errno::EPERM) => {
                arena.copy_live().map(Plan::Copy).map_err(ForkError::Remap)
            }
            Err(errno) => Err(ForkError::Remap(errno)),
        }
    }

    /// Carries a plan out in the child.
    ///
    /// # Safety
    /// See [`child`]; the locks of this pool are free.
    unsafe fn apply(&self, plan: Plan) -> Result<(), ForkError> {
        let arena = &self.arena;
        self.punching.start_again();
        arena.home.arrived();
        match plan {
            Plan::Nothing => arena.rebuild_free(false),
            Plan::Share => {
                arena.give_up_beside_live().map_err(ForkError::Map)?;
                arena.detach_free().map_err(ForkError::Map)?;
                self.forget_free_slots();
                arena.keep_live_shared();
            }
            Plan::Freeze => arena.detach_free().map_err(ForkError::Map)?,
            Plan::Clone(clone) => {
                // SAFETY: live extents are in the clone, free ones need no content.
                unsafe { arena.source.adopt_clone(clone) }.map_err(ForkError::Map)?;
                arena.attach_all();
                arena.distrust_content();
            }
            Plan::Copy(copy) => {
                arena.adopt_copy(copy).map_err(ForkError::Map)?;
                arena.distrust_content();
                arena.detach_free().map_err(ForkError::Map)?;
                // Nothing of a device is mapped here any more: it is locked only as long as the parent lives.
                if arena.source.kind() == SourceKind::DeviceDax {
                    arena.source.close_descriptors();
                }
            }
        }
        Ok(())
    }

    /// Forgets every free slot of live slabs: the parent may hand them out.
    fn forget_free_slots(&self) {
        for class in ClassId::all() {
            self.bin(class).forget();
        }
        // SAFETY: the only thread; caches stay valid.
        self.for_each_cache(|cache| unsafe { (*cache).forget() });
    }
}

impl Arena {
    /// Calls `visit(start, end)` for each maximal run of backed pages of live extents.
    fn for_live_runs(
        &self,
        visit: &mut dyn FnMut(usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.for_runs_in_use(&mut |start, end| {
            let mut at = start;
            // Pages of slabs that were given back have nothing that parent or child could want.
            while let Some((first, last)) = self.map.committed().next_run(at, end, true) {
                visit(first, last)?;
                at = last;
            }
            Ok(())
        })
    }

    /// Calls `visit(start, end)` for each maximal run of pages of live extents.
    fn for_runs_in_use(
        &self,
        visit: &mut dyn FnMut(usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut run = None;
        // SAFETY: the arena is locked by this thread.
        for (start, end, live) in unsafe { self.extents() } {
            match (live, run) {
                (true, None) => run = Some((start, end)),
                (true, Some((first, _))) => run = Some((first, end)),
                (false, Some((first, last))) => {
                    visit(first, last)?;
                    run = None;
                }
                (false, None) => {}
            }
        }
        run.map_or(Ok(()), |(first, last)| visit(first, last))
    }

    /// Live runs, joined across committed gaps of at most `gap` pages.
    fn for_joined_runs(
        &self,
        gap: usize,
        visit: &mut dyn FnMut(usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let committed = self.map.committed();
        let mut run: Option<(usize, usize)> = None;
        self.for_live_runs(&mut |start, end| {
            match run {
                Some((first, last))
                    if start - last <= gap && committed.next_run(last, start, false).is_none() =>
                {
                    run = Some((first, end));
                }
                Some((first, last)) => {
                    visit(first, last)?;
                    run = Some((start, end));
                }
                None => run = Some((start, end)),
            }
            Ok(())
        })?;
        run.map_or(Ok(()), |(first, last)| visit(first, last))
    }

    /// Live runs extended to whole granules of the source, joined where they then meet.
    fn for_live_granules(
        &self,
        visit: &mut dyn FnMut(usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let granule = self.source.granule() >> PAGE_SHIFT;
        let mut run: Option<(usize, usize)> = None;
        self.for_live_runs(&mut |start, end| {
            let (start, end) = (start / granule * granule, end.next_multiple_of(granule));
            match run {
                Some((first, last)) if start <= last => run = Some((first, end)),
                Some((first, last)) => {
                    visit(first, last)?;
                    run = Some((start, end));
                }
                None => run = Some((start, end)),
            }
            Ok(())
        })?;
        run.map_or(Ok(()), |(first, last)| visit(first, last))
    }

    fn bytes(start: usize, end: usize) -> (usize, usize) {
        (start << PAGE_SHIFT, (end - start) << PAGE_SHIFT)
    }

    /// Makes all live pages private that are not so already.
    fn freeze_live(&self) -> Result<(), Errno> {
        if self.is_detached() {
            return Ok(()); // everything here is private since an earlier fork
        }
        if self.source.granule() > PAGE {
            // Larger pages of the system hold live extents beside free ones, which stay shared.
            return Err(Errno::EOPNOTSUPP);
        }
        let gap = if self.has_many_live_runs() { SMALL_GAP_PAGES } else { 0 };
        self.for_joined_runs(gap, &mut |start, end| self.freeze_range(start, end))
    }

    fn has_many_live_runs(&self) -> bool {
        let mut runs = 0;
        let counted = self.for_live_runs(&mut |_, _| {
            runs += 1;
            Ok(())
        });
        debug_assert!(counted.is_ok());
        runs > MANY_RUNS
    }

    fn clone_live(&self) -> Result<FileClone, Errno> {
        let clone = self.source.new_clone().map_err(|error| error.errno)?;
        self.for_live_granules(&mut |start, end| {
            let (offset, len) = Arena::bytes(start, end);
            self.source.copy_to_clone(&clone, offset, len)
        })?;
        Ok(clone)
    }

    /// Copies all live pages to anonymous memory, at the offsets they have in the pool.
    fn copy_live(&self) -> Result<NonNull<u8>, Errno> {
        let copy = sys::map_anonymous(self.source.len())?;
        let base = self.source.base();
        self.for_live_granules(&mut |start, end| {
            let (offset, len) = Arena::bytes(start, end);
            // SAFETY: live pages, and the granules they lie in, are committed; the copy has the size of the pool. Other threads may
            // store meanwhile, as they may while a fork copies the rest of the process.
            unsafe { base.add(offset).copy_to_nonoverlapping(copy.add(offset), len) };
            Ok(())
        })?;
        Ok(copy)
    }

    /// Moves a copy made by `copy_live` over the pool.
    fn adopt_copy(&self, copy: NonNull<u8>) -> Result<(), Errno> {
        let base = self.source.base();
        let frozen = self.map.frozen();
        self.for_live_granules(&mut |start, end| {
            let (offset, len) = Arena::bytes(start, end);
            // SAFETY: both ranges are ours, the copy has the content.
            unsafe { sys::move_mapping_over(copy.add(offset), base.add(offset), len)? };
            frozen.set(start, end);
            Ok(())
        })?;
        // SAFETY: what is left of the copy is unused.
        let _ = unsafe { sys::unmap(copy, self.source.len()) };
        Ok(())
    }

    /// In a child: cuts the pool off from the source. Free pages become anonymous memory.
    fn detach_free(&self) -> Result<(), Errno> {
        if !self.is_detached() {
            let frozen = self.map.frozen();
            let replace = |start: usize, end: usize| -> Result<(), Errno> {
                let mut at = start;
                while let Some((first, last)) = frozen.next_run(at, end, false) {
                    let (offset, len) = Arena::bytes(first, last);
                    self.source.replace_anonymous(offset, len)?;
                    at = last;
                }
                Ok(())
            };
            let mut free_from = self.first_page();
            self.for_live_runs(&mut |start, end| {
                replace(free_from, start)?;
                free_from = end;
                Ok(())
            })?;
            replace(free_from, self.map.pages())?;
            self.set_detached(true);
            self.rebuild_free(true);
        } else {
            self.rebuild_free(false);
        }
        Ok(())
    }

    /// In a child: live pages stay the parent's too. No slot or page of theirs is handed out again:
    /// without a class, a page's blocks are no business of caches and bins.
    fn keep_live_shared(&self) {
        let keep = self.for_runs_in_use(&mut |start, end| {
            self.map.frozen().set(start, end);
            self.map.set_class_offset(start, end - start, 0);
            Ok(())
        });
        debug_assert!(keep.is_ok());
        self.set_sharing();
    }

    /// In a child whose pool is a copy made before the fork: see [`Hard`](crate::harden::Hard).
    fn distrust_content(&self) {
        if let Some(hard) = &self.map.hard {
            hard.distrust_content();
        }
    }

    /// In a child that has a file of its own: all pages are shared mappings again, free ones empty.
    fn attach_all(&self) {
        self.map.frozen().clear(0, self.map.pages());
        self.forget_reserve();
        self.set_detached(false);
        self.rebuild_free(true);
    }
}
