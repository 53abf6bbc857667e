//! Creating pools.

use super::{Access, Pool, Replica, directory};
use crate::mapping::{self, Mapping, Sharing};
use crate::poolset::{PartSize, PartSpec};
use crate::{
    Error, Feature, Features, HEADER_SIZE, LEAST_PART, Part, PoolHeader, PoolKind, PoolSet, Result,
    Uuid, bad_blocks, part,
};
use pmem_core::errno::Errno;
use std::path::Path;
use zerocopy::IntoBytes;

/// How a pool is created.
///
/// | `size` | `path` |
/// |---|---|
/// | a size | a file that does not exist |
/// | `None` | a file whose first 4096 bytes are zero, a device, or a pool set file, whose missing parts are made |
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Bytes of a new file.
    pub size: Option<u64>,
    /// Permissions of new files, whatever the umask.
    pub mode: u32,
    /// Touches all pages, so that later accesses do not fault.
    pub prefault: bool,
    /// Takes the whole space of files that exist.
    pub allocate: bool,
    /// Features of the pool; `SINGLEHDR` comes from the pool set file.
    pub features: Features,
}

impl Default for CreateOptions {
    fn default() -> CreateOptions {
        CreateOptions {
            size: None,
            mode: 0o666,
            prefault: false,
            allocate: true,
            features: Features::of_new_pools(),
        }
    }
}

/// A pool that is being made. Dropped before [`finish`](Self::finish), it removes the files that were made for it.
#[derive(Debug)]
pub struct NewPool {
    pool: Pool,
    mode: u32,
    major: u32,
    signature: [u8; 8],
    finished: bool,
}

pub(super) fn create(path: &Path, kind: &PoolKind, options: &CreateOptions) -> Result<NewPool> {
    let (set, parts) = match options.size {
        Some(size) => {
            if size < kind.least_bytes {
                return Err(too_small(size / mapping::PAGE * mapping::PAGE, path, kind));
            }
            (PoolSet::default(), vec![vec![Part::create(path, size)?]])
        }
        None => match PoolSet::read(path)? {
            None => (PoolSet::default(), vec![vec![take_existing(path, None, options)?]]),
            Some(set) => {
                if set.replicas.len() > 1 && !kind.replicas {
                    let text = "replication not supported";
                    return Err(Error::pool(text, path, Errno::ENOTSUP));
                }
                let parts = make_parts(&set, path, kind, options)?;
                (set, parts)
            }
        },
    };
    let guard = Guard(parts);
    let mut replicas = Vec::new();
    for parts in &guard.0 {
        if options.features.has(Feature::CheckBadBlocks) {
            for part in parts {
                super::check::no_bad_blocks(part)?;
            }
        }
        let several = !set.single_header && parts.len() > 1;
        if several && parts.iter().any(|part| part.align() != mapping::PAGE) {
            let text = "several devices need OPTION SINGLEHDR";
            return Err(Error::pool(text, path, Errno::EINVAL));
        }
        let mapping = mapping::map_replica(parts, !set.single_header, Sharing::Shared)?;
        if mapping.len() < kind.least_bytes {
            return Err(too_small(mapping.len(), path, kind));
        }
        if options.prefault {
            mapping.prefault();
        }
        replicas.push(mapping);
    }
    let replicas =
        replicas.into_iter().zip(guard.keep()).map(|(mapping, parts)| Replica { mapping, parts });
    let pool = Pool {
        path: path.into(),
        replicas: replicas.collect(),
        poolset_uuid: Uuid::random(),
        features: options.features.with(Feature::SingleHeader, set.single_header),
        access: Access::ReadWrite,
        marked_open: false,
    };
    Ok(NewPool {
        pool,
        mode: options.mode,
        major: kind.major,
        signature: kind.signature,
        finished: false,
    })
}

fn too_small(size: u64, path: &Path, kind: &PoolKind) -> Error {
    let text = format!("reservation pool size {size} smaller than {}", kind.least_bytes);
    Error::pool(text, path, Errno::EINVAL)
}

/// Parts that vanish, as far as they were made, unless they are kept.
struct Guard(Vec<Vec<Part>>);

impl Guard {
    fn keep(mut self) -> Vec<Vec<Part>> {
        core::mem::take(&mut self.0)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.iter().flatten().for_each(Part::remove);
    }
}

fn make_parts(
    set: &PoolSet,
    path: &Path,
    kind: &PoolKind,
    options: &CreateOptions,
) -> Result<Vec<Vec<Part>>> {
    let mut guard = Guard(Vec::new());
    let directories = directory::check(set, path)?;
    for (number, replica) in set.replicas.iter().enumerate() {
        guard.0.push(Vec::new());
        if directories {
            let first = directory::file(&replica.parts, 0);
            guard.0[number].push(Part::create(&first, kind.least_bytes)?);
            continue;
        }
        for (index, spec) in replica.parts.iter().enumerate() {
            let recovery = bad_blocks::recovery_file(path, number, index);
            if recovery.exists() {
                let text = "bad block recovery file exists";
                return Err(Error::pool(text, &recovery, Errno::EINVAL));
            }
            if guard.0.iter().flatten().any(|part| part.will_be_at(&spec.path)) {
                // As one that is there and locked.
                return Err(Error::system("flock", &spec.path, Errno::EAGAIN));
            }
            guard.0[number].push(make_part(spec, options)?);
        }
    }
    Ok(guard.keep())
}

fn make_part(spec: &PartSpec, options: &CreateOptions) -> Result<Part> {
    let path = &spec.path;
    let size = spec_size(spec)?;
    if !std::fs::exists(path).map_err(|error| Error::io("stat", path, &error))? {
        return Part::create(path, size);
    }
    take_existing(path, Some(size), options)
}

