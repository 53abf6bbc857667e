//! Options and `VMMALLOC_*` variables brought together: an option wins over its variable, a variable over the
//! default, and every value is checked before anything is started.

use crate::cli::Options;
use crate::failure::{Failure, quoted};
use crate::size::{MAX_POOL_BYTES, MIN_POOL_BYTES};
use pmem_core::env::{ParseSizeError, parse_size};
use pmem_core::numa::{NodeMask, NumaPolicy};
use std::ffi::{OsStr, OsString};
use std::fmt;

/// Directory of the pool when nothing names one: a tmpfs on every Linux system.
pub(crate) const DEFAULT_DIR: &str = "/dev/shm";

/// Who gave a value; messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An option of the command line.
    Option(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// Neither.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) | Self::Variable(name) => f.write_str(name),
            Self::Default(what) => write!(f, "default {what}"),
        }
    }
}

/// A value and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// NUMA nodes as the library takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// As given.
    pub(crate) text: OsString,
    pub(crate) nodes: NodeMask,
    /// Whether other nodes serve when these are full.
    pub(crate) policy: NumaPolicy,
}

/// What the pool is to be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A file in a directory.
    Directory(Sourced<OsString>),
    /// A device-DAX node.
    Device(Sourced<OsString>),
    /// Memory of NUMA nodes.
    Nodes(Sourced<Nodes>),
}

/// When a pool takes its space from the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// As the heap grows.
    Lazy,
    /// All of it at the start of the process.
    Prealloc,
}

/// Checked settings; `None` leaves the choice to the library.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) medium: Medium,
    pub(crate) size_bytes: Option<Sourced<u64>>,
    pub(crate) space: Space,
    pub(crate) fork: Option<u8>,
    pub(crate) home_ms: Option<Delay>,
    pub(crate) overflow_to_dram: Option<bool>,
    pub(crate) purge_ms: Option<Delay>,
    pub(crate) advise_huge_pages: Option<bool>,
    pub(crate) harden: Option<u8>,
    pub(crate) stats: Option<&'static str>,
    pub(crate) stats_file: Option<Sourced<OsString>>,
}

/// When something is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    /// Never.
    Off,
    /// After so many milliseconds.
    AfterMs(u32),
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::AfterMs(ms) => ms.fmt(f),
        }
    }
}

/// Variables of the library that the launcher sets or removes.
pub(crate) mod variable {
    pub(crate) const DIR: &str = "VMMALLOC_POOL_DIR";
    pub(crate) const NODES: &str = "VMMALLOC_NODES";
    pub(crate) const DEVICE: &str = "VMMALLOC_DEVICE";
    pub(crate) const SIZE: &str = "VMMALLOC_POOL_SIZE";
    pub(crate) const SPACE: &str = "VMMALLOC_SPACE";
    pub(crate) const FORK: &str = "VMMALLOC_FORK";
    pub(crate) const HOME_MS: &str = "VMMALLOC_HOME_MS";
    pub(crate) const OVERFLOW: &str = "VMMALLOC_OVERFLOW";
    pub(crate) const PURGE_MS: &str = "VMMALLOC_PURGE_MS";
    pub(crate) const HUGEPAGE: &str = "VMMALLOC_HUGEPAGE";
    pub(crate) const HARDEN: &str = "VMMALLOC_HARDEN";
    pub(crate) const STATS: &str = "VMMALLOC_STATS";
    pub(crate) const STATS_FILE: &str = "VMMALLOC_STATS_FILE";
    /// All of the above.
    pub(crate) const ALL: [&str; 13] = [
        DIR, NODES, DEVICE, SIZE, SPACE, FORK, HOME_MS, OVERFLOW, PURGE_MS, HUGEPAGE, HARDEN,
        STATS, STATS_FILE,
    ];
}

