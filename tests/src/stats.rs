//! The report a process writes when it ends (`VMMALLOC_STATS=json`).

use std::fs;
use std::path::Path;

use crate::json::Value;

/// The report of one process.
#[derive(Clone, Debug)]
pub struct Report {
    value: Value,
    text: String,
}

/// One size class of a report.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Bytes of a block.
    pub size: u64,
    /// Slabs in use.
    pub slabs: u64,
    /// Blocks the program holds.
    pub live: u64,
    /// Blocks free in slabs.
    pub free: u64,
    /// Blocks in thread caches.
    pub cached: u64,
}

impl Report {
    /// Reads one line of JSON.
    ///
    /// # Errors
    ///
    /// When it is not a single object on a single line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.strip_suffix('\n').ok_or("the line does not end")?;
        if line.contains('\n') {
            return Err("more than one line".to_owned());
        }
        match Value::parse(line)? {
            value @ Value::Object(_) => Ok(Self { value, text: line.to_owned() }),
            _ => Err("not an object".to_owned()),
        }
    }

    /// Reads the reports in the files of `folder` whose names start with `prefix`. The name's end is the
    /// process id, and must be the one inside.
    ///
    /// # Panics
    ///
    /// When one is not a valid report.
    #[must_use]
    pub fn read_all(folder: &Path, prefix: &str) -> Vec<Self> {
        let mut reports = Vec::new();
        for entry in fs::read_dir(folder).expect("the folder of the reports is gone").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix(prefix) else { continue };
            let text = fs::read_to_string(entry.path()).expect("a report is text");
            let report = Self::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            assert_eq!(report.number("pid").to_string(), pid, "{name} holds another's report");
            reports.push(report);
        }
        reports
    }

    /// The whole, non-negative number called `name`.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.value
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no number {name:?} in {}", self.text))
    }

    /// The program's name.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn program(&self) -> &str {
        self.value
            .get("program")
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no string \"program\" in {}", self.text))
    }

    /// The size classes.
    ///
    /// # Panics
    ///
    /// When they are missing or lack a number.
    #[must_use]
    pub fn classes(&self) -> Vec<Class> {
        let items = self.value.get("classes").and_then(Value::as_array);
        let items = items.unwrap_or_else(|| panic!("no array \"classes\" in {}", self.text));
        items
            .iter()
            .map(|item| {
                let number = |name: &str| {
                    item.get(name)
                        .and_then(Value::as_u64)
                        .unwrap_or_else(|| panic!("no number {name:?} in {item:?}"))
                };
                Class {
                    size: number("size"),
                    slabs: number("slabs"),
                    live: number("live"),
                    free: number("free"),
                    cached: number("cached"),
                }
            })
            .collect()
    }

    /// The line itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
