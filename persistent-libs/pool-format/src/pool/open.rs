//! Opening pools.

use super::{Pool, Replica, check, create, directory};
use crate::mapping::{self, Sharing};
use crate::{Error, Feature, Part, PoolHeader, PoolKind, PoolSet, Result, bad_blocks, features};
use pmem_core::errno::Errno;
use std::path::{Path, PathBuf};

/// What may be done with an open pool.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Reading and writing.
    #[default]
    ReadWrite,
    /// Reading. Repairs that opening makes stay in memory; the file need not be writable.
    ReadOnly,
    /// Reading and writing; nothing reaches the medium.
    CopyOnWrite,
}

/// How a pool is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// What is to be done with it.
    pub access: Access,
    /// Touches all pages, so that later accesses do not fault.
    pub prefault: bool,
}

pub(super) fn open(path: &Path, kind: &PoolKind, options: &OpenOptions) -> Result<Pool> {
    let writable = options.access == Access::ReadWrite;
    let (set, specs) = match PoolSet::read(path)? {
        None => (None, vec![vec![(path.to_path_buf(), None)]]),
        Some(set) => {
            if set.replicas.len() > 1 && !kind.replicas {
                let text = "replication not supported";
                return Err(Error::pool(text, path, Errno::ENOTSUP));
            }
            let specs = part_specs(&set, path)?;
            (Some(set), specs)
        }
    };
    // The features of the very first part decide what is looked for before the others are opened.
    let first = Part::open(&specs[0][0].0, writable)?;
    if first.is_device() && !writable {
        let text = "a device can only be opened for reading and writing";
        return Err(Error::pool(text, path, Errno::ENOTSUP));
    }
    let header = first.read_header()?;
    let looks_for_bad_blocks = header.features.has(Feature::CheckBadBlocks);
    if looks_for_bad_blocks {
        for (number, replica) in specs.iter().enumerate() {
            for index in 0..replica.len() {
                let recovery = bad_blocks::recovery_file(path, number, index);
                if recovery.exists() {
                    let text = "bad block recovery file exists: the repair of bad blocks did not end; \
                                run pmempool sync --bad-blocks";
                    return Err(Error::pool(text, &recovery, Errno::EINVAL));
                }
            }
        }
        check::no_bad_blocks(&first)?;
    }
    let mut first = Some(first);
    let mut replicas: Vec<(Vec<Part>, Vec<PoolHeader>)> = Vec::new();
    for specs in &specs {
        let (mut parts, mut headers) = (Vec::new(), Vec::new());
        for (path, size) in specs {
            let part = match first.take() {
                Some(part) => part,
                None => Part::open(path, writable)?,
            };
            if let Some(size) = size {
                part.must_have(*size)?;
            }
            if looks_for_bad_blocks {
                check::no_bad_blocks(&part)?;
            }
            parts.push(part);
        }
        let single = set.as_ref().is_some_and(|set| set.single_header);
        let count = if single { 1 } else { parts.len() };
        for part in &parts[..count] {
            headers.push(part.read_header()?);
        }
        replicas.push((parts, headers));
    }
    check::headers(&replicas, kind, set.as_ref().map(|set| set.single_header))?;
    let header = &replicas[0].1[0];
    let (poolset_uuid, pool_features) = (header.poolset_uuid, header.features);
    let mut access = options.access;
    let every_header = || replicas.iter().flat_map(|(_, headers)| headers);
    if every_header().any(|header| header.features.access() == features::Access::ReadOnly) {
        access = Access::ReadOnly;
    }
    let sharing = match access {
        Access::ReadWrite => Sharing::Shared,
        Access::ReadOnly | Access::CopyOnWrite => Sharing::Private,
    };
    let with_headers = !pool_features.has(Feature::SingleHeader);
    let replicas: Vec<Replica> = replicas
        .into_iter()
        .map(|(parts, _)| {
            let mapping = mapping::map_replica(&parts, with_headers, sharing)?;
            if options.prefault {
                mapping.prefault();
            }
            Ok(Replica { mapping, parts })
        })
        .collect::<Result<_>>()?;
    let mut pool = Pool {
        path: path.into(),
        replicas,
        poolset_uuid,
        features: pool_features,
        access,
        marked_open: false,
    };
    if pool.size() < kind.least_bytes {
        let text = format!("size {} smaller than {}", pool.size(), kind.least_bytes);
        return Err(Error::pool(text, path, Errno::EINVAL));
    }
    pool.mark_open()?;
    Ok(pool)
}

type PartPath = (PathBuf, Option<u64>);

/// Paths of all parts, by replica, with the sizes they must have.
fn part_specs(set: &PoolSet, path: &Path) -> Result<Vec<Vec<PartPath>>> {
    let directories = directory::check(set, path)?;
    set.replicas
        .iter()
        .map(|replica| {
            if directories {
                let files = directory::files(&replica.parts, path)?;
                return Ok(files.into_iter().map(|file| (file, None)).collect());
            }
            let parts = replica.parts.iter();
            parts.map(|part| Ok((part.path.clone(), Some(create::spec_size(part)?)))).collect()
        })
        .collect()
}
