//! Where the counted instructions lie: module and offset, to be fed to `addr2line` or a disassembler.

use std::collections::HashMap;
use std::fmt::Write as _;

/// How often each address was executed in one probe.
#[derive(Debug, Default)]
pub struct Places {
    allocator: String,
    probe: String,
    /// Executions by address.
    pub counts: HashMap<u64, u64>,
    /// Mappings of the tracee that hold code.
    pub modules: Vec<Module>,
}

/// A mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset of the first address in the file.
    pub offset: u64,
    /// Path of the file.
    pub path: String,
}

/// The executable mappings in the text of a `maps` file.
pub fn modules(maps: &str) -> Vec<Module> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let offset = fields.next()?;
        let path = fields.nth(2)?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        permissions.contains('x').then_some(Module {
            start: number(start)?,
            end: number(end)?,
            offset: number(offset)?,
            path: path.to_owned(),
        })
    };
    maps.lines().filter_map(parse).collect()
}

/// The addresses of all probes.
#[derive(Debug, Default)]
pub struct Locations(Vec<Places>);

impl Locations {
    /// Begins a probe.
    pub fn start(&self, allocator: &str, probe: &str) -> Places {
        Places { allocator: allocator.to_owned(), probe: probe.to_owned(), ..Places::default() }
    }

    /// Keeps the addresses of a finished probe.
    pub fn finish(&mut self, places: Places) {
        self.0.push(places);
    }

    /// One line per probe and address, in the order of the addresses: allocator, probe, executions,
    /// offset in the file, file.
    pub fn csv(&self) -> String {
        let mut text = String::from("allocator,probe,executions,offset,file\n");
        for places in &self.0 {
            let mut addresses: Vec<_> = places.counts.iter().collect();
            addresses.sort_unstable();
            for (&address, count) in addresses {
                let module = places
                    .modules
                    .iter()
                    .find(|module| (module.start..module.end).contains(&address));
                let (offset, path) = match module {
                    Some(module) => (address - module.start + module.offset, module.path.as_str()),
                    None => (address, "?"),
                };
                let _ = writeln!(
                    text,
                    "{},{},{count},{offset:#x},{path}",
                    places.allocator, places.probe
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "55d0-55e0 r--p 00000000 fe:00 12 /usr/bin/x\n\
                        55e0-5600 r-xp 00010000 fe:00 12 /usr/bin/x\n\
                        7f00-7f10 rw-p 00000000 00:00 0 \n\
                        7ff0-7ff8 r-xp 00000000 00:00 0 [vdso]\n";

    #[test]
    fn only_mappings_with_code_are_modules() {
        let modules = modules(MAPS);
        assert_eq!(modules.len(), 2);
        assert_eq!(
            modules[0],
            Module { start: 0x55e0, end: 0x5600, offset: 0x10000, path: "/usr/bin/x".into() }
        );
        assert_eq!(modules[1].path, "[vdso]");
    }

    #[test]
    fn addresses_are_reported_as_offsets_in_their_file() {
        let mut locations = Locations::default();
        let mut places = locations.start("glibc", "pair 16 1");
        places.modules = modules(MAPS);
        places.counts = HashMap::from([(0x55e4, 3), (0x10, 1)]);
        locations.finish(places);
        let expected = "allocator,probe,executions,offset,file\n\
                        glibc,pair 16 1,1,0x10,?\nglibc,pair 16 1,3,0x10004,/usr/bin/x\n";
        assert_eq!(locations.csv(), expected);
    }
}
