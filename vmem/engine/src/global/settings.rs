//! What a [`VmemAlloc`](super::VmemAlloc) is to make: as the program says, then as the environment
//! says. Pure: no system call but in [`Settings::make`].

use crate::config::{MAX_POOL_BYTES, MIN_POOL_BYTES};
use crate::harden::Harden;
use crate::heap::Overflow;
use crate::pool::{HugePages, Pool, PoolOptions};
use crate::{PurgePolicy, remedy};
use core::ffi::CStr;
use core::fmt;
use pmem_core::env::{ParseSizeError, parse_size};
use pmem_core::error::Error;
use pmem_core::numa::{NodeMask, NumaPolicy};
use pmem_core::source::{Source, SourceKind};

/// What a [`VmemAlloc`](super::VmemAlloc) does when its pool cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// One line on standard error, which names the place, the reason and the remedy; then abort.
    Abort,
    /// The allocator works in anonymous memory, under the same size limit and without a word;
    /// [`VmemAlloc::failure`](super::VmemAlloc::failure) tells the reason.
    Dram,
    /// Every allocation fails. Most programs then end with Rust's "memory allocation failed".
    Fail,
}

/// Where the pool is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Directory(&'static CStr),
    Device(&'static CStr),
    /// In the kernel's list form, `0-1,3`.
    Nodes(&'static str),
    Anonymous,
}

/// See the module text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Settings {
    pub(super) place: Place,
    /// Bytes; a device is used as a whole.
    pub(super) size: usize,
    pub(super) prealloc: bool,
    pub(super) purge: PurgePolicy,
    pub(super) huge_pages: HugePages,
    pub(super) harden: Harden,
    pub(super) dump: bool,
    pub(super) overflow: Overflow,
    pub(super) policy: Policy,
    pub(super) ignore_env: bool,
}

/// A variable of the environment whose value makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Invalid {
    name: &'static CStr,
    value: &'static CStr,
    /// Why, where more can be said than that it is not what is expected.
    why: Option<ParseSizeError>,
    expected: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_bytes().escape_ascii();
        write!(f, "{name}={}", self.value.to_bytes().escape_ascii())?;
        if let Some(why) = self.why {
            write!(f, " {why}")?;
        }
        write!(f, "; use {}", self.expected)
    }
}

/// The variables that are set and not empty.
struct Variables<G> {
    get: G,
}

