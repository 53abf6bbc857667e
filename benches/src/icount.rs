//! Exact numbers of instructions per `malloc` and `free`, by single-stepping a process natively.
//!
//! The tracee is `pmem-workloads instruction-probe`: it warms the allocator up at full speed and then runs
//! the operations between marks. Only what is executed outside the tracee's own code counts, so the loop,
//! the call and the jump through the PLT are no part of the figures; the `ret` of the function is. An
//! allocator that does nothing in `free` has 1.

pub mod kept;
pub mod locations;
#[cfg_attr(not(target_arch = "x86_64"), path = "icount/stepper_unsupported.rs")]
pub mod stepper;

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::allocator::Allocator;
use crate::error::{Error, Result};
use locations::Locations;
use stepper::Scope;

/// What the instructions are counted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `malloc` and `free` of one block, repeated.
    Pair,
    /// `calloc` and `free` of one block, repeated.
    Calloc,
    /// `realloc` to a size that the block has room for, repeated.
    Realloc,
    /// `malloc_usable_size` of one block, repeated.
    UsableSize,
    /// 200 blocks are allocated and then freed in the same order; the slow paths are part of the mean.
    Batch,
}

impl Pattern {
    /// Name on the command line of the tracee.
    fn argument(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Calloc => "calloc",
            Self::Realloc => "realloc",
            Self::UsableSize => "usable-size",
            Self::Batch => "batch",
        }
    }

    /// Name in the tables.
    fn title(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Calloc => "calloc pair",
            Self::Realloc => "realloc in place",
            Self::UsableSize => "malloc_usable_size",
            Self::Batch => "batch",
        }
    }
}

/// One probe.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Pattern of the calls.
    pub pattern: Pattern,
    /// Size of the blocks in bytes.
    pub size: usize,
    /// Pairs or calls, or blocks of a batch.
    pub count: u64,
    /// Batches; 1 for everything else.
    pub rounds: u64,
}

const fn repeated(pattern: Pattern, size: usize, count: u64) -> Probe {
    Probe { pattern, size, count, rounds: 1 }
}

const fn pair(size: usize, count: u64) -> Probe {
    repeated(Pattern::Pair, size, count)
}

const fn batch(size: usize) -> Probe {
    Probe { pattern: Pattern::Batch, size, count: 200, rounds: 2 }
}

/// All probes, small sizes first. A step costs tens of microseconds in a virtual machine, so the counts are
/// small; the tracee is in a steady state before the first one, and more of the same changes nothing.
pub const PROBES: [Probe; 10] = [
    pair(16, 100),
    batch(64),
    repeated(Pattern::Calloc, 64, 100),
    repeated(Pattern::Realloc, 64, 100),
    repeated(Pattern::UsableSize, 64, 100),
    batch(1000),
    pair(8 << 10, 30),
    pair(40 << 10, 10),
    pair(200 << 10, 10),
    pair(2 << 20, 5),
];

/// From this size on blocks go back to the medium by the clock, and counts differ from run to run: shown,
/// but not checked.
const UNSTEADY_BYTES: usize = 2 << 20;

impl Probe {
    /// Arguments of the tracee.
    pub fn arguments(&self) -> Vec<String> {
        let mut all =
            vec![self.pattern.argument().to_owned(), self.size.to_string(), self.count.to_string()];
        if self.pattern == Pattern::Batch {
            all.push(self.rounds.to_string());
        }
        all
    }

    /// Name for a filter: "pair 16 B" or "batch 64 B".
    pub fn name(&self) -> String {
        format!("{} {}", self.pattern.title(), self.size_text())
    }

    /// Whether the counts are the same each time.
    pub fn is_steady(&self) -> bool {
        self.size < UNSTEADY_BYTES
    }

    fn size_text(&self) -> String {
        match self.size {
            size if size >= 1 << 20 => format!("{} MiB", size >> 20),
            size if size >= 1 << 10 => format!("{} KiB", size >> 10),
            size => format!("{size} B"),
        }
    }
}

/// Keeps the C library from choosing `memset` and `memcpy` by processor, so that counts which contain them
/// are the same on every x86-64 machine.
const BASELINE_STRING_FUNCTIONS: &str =
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load";

