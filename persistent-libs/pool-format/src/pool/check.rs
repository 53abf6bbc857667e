//! Whether headers are what they should be, in the order of the contract.

use crate::features::Access;
use crate::{ArchFlags, Error, Feature, Part, PoolHeader, PoolKind, Result, device};
use pmem_core::errno::Errno;

/// The parts of a replica, and the headers of those that have one.
type ReplicaHeaders = (Vec<Part>, Vec<PoolHeader>);

/// `EIO` when the device cannot read some of the part.
pub(super) fn no_bad_blocks(part: &Part) -> Result<()> {
    let path = part.path();
    let found = match device::bad_blocks(part.file()) {
        Ok(found) => found,
        // Lists that only root may read, and file systems that do not tell where a file lies.
        Err(Errno::EACCES | Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOTTY) => Vec::new(),
        Err(errno) => return Err(Error::system("bad blocks", path, errno)),
    };
    match found.first() {
        None => Ok(()),
        Some(block) => {
            let text = format!(
                "pool set contains bad blocks: {} bytes at offset {}; \
                 run 'pmempool sync --bad-blocks' to recreate them from a replica",
                block.len, block.offset
            );
            Err(Error::pool(text, path, Errno::EIO))
        }
    }
}

pub(super) fn headers(
    replicas: &[ReplicaHeaders],
    kind: &PoolKind,
    single_header: Option<bool>,
) -> Result<()> {
    let master = &replicas[0].1[0];
    for (parts, headers) in replicas {
        for (index, (part, header)) in parts.iter().zip(headers).enumerate() {
            header_alone(part, header, kind)?;
            let error = |text: &str| Err(Error::pool(text, part.path(), Errno::EINVAL));
            if header.poolset_uuid != master.poolset_uuid {
                return error("wrong pool set UUID");
            }
            let count = headers.len();
            let (before, after) = ((index + count - 1) % count, (index + 1) % count);
            if header.prev_part_uuid != headers[before].uuid
                || header.next_part_uuid != headers[after].uuid
            {
                return error("wrong part UUID");
            }
            if header.major != headers[0].major {
                return error("incompatible pool format");
            }
            if header.features != headers[0].features {
                return error("incompatible feature flags");
            }
            match (header.features.has(Feature::SingleHeader), single_header) {
                (true, Some(false)) => {
                    return error("the header has the feature SINGLEHDR, the pool set has not");
                }
                (false, Some(true)) => {
                    return error("the pool set has OPTION SINGLEHDR, the header has not");
                }
                _ => {}
            }
        }
    }
    for (number, (parts, headers)) in replicas.iter().enumerate() {
        let count = replicas.len();
        let first = |number: usize| replicas[number % count].1[0].uuid;
        for (part, header) in parts.iter().zip(headers) {
            if header.prev_replica_uuid != first(number + count - 1)
                || header.next_replica_uuid != first(number + 1)
            {
                return Err(Error::pool("wrong replica UUID", part.path(), Errno::EINVAL));
            }
        }
    }
    Ok(())
}

fn header_alone(part: &Part, header: &PoolHeader, kind: &PoolKind) -> Result<()> {
    let error = |text: String| Err(Error::pool(text, part.path(), Errno::EINVAL));
    let major = header.major.get();
    if major == 0 {
        let hint = if header.is_empty() {
            ": there is no header; if the creation of the pool was interrupted, create it again in the \
             file that is there, or remove the file"
        } else {
            ""
        };
        return error(format!("invalid major version (0){hint}"));
    }
    if header.signature != kind.signature {
        let found = header.signature.escape_ascii().to_string();
        return error(format!("wrong pool type: \"{}\"", found.trim_end_matches("\\x00")));
    }
    if major != kind.major {
        let hint = if major < kind.major { "; pmdk-convert can convert it" } else { "" };
        return error(format!("pool version {major} (library expects {}){hint}", kind.major));
    }
    if let Access::Refused(bits) = header.features.access() {
        return error(format!("unsafe to continue due to unknown incompat features: {bits:#x}"));
    }
    if !header.is_sealed() {
        let (stored, expected) = (header.checksum.get(), header.sum());
        return error(format!(
            "invalid checksum of pool header (found {stored:#018x}, expected {expected:#018x})"
        ));
    }
    if header.arch != ArchFlags::native() {
        return error("wrong architecture flags".into());
    }
    Ok(())
}
