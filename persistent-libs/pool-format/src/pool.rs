//! Pools: creating and opening what a path names.

mod check;
mod create;
mod directory;
mod open;

use crate::mapping::Mapping;
use crate::shutdown_state::DeviceState;
use crate::{Error, Feature, Features, Part, Result, SHUTDOWN_STATE_OFFSET, ShutdownState, Uuid};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

pub use create::{CreateOptions, NewPool};
pub use open::{Access, OpenOptions};

/// One copy of the pool: its parts, mapped in a row.
#[derive(Debug)]
pub struct Replica {
    mapping: Mapping,
    parts: Vec<Part>,
}

/// An open pool. Closing it (dropping) says so on the medium, unmaps it and lets others open it.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    replicas: Vec<Replica>,
    poolset_uuid: Uuid,
    features: Features,
    access: Access,
    /// Whether closing has to clear the shutdown state.
    marked_open: bool,
}

impl Replica {
    /// Its bytes.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Its files and devices.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn device_state(&self) -> Result<DeviceState> {
        let mut state = DeviceState::default();
        for part in &self.parts {
            let device = part.device()?;
            state.add(device.as_ref().map(|(id, count)| (id.as_str(), *count)));
        }
        Ok(state)
    }

    fn store_state(&self, state: &ShutdownState) -> Result<()> {
        let offset = SHUTDOWN_STATE_OFFSET as u64;
        let written = self.mapping.write(offset, state.as_bytes());
        let written = written
            .and_then(|()| self.mapping.deep_persist(offset, size_of::<ShutdownState>() as u64));
        written.map_err(|errno| Error::system("msync", self.parts[0].path(), errno))
    }
}

impl Pool {
    /// Creates a pool; see [`CreateOptions`] for what `path` may be. It becomes one with [`NewPool::finish`].
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`, ... of making files; `EAGAIN` when somebody has one; `EINVAL`
    /// for wrong sizes and pool sets; `ENOTSUP` for replicas that this kind of pool cannot have. Files made
    /// before the error are removed.
    pub fn create(path: &Path, kind: &crate::PoolKind, options: &CreateOptions) -> Result<NewPool> {
        create::create(path, kind, options)
    }

    /// Opens a pool: a file, a device, or a pool set file.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, ... of opening files; `EAGAIN` when somebody has it; `EINVAL` when something about it
    /// is wrong, with a text that says what; `EIO` for bad blocks; `ENOTSUP` for replicas that this kind
    /// of pool cannot have.
    pub fn open(path: &Path, kind: &crate::PoolKind, options: &OpenOptions) -> Result<Pool> {
        open::open(path, kind, options)
    }

    /// A pool over memory that something else has opened and checked: a test, or a tool. There is no header, and no
    /// lock.
    #[must_use]
    pub fn over(mapping: Mapping) -> Pool {
        Pool {
            path: PathBuf::from("memory"),
            replicas: vec![Replica { mapping, parts: Vec::new() }],
            poolset_uuid: Uuid::NULL,
            features: Features::default(),
            access: Access::ReadWrite,
            marked_open: false,
        }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes: that of the smallest replica.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.replicas.iter().map(|replica| replica.mapping.len()).min().unwrap_or(0)
    }

    /// Its copies; the first is the master.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The bytes of the first copy.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.replicas[0].mapping
    }

    /// Its identity.
    #[must_use]
    pub fn poolset_uuid(&self) -> Uuid {
        self.poolset_uuid
    }

    /// Its features.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// What may be done with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Notes on the medium that the pool is open, replica by replica.
    fn mark_open(&mut self) -> Result<()> {
        if self.access != Access::ReadWrite || !self.features.has(Feature::ShutdownState) {
            return Ok(());
        }
        for replica in &self.replicas {
            let now = replica.device_state()?;
            let mut old = ShutdownState::closed(now);
            replica.mapping.read(SHUTDOWN_STATE_OFFSET as u64, old.as_mut_bytes());
            if old.lost_stores(now) {
                let text = "an ADR failure was detected, the pool might be corrupted";
                let path = replica.parts[0].path();
                return Err(Error::pool(text, path, pmem_core::errno::Errno::EINVAL));
            }
            self.marked_open = true;
            replica.store_state(&ShutdownState::open(now))?;
        }
        Ok(())
    }
}

impl AsRef<Mapping> for Pool {
    fn as_ref(&self) -> &Mapping {
        self.mapping()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.marked_open {
            return;
        }
        for replica in &self.replicas {
            // A state that cannot be written stays dirty: the next open finds the same counts and goes on.
            let _ = replica
                .device_state()
                .and_then(|now| replica.store_state(&ShutdownState::closed(now)));
        }
    }
}