/// The size a pool set gives a part, checked.
pub(super) fn spec_size(spec: &PartSpec) -> Result<u64> {
    let path = &spec.path;
    let size = match spec.size {
        PartSize::Bytes(size) => size,
        PartSize::Auto => {
            let exists = std::fs::exists(path).map_err(|error| Error::io("stat", path, &error))?;
            let device = if exists { part::device_size(path)? } else { None };
            device.ok_or_else(|| {
                let text = "cannot determine size of a part (AUTO is for device DAX)";
                let errno = if exists { Errno::EINVAL } else { Errno::ENOENT };
                Error::pool(text, path, errno)
            })?
        }
    };
    if size < LEAST_PART {
        let text = format!("size {size} smaller than {LEAST_PART}");
        return Err(Error::pool(text, path, Errno::EINVAL));
    }
    Ok(size)
}

fn take_existing(path: &Path, size: Option<u64>, options: &CreateOptions) -> Result<Part> {
    let part = Part::open(path, true)?;
    if let Some(size) = size {
        part.must_have(size)?;
    }
    if !part.read_header()?.is_empty() {
        let text = "Non-empty file detected: to make a new pool of it, for example when making one was \
                    interrupted, remove it or set its first 4096 bytes to zero";
        return Err(Error::pool(text, path, Errno::EEXIST));
    }
    if options.allocate {
        part.allocate()?;
    }
    Ok(part)
}

impl NewPool {
    /// The pool's bytes: those of the first replica.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        self.pool.mapping()
    }

    /// Its copies.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        self.pool.replicas()
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.pool.size()
    }

    /// Whether all its bytes are zero, because all of its files were made for it.
    #[must_use]
    pub fn is_zeroed(&self) -> bool {
        let mut parts = self.pool.replicas.iter().flat_map(|replica| &replica.parts);
        parts.all(Part::is_created)
    }

    /// Writes the headers, that of the first part last, and lets others see the files. What the kind of pool needs
    /// behind the headers has been written before: a crash leaves either no pool or a whole one. A crash between the
    /// naming of several parts leaves parts without the first one.
    ///
    /// # Errors
    /// Those of `msync`, `chmod`, `linkat` (`EEXIST` when somebody has made the file meanwhile) and `fsync`; the
    /// files made for the pool are removed.
    pub fn finish(mut self) -> Result<Pool> {
        let headers = self.headers();
        let parts = self.pool.replicas.iter().zip(&headers).rev();
        for (replica, headers) in parts {
            for (index, (part, header)) in replica.parts.iter().zip(headers).enumerate().rev() {
                let written = if index == 0 {
                    replica.mapping.write(0, header.as_bytes())
                } else {
                    mapping::map_start(part)?.write(0, header.as_bytes())
                };
                written.map_err(|errno| Error::system("msync", part.path(), errno))?;
            }
        }
        self.pool.mark_open()?;
        // The first part comes last: while it is missing there is no pool.
        for replica in self.pool.replicas.iter_mut().rev() {
            replica.parts.iter_mut().rev().try_for_each(|part| part.publish(self.mode))?;
        }
        for replica in &self.pool.replicas {
            replica.parts.iter().try_for_each(Part::sync_name)?;
        }
        self.finished = true;
        // `NewPool` has a destructor, so the pool has to be taken out of it.
        let empty = Pool {
            path: self.pool.path.clone(),
            replicas: Vec::new(),
            poolset_uuid: Uuid::NULL,
            features: self.pool.features,
            access: self.pool.access,
            marked_open: false,
        };
        Ok(core::mem::replace(&mut self.pool, empty))
    }

    /// A header for each part that has one.
    fn headers(&self) -> Vec<Vec<PoolHeader>> {
        let single = self.pool.features.has(Feature::SingleHeader);
        let count = |replica: &Replica| if single { 1 } else { replica.parts.len() };
        let uuids: Vec<Vec<Uuid>> = self
            .pool
            .replicas
            .iter()
            .map(|replica| (0..count(replica)).map(|_| Uuid::random()).collect())
            .collect();
        let around = |len: usize, at: usize| ((at + len - 1) % len, (at + 1) % len);
        let replicas = uuids.iter().zip(&self.pool.replicas).enumerate();
        replicas
            .map(|(number, (own, replica))| {
                let (before, after) = around(uuids.len(), number);
                let header = |(index, part): (usize, &Part)| {
                    let (prev, next) = around(own.len(), index);
                    let mut header =
                        PoolHeader::new(self.signature, self.major, self.pool.features);
                    header.poolset_uuid = self.pool.poolset_uuid;
                    header.uuid = own[index];
                    header.prev_part_uuid = own[prev];
                    header.next_part_uuid = own[next];
                    header.prev_replica_uuid = uuids[before][0];
                    header.next_replica_uuid = uuids[after][0];
                    header.created = part.changed().into();
                    header.seal();
                    header
                };
                replica.parts.iter().take(own.len()).enumerate().map(header).collect()
            })
            .collect()
    }
}

impl Drop for NewPool {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Files that were there before get their zero header back.
        for replica in &self.pool.replicas {
            let _ = replica.mapping.zero(0, HEADER_SIZE as u64);
            for part in replica.parts.iter().skip(1).filter(|part| !part.is_created()) {
                if !self.pool.features.has(Feature::SingleHeader)
                    && let Ok(start) = mapping::map_start(part)
                {
                    let _ = start.zero(0, HEADER_SIZE as u64);
                }
            }
            replica.parts.iter().for_each(Part::remove);
        }
        self.pool.marked_open = false;
    }
}
