//! What the environment asks for. Pure: no system call, no global state.
//!
//! The variables of the contract (`VMMALLOC_POOL_DIR`, `_POOL_SIZE`, `_FORK`) are read exactly as the
//! reference reads them; sizes with suffixes are accepted where it would refuse the value. One of
//! `VMMALLOC_NODES` and `VMMALLOC_DEVICE` takes the place of the directory. Our own
//! variables must hold one of the words they know; an empty one counts as unset.

use core::ffi::CStr;
use core::fmt;
use pmem_core::env::{parse_size, parse_size_atoll};
use pmem_core::numa::{NodeMask, NumaPolicy};
use vmem_engine::fork::{DEFAULT_HOME_MS, ForkMode};
use vmem_engine::{
    Harden, HugePages, Overflow, PurgePolicy, config::DEFAULT_PURGE_MS, config::MIN_POOL_BYTES,
};

/// What the pool is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place<'a> {
    /// A file without a name in this directory.
    Directory(&'a CStr),
    /// A device-DAX node.
    Device(&'a CStr),
    /// Anonymous memory of NUMA nodes.
    Nodes { nodes: NodeMask, policy: NumaPolicy, list: &'a CStr },
}

/// When the pool takes its space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Space {
    /// All at the start: a program that started cannot run out of backing later.
    Prealloc,
    /// As it is needed.
    Lazy,
}

/// How the report at exit is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Lines of name and value.
    Text,
    /// One line with one JSON object.
    Json,
}

/// All settings, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config<'a> {
    pub(crate) place: Place<'a>,
    /// Bytes, at least 14 MiB, not rounded. Only a device has one of its own.
    pub(crate) size: Option<u64>,
    pub(crate) fork: ForkMode,
    /// Milliseconds within which pages come back to the pool after a fork.
    pub(crate) home_ms: Option<u32>,
    pub(crate) space: Space,
    pub(crate) overflow: Overflow,
    pub(crate) purge: PurgePolicy,
    pub(crate) huge_pages: HugePages,
    pub(crate) harden: Harden,
    /// Whether the pool goes into core files.
    pub(crate) dump: bool,
    pub(crate) report: Option<Format>,
    pub(crate) report_file: Option<&'a CStr>,
}

/// Why the environment was refused; [`Display`](fmt::Display) gives the text after
/// `Error (libvmmalloc): `.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Invalid<'a> {
    /// A required variable is not there.
    Missing(&'static str),
    /// The pool size is below zero.
    NegativeSize,
    /// The pool size, in bytes, is too small.
    SizeBelowMinimum(u64),
    /// `VMMALLOC_FORK` is not 0 to 3.
    Fork(i32),
    /// A device has no room for the copies of `VMMALLOC_FORK` 2.
    CopyOfDevice,
    /// Nodes and a device.
    TwoPlaces,
    /// One of our own variables has a value it does not know.
    Choice { name: &'static CStr, value: &'a CStr, known: &'static str },
}

impl fmt::Display for Invalid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Missing(name) => write!(f, "environment variable {name} not specified"),
            Invalid::NegativeSize => f.write_str("negative VMMALLOC_POOL_SIZE"),
            Invalid::SizeBelowMinimum(size) => write!(
                f,
                "VMMALLOC_POOL_SIZE value is less than minimum ({size} < {MIN_POOL_BYTES})"
            ),
            Invalid::Fork(number) => write!(f, "incorrect VMMALLOC_FORK value ({number})"),
            Invalid::CopyOfDevice => f.write_str(
                "VMMALLOC_FORK 2 copies the pool, and VMMALLOC_DEVICE has no room for that: use 1 or 3",
            ),
            Invalid::TwoPlaces => {
                f.write_str("VMMALLOC_NODES and VMMALLOC_DEVICE exclude each other: unset one of them")
            }
            Invalid::Choice { name, value, known } => write!(
                f,
                "incorrect {} value ({}), must be {known}",
                name.to_bytes().escape_ascii(),
                value.to_bytes().escape_ascii()
            ),
        }
    }
}