/// Brings `options` and the variables that `lookup` finds together. An empty variable counts as unset.
///
/// # Errors
/// A value outside its set or range; the message names the option or variable, the value and what is allowed.
pub(crate) fn resolve(
    options: &Options,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Settings, Failure> {
    let pick = |option: &'static str, given: &Option<OsString>, variable: &'static str| {
        if let Some(value) = given {
            return Some(Sourced { value: value.clone(), origin: Origin::Option(option) });
        }
        let value = lookup(variable).filter(|value| !value.is_empty())?;
        Some(Sourced { value, origin: Origin::Variable(variable) })
    };
    let medium = medium(options, pick)?;
    let size_bytes =
        pick("--size", &options.size, variable::SIZE).map(size_in_range).transpose()?;
    let space_option = if options.space.as_deref() == Some(OsStr::new("prealloc")) {
        "--prealloc"
    } else {
        "--lazy"
    };
    let space = pick(space_option, &options.space, variable::SPACE)
        .map(|text| one_of(&text, &[("lazy", Space::Lazy), ("prealloc", Space::Prealloc)]))
        .transpose()?
        .unwrap_or(Space::Lazy);
    let has_size = size_bytes.is_some() || matches!(medium, Medium::Device(_));
    if space == Space::Prealloc && !has_size {
        return Err(Failure::configuration(
            "--prealloc takes the whole pool from the file system in every process: say how much with --size",
        ));
    }
    let fork = pick("--fork", &options.fork, variable::FORK)
        .map(|text| one_of(&text, &[("0", 0), ("1", 1), ("2", 2), ("3", 3)]))
        .transpose()?;
    let overflow_to_dram = pick("--overflow", &options.overflow, variable::OVERFLOW)
        .map(|text| one_of(&text, &[("none", false), ("dram", true)]))
        .transpose()?;
    let purge_ms = pick("--purge-ms", &options.purge_ms, variable::PURGE_MS)
        .map(at_once_or_off)
        .transpose()?;
    let home_ms =
        pick("--home-ms", &options.home_ms, variable::HOME_MS).map(zero_or_off).transpose()?;
    let advise_huge_pages = pick("--hugepages", &options.hugepages, variable::HUGEPAGE)
        .map(|text| one_of(&text, &[("never", false), ("advise", true)]))
        .transpose()?;
    let harden = pick("--harden", &options.harden, variable::HARDEN)
        .map(|text| one_of(&text, &[("0", 0), ("1", 1), ("2", 2)]))
        .transpose()?;
    let stats_file = pick("--stats-file", &options.stats_file, variable::STATS_FILE);
    let stats = pick("--stats", &options.stats, variable::STATS)
        .map(|text| one_of(&text, &[("text", "text"), ("json", "json")]))
        .transpose()?
        // A file for a report that nobody asked for would stay empty.
        .or(stats_file.is_some().then_some("text"));
    Ok(Settings {
        medium,
        size_bytes,
        space,
        fork,
        home_ms,
        overflow_to_dram,
        purge_ms,
        advise_huge_pages,
        harden,
        stats,
        stats_file,
    })
}

/// The place: of an option, else of a variable, else the default directory.
fn medium(
    options: &Options,
    pick: impl Fn(&'static str, &Option<OsString>, &'static str) -> Option<Sourced<OsString>>,
) -> Result<Medium, Failure> {
    let dir = pick("--dir", &options.dir, variable::DIR);
    let nodes = pick("--nodes", &options.nodes, variable::NODES);
    let device = pick("--device", &options.device, variable::DEVICE);
    let is_option = |place: &Option<Sourced<OsString>>| {
        place.as_ref().is_some_and(|place| matches!(place.origin, Origin::Option(_)))
    };
    // An option replaces all variables.
    let any_option = [&dir, &nodes, &device].into_iter().any(is_option);
    let keep = |place: Option<Sourced<OsString>>| {
        if any_option && !is_option(&place) { None } else { place }
    };
    match (keep(dir), keep(nodes), keep(device)) {
        (_, Some(_), Some(_)) => Err(Failure::configuration(
            "VMMALLOC_NODES and VMMALLOC_DEVICE exclude each other: unset one of them",
        )),
        (_, Some(nodes), None) => node_list(nodes).map(Medium::Nodes),
        (_, None, Some(device)) => Ok(Medium::Device(device)),
        (Some(dir), None, None) => Ok(Medium::Directory(dir)),
        (None, None, None) => Ok(Medium::Directory(Sourced {
            value: DEFAULT_DIR.into(),
            origin: Origin::Default("directory"),
        })),
    }
}

fn node_list(given: Sourced<OsString>) -> Result<Sourced<Nodes>, Failure> {
    let text = given.value.as_encoded_bytes();
    let (policy, numbers) = match text.strip_prefix(b"prefer:") {
        Some(numbers) => (NumaPolicy::Preferred, numbers),
        None => (NumaPolicy::Bind, text),
    };
    match NodeMask::parse_list(numbers).ok().filter(|nodes| !nodes.is_empty()) {
        Some(nodes) => Ok(Sourced {
            value: Nodes { text: given.value.clone(), nodes, policy },
            origin: given.origin,
        }),
        None => Err(Failure::configuration(format!(
            "{} {} is no list of nodes: give numbers and ranges such as 1 or 0-1,3, or prefer: and such a list",
            given.origin,
            quoted(&given.value)
        ))),
    }
}

fn one_of<T: Copy>(given: &Sourced<OsString>, allowed: &[(&str, T)]) -> Result<T, Failure> {
    allowed.iter().find(|(name, _)| given.value == *name).map(|(_, value)| *value).ok_or_else(
        || {
            let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
            Failure::configuration(format!(
                "{} {} is not known: give one of {}",
                given.origin,
                quoted(&given.value),
                names.join(", ")
            ))
        },
    )
}

fn size_in_range(given: Sourced<OsString>) -> Result<Sourced<u64>, Failure> {
    let text = given.value.as_encoded_bytes();
    let problem = match parse_size(text) {
        Ok(bytes) if bytes < MIN_POOL_BYTES => "is below the minimum",
        Ok(bytes) if bytes > MAX_POOL_BYTES => "is larger than any pool",
        Ok(bytes) => return Ok(Sourced { value: bytes, origin: given.origin }),
        Err(_) if text.starts_with(b"-") => "is negative",
        Err(ParseSizeError::TooLarge) => "is larger than any pool",
        Err(_) => "is not a size",
    };
    Err(Failure::configuration(format!(
        "{} {} {problem}: give bytes or a number with K, M, G or T, from {MIN_POOL_BYTES} (14M) to {MAX_POOL_BYTES}",
        given.origin,
        quoted(&given.value)
    )))
}

fn at_once_or_off(given: Sourced<OsString>) -> Result<Delay, Failure> {
    milliseconds(given, "at once")
}

fn zero_or_off(given: Sourced<OsString>) -> Result<Delay, Failure> {
    milliseconds(given, "never")
}

/// A time, or `off`; `zero` is what 0 means.
fn milliseconds(given: Sourced<OsString>, zero: &str) -> Result<Delay, Failure> {
    if given.value == OsStr::new("off") {
        return Ok(Delay::Off);
    }
    let number = given.value.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).map(Delay::AfterMs).ok_or_else(|| {
        Failure::configuration(format!(
            "{} {} is not known: give milliseconds from 0 ({zero}) to {}, or off",
            given.origin,
            quoted(&given.value),
            u32::MAX
        ))
    })
}

#[cfg(test)]
mod tests;