/// Instructions and system calls of the two kinds of operation of one probe.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Instructions after mark 1 and after mark 2.
    pub instructions: [u64; 2],
    /// System calls, likewise.
    pub system_calls: [u64; 2],
}

/// A row of the table for one allocator: instructions per operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// "pair 16 B", "malloc 64 B" or "free 64 B".
    pub operation: String,
    /// Instructions per operation.
    pub instructions: f64,
    /// System calls per operation.
    pub system_calls: f64,
}

/// All figures of one allocator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Name of the allocator.
    pub allocator: String,
    /// Its figures in the order of the probes.
    pub figures: Vec<Figure>,
}

fn figures(probe: &Probe, counts: &Counts) -> Vec<Figure> {
    let operations = (probe.count * probe.rounds) as f64;
    let figure = |kind: &str, index: usize| Figure {
        operation: format!("{kind} {}", probe.size_text()),
        instructions: counts.instructions[index] as f64 / operations,
        system_calls: counts.system_calls[index] as f64 / operations,
    };
    match probe.pattern {
        Pattern::Batch => vec![figure("malloc", 0), figure("free", 1)],
        single => vec![figure(single.title(), 0)],
    }
}

/// Counts the probes whose name is wanted under one allocator.
///
/// # Errors
/// The tracee cannot be started, ends early, or runs for ever.
pub fn measure(
    tracee: &Path,
    allocator: &Allocator,
    wanted: impl Fn(&Probe) -> bool,
    locations: &mut Locations,
) -> Result<Column> {
    let mut all = Vec::new();
    for probe in PROBES.iter().filter(|probe| wanted(probe)) {
        let mut arguments = vec!["instruction-probe".to_owned()];
        arguments.extend(probe.arguments());
        let mut places = locations.start(&allocator.name, &arguments[1..].join(" "));
        let mut environment = allocator.environment();
        environment.push(("GLIBC_TUNABLES".to_owned(), BASELINE_STRING_FUNCTIONS.to_owned()));
        let counts =
            stepper::count(tracee, &arguments, &environment, Scope::OutsideProgram, &mut places)
                .map_err(|error| {
                    Error::new(format!(
                        "{} under {}: {error}",
                        arguments[1..].join(" "),
                        allocator.name
                    ))
                })?;
        locations.finish(places);
        all.extend(figures(probe, &counts));
    }
    Ok(Column { allocator: allocator.name.clone(), figures: all })
}

/// The table: operations down, allocators across; system calls where there are any.
pub fn markdown(columns: &[Column]) -> String {
    let mut text = String::new();
    let names: Vec<&str> = columns.iter().map(|column| column.allocator.as_str()).collect();
    let _ = writeln!(text, "| instructions | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
    let operations = columns.first().map_or(&[][..], |column| &column.figures);
    for (row, first) in operations.iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let figure = &column.figures[row];
                if figure.system_calls > 0.0 {
                    format!("{:.0} + {:.3} system calls", figure.instructions, figure.system_calls)
                } else {
                    format!("{:.0}", figure.instructions)
                }
            })
            .collect();
        let _ = writeln!(text, "| {} | {} |", first.operation, cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(instructions: f64, system_calls: f64) -> Column {
        let operation = "pair 16 B".to_owned();
        Column {
            allocator: "vmmalloc".to_owned(),
            figures: vec![Figure { operation, instructions, system_calls }],
        }
    }

    #[test]
    fn counts_become_figures_per_operation() {
        let counts = Counts { instructions: [7_200, 8_800], system_calls: [0, 200] };
        let figures = figures(&batch(64), &counts);
        assert_eq!(figures[0].operation, "malloc 64 B");
        assert_eq!(figures[0].instructions, 18.0);
        assert_eq!(figures[1].instructions, 22.0);
        assert_eq!(figures[1].system_calls, 0.5);
        let figures = super::figures(&pair(8192, 200), &counts);
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].operation, "pair 8 KiB");
    }

    #[test]
    fn the_table_shows_system_calls_where_there_are_any() {
        let text = markdown(&[column(32.4, 0.0), column(900.0, 2.0)]);
        assert!(text.contains("| pair 16 B | 32 | 900 + 2.000 system calls |"), "{text}");
    }
}