impl<'a> Config<'a> {
    /// Reads all variables through `get`. The order of the checks is that of the contract.
    pub(crate) fn read(
        get: impl Fn(&'static CStr) -> Option<&'a CStr>,
    ) -> Result<Config<'a>, Invalid<'a>> {
        let choice = Choices { get: &get };
        let place = choice.place()?;
        let size = match (place, get(c"VMMALLOC_POOL_SIZE")) {
            (_, Some(text)) => Some(pool_size(text)?),
            (Place::Device(_), None) => None,
            (_, None) => return Err(Invalid::Missing("VMMALLOC_POOL_SIZE")),
        };
        let fork = match get(c"VMMALLOC_FORK") {
            None => ForkMode::Private,
            Some(text) => fork_mode(text)?,
        };
        if fork == ForkMode::Copy && matches!(place, Place::Device(_)) {
            return Err(Invalid::CopyOfDevice);
        }
        Ok(Config {
            place,
            size,
            fork,
            home_ms: choice.home()?,
            space: choice.one_of(
                c"VMMALLOC_SPACE",
                "prealloc or lazy",
                Space::Prealloc,
                &[(c"prealloc", Space::Prealloc), (c"lazy", Space::Lazy)],
            )?,
            overflow: choice.one_of(
                c"VMMALLOC_OVERFLOW",
                "none or dram",
                Overflow::Fail,
                &[(c"none", Overflow::Fail), (c"dram", Overflow::Dram)],
            )?,
            purge: choice.purge()?,
            huge_pages: choice.one_of(
                c"VMMALLOC_HUGEPAGE",
                "never or advise",
                HugePages::Never,
                &[(c"never", HugePages::Never), (c"advise", HugePages::Advise)],
            )?,
            harden: choice.one_of(
                c"VMMALLOC_HARDEN",
                "0, 1 or 2",
                Harden::Off,
                &[(c"0", Harden::Off), (c"1", Harden::Checks), (c"2", Harden::Poison)],
            )?,
            dump: choice.one_of(
                c"VMMALLOC_DUMP",
                "0 or 1",
                false,
                &[(c"0", false), (c"1", true)],
            )?,
            report: choice.one_of(
                c"VMMALLOC_STATS",
                "text or json",
                None,
                &[(c"text", Some(Format::Text)), (c"json", Some(Format::Json))],
            )?,
            report_file: choice.value(c"VMMALLOC_STATS_FILE"),
        })
    }
}

/// The reference's reading first, so that what it accepts keeps its meaning.
fn pool_size<'a>(text: &'a CStr) -> Result<u64, Invalid<'a>> {
    let plain = parse_size_atoll(text.to_bytes());
    let Ok(plain) = u64::try_from(plain) else {
        return Err(Invalid::NegativeSize);
    };
    if plain >= MIN_POOL_BYTES as u64 {
        return Ok(plain);
    }
    match parse_size(text.to_bytes()) {
        Ok(size) if size >= MIN_POOL_BYTES as u64 => Ok(size),
        Ok(size) => Err(Invalid::SizeBelowMinimum(size)),
        Err(_) => Err(Invalid::SizeBelowMinimum(plain)),
    }
}

fn fork_mode<'a>(text: &'a CStr) -> Result<ForkMode, Invalid<'a>> {
    // As atoi does: the number is read as a long and cut.
    match parse_size_atoll(text.to_bytes()) as i32 {
        0 => Ok(ForkMode::Share),
        1 => Ok(ForkMode::Private),
        2 => Ok(ForkMode::Copy),
        3 => Ok(ForkMode::CopyOrPrivate),
        number => Err(Invalid::Fork(number)),
    }
}

/// Our own variables.
struct Choices<G> {
    get: G,
}

impl<'a, G: Fn(&'static CStr) -> Option<&'a CStr>> Choices<G> {
    fn value(&self, name: &'static CStr) -> Option<&'a CStr> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    fn one_of<T: Copy>(
        &self,
        name: &'static CStr,
        known: &'static str,
        unset: T,
        words: &[(&CStr, T)],
    ) -> Result<T, Invalid<'a>> {
        let Some(value) = self.value(name) else {
            return Ok(unset);
        };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(*meaning),
            None => Err(Invalid::Choice { name, value, known }),
        }
    }

    fn place(&self) -> Result<Place<'a>, Invalid<'a>> {
        const NODES: &CStr = c"VMMALLOC_NODES";
        match (self.value(NODES), self.value(c"VMMALLOC_DEVICE")) {
            (Some(_), Some(_)) => Err(Invalid::TwoPlaces),
            (None, Some(device)) => Ok(Place::Device(device)),
            (None, None) => {
                let directory = (self.get)(c"VMMALLOC_POOL_DIR");
                directory.map(Place::Directory).ok_or(Invalid::Missing("VMMALLOC_POOL_DIR"))
            }
            (Some(list), None) => {
                let (policy, numbers) = match list.to_bytes().strip_prefix(b"prefer:") {
                    Some(numbers) => (NumaPolicy::Preferred, numbers),
                    None => (NumaPolicy::Bind, list.to_bytes()),
                };
                let nodes = NodeMask::parse_list(numbers).ok().filter(|nodes| !nodes.is_empty());
                match nodes {
                    Some(nodes) => Ok(Place::Nodes { nodes, policy, list }),
                    None => Err(Invalid::Choice {
                        name: NODES,
                        value: list,
                        known: "a list of nodes such as 0-1,3, or prefer: and a list",
                    }),
                }
            }
        }
    }

    fn purge(&self) -> Result<PurgePolicy, Invalid<'a>> {
        Ok(match self.milliseconds(c"VMMALLOC_PURGE_MS", DEFAULT_PURGE_MS)? {
            None => PurgePolicy::Never,
            Some(0) => PurgePolicy::Immediate,
            Some(ms) => PurgePolicy::AfterMs(ms),
        })
    }

    fn home(&self) -> Result<Option<u32>, Invalid<'a>> {
        Ok(self.milliseconds(c"VMMALLOC_HOME_MS", DEFAULT_HOME_MS)?.filter(|&ms| ms > 0))
    }

    /// A number, or nothing for `off`.
    fn milliseconds(&self, name: &'static CStr, unset: u32) -> Result<Option<u32>, Invalid<'a>> {
        let Some(value) = self.value(name) else {
            return Ok(Some(unset));
        };
        if value == c"off" {
            return Ok(None);
        }
        let text = value.to_bytes();
        let number = str::from_utf8(text).ok().and_then(|text| text.parse::<u32>().ok());
        match number.filter(|_| text.iter().all(u8::is_ascii_digit)) {
            None => Err(Invalid::Choice { name, value, known: "a number of milliseconds or off" }),
            ms => Ok(ms),
        }
    }
}