impl<G: Fn(&'static CStr) -> Option<&'static CStr>> Variables<G> {
    fn value(&self, name: &'static CStr) -> Option<&'static CStr> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    /// Puts the meaning of the variable's word into `setting`.
    fn word<T: Copy>(
        &self,
        name: &'static CStr,
        setting: &mut T,
        words: &[(&CStr, T)],
        expected: &'static str,
    ) -> Result<(), Invalid> {
        if let Some(value) = self.value(name) {
            let known = words.iter().find(|(word, _)| *word == value);
            *setting = known.ok_or(Invalid { name, value, why: None, expected })?.1;
        }
        Ok(())
    }

    fn size(&self, setting: &mut usize) -> Result<(), Invalid> {
        const NAME: &CStr = c"VMEM_ALLOC_SIZE";
        let Some(value) = self.value(NAME) else {
            return Ok(());
        };
        let invalid = |why| Invalid {
            name: NAME,
            value,
            why,
            expected: "a number of bytes, at least 14M and less than 16T",
        };
        let size = parse_size(value.to_bytes()).map_err(|why| invalid(Some(why)))?;
        *setting = usize::try_from(size)
            .ok()
            .filter(|size| (MIN_POOL_BYTES..=MAX_POOL_BYTES).contains(size))
            .ok_or(invalid(None))?;
        Ok(())
    }

    fn purge(&self, setting: &mut PurgePolicy) -> Result<(), Invalid> {
        const NAME: &CStr = c"VMEM_ALLOC_PURGE_MS";
        let Some(value) = self.value(NAME) else {
            return Ok(());
        };
        let text = value.to_bytes();
        let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        *setting = match number.filter(|_| text.iter().all(u8::is_ascii_digit)) {
            _ if text == b"off" => PurgePolicy::Never,
            Some(0) => PurgePolicy::Immediate,
            Some(ms) => PurgePolicy::AfterMs(ms),
            None => {
                let expected = "a number of milliseconds, or off";
                return Err(Invalid { name: NAME, value, why: None, expected });
            }
        };
        Ok(())
    }
}

impl Settings {
    pub(super) const fn new(place: Place, size: usize) -> Settings {
        Settings {
            place,
            size,
            prealloc: false,
            purge: PurgePolicy::AfterMs(crate::config::DEFAULT_PURGE_MS),
            huge_pages: HugePages::Never,
            harden: Harden::Off,
            dump: true,
            overflow: Overflow::Fail,
            policy: Policy::Abort,
            ignore_env: false,
        }
    }

    /// These settings as the environment changes them; `get` finds a variable.
    pub(super) fn changed_by(
        mut self,
        get: impl Fn(&'static CStr) -> Option<&'static CStr>,
    ) -> Result<Settings, Invalid> {
        let variables = Variables { get };
        if let Some(directory) = variables.value(c"VMEM_ALLOC_DIR") {
            self.place = Place::Directory(directory);
        }
        variables.size(&mut self.size)?;
        variables.word(
            c"VMEM_ALLOC_SPACE",
            &mut self.prealloc,
            &[(c"lazy", false), (c"prealloc", true)],
            "lazy or prealloc",
        )?;
        variables.purge(&mut self.purge)?;
        variables.word(
            c"VMEM_ALLOC_HUGEPAGE",
            &mut self.huge_pages,
            &[(c"never", HugePages::Never), (c"advise", HugePages::Advise)],
            "never or advise",
        )?;
        variables.word(
            c"VMEM_ALLOC_HARDEN",
            &mut self.harden,
            &[(c"0", Harden::Off), (c"1", Harden::Checks), (c"2", Harden::Poison)],
            "0, 1 or 2",
        )?;
        variables.word(
            c"VMEM_ALLOC_DUMP",
            &mut self.dump,
            &[(c"0", false), (c"1", true)],
            "0 or 1",
        )?;
        variables.word(
            c"VMEM_ALLOC_OVERFLOW",
            &mut self.overflow,
            &[(c"none", Overflow::Fail), (c"dram", Overflow::Dram)],
            "none or dram",
        )?;
        variables.word(
            c"VMEM_ALLOC_ON_FAILURE",
            &mut self.policy,
            &[(c"abort", Policy::Abort), (c"dram", Policy::Dram), (c"fail", Policy::Fail)],
            "abort, dram or fail",
        )?;
        Ok(self)
    }

    /// Makes the pool.
    pub(super) fn make(&self) -> Result<Pool, Error> {
        let source = match self.place {
            Place::Directory(directory) => Source::in_directory(directory, self.size),
            Place::Device(path) => Source::device_dax(path),
            Place::Nodes(list) => match NodeMask::parse_list(list.as_bytes()) {
                Ok(nodes) => Source::anonymous_on_nodes(self.size, &nodes, NumaPolicy::Bind),
                Err(errno) => Err(Error::new("mbind", errno)),
            },
            Place::Anonymous => Source::anonymous(self.size),
        }?;
        if !self.dump {
            source.dont_dump(true);
        }
        Pool::create(
            source,
            &PoolOptions {
                prealloc: self.prealloc,
                purge: self.purge,
                huge_pages: self.huge_pages,
                harden: self.harden,
                ..PoolOptions::default()
            },
        )
    }

    /// The line that tells why there is no pool, without its newline.
    pub(super) fn complaint(&self, error: &Error, f: &mut impl fmt::Write) -> fmt::Result {
        let kind = match self.place {
            Place::Directory(_) => SourceKind::Directory,
            Place::Device(_) => SourceKind::DeviceDax,
            Place::Nodes(_) | Place::Anonymous => SourceKind::Anonymous,
        };
        write!(f, "vmem: cannot make the pool ")?;
        match self.place {
            Place::Directory(path) => {
                let path = path.to_bytes().escape_ascii();
                write!(f, "of {} bytes in the directory {path}", self.size)?;
            }
            Place::Device(path) => {
                write!(f, "on the device {}", path.to_bytes().escape_ascii())?;
            }
            Place::Nodes(list) => write!(f, "of {} bytes on the nodes {list}", self.size)?,
            Place::Anonymous => write!(f, "of {} bytes in anonymous memory", self.size)?,
        }
        write!(f, ": {error}; {}", remedy(kind, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::{String, ToString};

    const BASE: Settings = Settings::new(Place::Directory(c"/mnt/pmem"), 64 << 20);

    fn changed(variables: &'static [(&CStr, &CStr)]) -> Result<Settings, Invalid> {
        BASE.changed_by(|name| variables.iter().find(|pair| pair.0 == name).map(|pair| pair.1))
    }

    #[test]
    fn an_empty_environment_changes_nothing() {
        assert_eq!(changed(&[]), Ok(BASE));
        assert_eq!(
            changed(&[
                (c"VMEM_ALLOC_DIR", c""),
                (c"VMEM_ALLOC_SIZE", c""),
                (c"VMEM_ALLOC_SPACE", c""),
                (c"VMEM_ALLOC_PURGE_MS", c""),
            ]),
            Ok(BASE)
        );
    }

    #[test]
    fn every_variable_counts() {
        let settings = changed(&[
            (c"VMEM_ALLOC_DIR", c"/dev/shm"),
            (c"VMEM_ALLOC_SIZE", c"2G"),
            (c"VMEM_ALLOC_SPACE", c"prealloc"),
            (c"VMEM_ALLOC_PURGE_MS", c"25"),
            (c"VMEM_ALLOC_HUGEPAGE", c"advise"),
            (c"VMEM_ALLOC_HARDEN", c"2"),
            (c"VMEM_ALLOC_DUMP", c"0"),
            (c"VMEM_ALLOC_OVERFLOW", c"dram"),
            (c"VMEM_ALLOC_ON_FAILURE", c"dram"),
        ]);
        assert_eq!(
            settings,
            Ok(Settings {
                place: Place::Directory(c"/dev/shm"),
                size: 2 << 30,
                prealloc: true,
                purge: PurgePolicy::AfterMs(25),
                huge_pages: HugePages::Advise,
                harden: Harden::Poison,
                dump: false,
                overflow: Overflow::Dram,
                policy: Policy::Dram,
                ignore_env: false,
            })
        );
        let purge = |text| changed(text).map(|settings| settings.purge);
        assert_eq!(purge(&[(c"VMEM_ALLOC_PURGE_MS", c"off")]), Ok(PurgePolicy::Never));
        assert_eq!(purge(&[(c"VMEM_ALLOC_PURGE_MS", c"0")]), Ok(PurgePolicy::Immediate));
    }

    #[test]
    fn nonsense_is_named_with_what_is_expected() {
        let cases: [(&'static [(&CStr, &CStr)], &str); 11] = [
            (
                &[(c"VMEM_ALLOC_SIZE", c"lots")],
                "VMEM_ALLOC_SIZE=lots is not a number of bytes; use",
            ),
            (&[(c"VMEM_ALLOC_SIZE", c"14MB")], "VMEM_ALLOC_SIZE=14MB has an unknown suffix"),
            (
                &[(c"VMEM_ALLOC_SIZE", c"13M")],
                "VMEM_ALLOC_SIZE=13M; use a number of bytes, at least 14M",
            ),
            (&[(c"VMEM_ALLOC_SPACE", c"Lazy")], "VMEM_ALLOC_SPACE=Lazy; use lazy or prealloc"),
            (&[(c"VMEM_ALLOC_PURGE_MS", c"+5")], "VMEM_ALLOC_PURGE_MS=+5; use a number of milli"),
            (&[(c"VMEM_ALLOC_PURGE_MS", c"4294967296")], "; use a number of milliseconds, or off"),
            (&[(c"VMEM_ALLOC_HUGEPAGE", c"1")], "VMEM_ALLOC_HUGEPAGE=1; use never or advise"),
            (&[(c"VMEM_ALLOC_HARDEN", c"yes")], "VMEM_ALLOC_HARDEN=yes; use 0, 1 or 2"),
            (&[(c"VMEM_ALLOC_DUMP", c"no")], "VMEM_ALLOC_DUMP=no; use 0 or 1"),
            (&[(c"VMEM_ALLOC_OVERFLOW", c"\xff")], "VMEM_ALLOC_OVERFLOW=\\xff; use none or dram"),
            (
                &[(c"VMEM_ALLOC_ON_FAILURE", c"die")],
                "VMEM_ALLOC_ON_FAILURE=die; use abort, dram or",
            ),
        ];
        for (variables, part) in cases {
            let text = changed(variables).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn complaints_name_place_reason_and_remedy() {
        let missing = Error::new("open", pmem_core::errno::Errno::ENOENT);
        let complaint = |place| {
            let mut text = String::new();
            Settings::new(place, 16 << 20).complaint(&missing, &mut text).unwrap();
            text
        };
        assert_eq!(
            complaint(Place::Directory(c"/no\nne")),
            "vmem: cannot make the pool of 16777216 bytes in the directory /no\\nne: open: \
             No such file or directory; make the directory, or name one that exists"
        );
        assert_eq!(
            complaint(Place::Device(c"/dev/dax9.9")),
            "vmem: cannot make the pool on the device /dev/dax9.9: open: \
             No such file or directory; name a device-DAX node, such as /dev/dax0.0"
        );
        for (place, part) in [
            (Place::Nodes("7"), "of 16777216 bytes on the nodes 7: "),
            (Place::Anonymous, "of 16777216 bytes in anonymous memory: "),
        ] {
            assert!(complaint(place).contains(part));
        }
    }
}
