//! What a pair of malloc and free costs as pools become more and larger: exact instructions.
//!
//! The tracee is `pmem-pool-probe`, a program with the Rust interface of a pool compiled in, so everything
//! between its marks is counted, and the loop alone is counted once more and taken off.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::icount::locations::Locations;
use crate::icount::stepper::{self, Scope};

/// One point: so many pools of this size, used in this way.
#[derive(Clone, Copy, Debug)]
struct Setting {
    pools: usize,
    bytes: u64,
    /// One pool all the time, or each in turn.
    in_turn: bool,
}

/// The smallest size that a pool can have.
const SMALLEST: u64 = 14 << 20;

const fn many(pools: usize, in_turn: bool) -> Setting {
    Setting { pools, bytes: SMALLEST, in_turn }
}

const fn large(bytes: u64) -> Setting {
    Setting { pools: 1, bytes, in_turn: false }
}

const SETTINGS: [Setting; 11] = [
    many(1, false),
    many(10, false),
    many(100, false),
    many(1000, false),
    many(10, true),
    many(100, true),
    many(1000, true),
    large(64 << 20),
    large(1 << 30),
    large(8 << 30),
    large(64 << 30),
];

/// What a pair took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Pools that are alive.
    pub pools: usize,
    /// Size of each in bytes; only what is used takes space.
    pub bytes: u64,
    /// Whether each pool in turn serves a pair, or one of them all.
    pub in_turn: bool,
    /// Instructions of a malloc of 64 bytes and its free.
    pub instructions: f64,
    /// System calls, likewise.
    pub system_calls: f64,
}

/// Counts at all points. `progress` is told what comes next and how far it is, from 0 to 1.
///
/// # Errors
/// The tracee cannot be traced or a pool not be made.
pub fn measure(
    tracee: &Path,
    directory: &Path,
    mut progress: impl FnMut(&str, f64),
) -> Result<Vec<Cost>> {
    let mut all = Vec::new();
    for (index, setting) in SETTINGS.iter().enumerate() {
        let what = format!("{} pool(s) of {}", setting.pools, size_text(setting.bytes));
        progress(&what, index as f64 / SETTINGS.len() as f64);
        all.push(cost(tracee, directory, setting).map_err(|error| {
            Error::new(format!("{what}: {error}; is there room in {}?", directory.display()))
        })?);
    }
    Ok(all)
}

fn cost(tracee: &Path, directory: &Path, setting: &Setting) -> Result<Cost> {
    let pattern = if setting.in_turn { "next" } else { "same" };
    // Each pool at least twice.
    let turns = if setting.in_turn { (2 * setting.pools).max(100) } else { 100 };
    let count = |pattern: &str| {
        let arguments = [
            directory.display().to_string(),
            setting.pools.to_string(),
            setting.bytes.to_string(),
            pattern.to_owned(),
            turns.to_string(),
        ];
        let mut unused = Locations::default().start("", "");
        stepper::count(tracee, &arguments, &[], Scope::Everything, &mut unused)
    };
    let (pairs, loop_alone) = (count(pattern)?, count("empty")?);
    let taken = pairs.instructions[0].saturating_sub(loop_alone.instructions[0]);
    Ok(Cost {
        pools: setting.pools,
        bytes: setting.bytes,
        in_turn: setting.in_turn,
        instructions: taken as f64 / turns as f64,
        system_calls: pairs.system_calls[0] as f64 / turns as f64,
    })
}

fn size_text(bytes: u64) -> String {
    if bytes >= 1 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

/// The table.
pub fn markdown(costs: &[Cost]) -> String {
    let mut text = String::from(
        "### Many pools, large pools\n\nInstructions of a malloc and free of 64 bytes through the Rust interface of a \
         pool, the loop taken off. Pools are sparse.\n\n\
         | pools | size of each | used | instructions |\n|---:|---:|---|---:|\n",
    );
    for cost in costs {
        let used = if cost.in_turn { "each in turn" } else { "one" };
        let _ = write!(
            text,
            "| {} | {} | {used} | {:.1}",
            cost.pools,
            size_text(cost.bytes),
            cost.instructions
        );
        if cost.system_calls > 0.0 {
            let _ = write!(text, " + {:.3} system calls", cost.system_calls);
        }
        text.push_str(" |\n");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_point() {
        let cost = |pools, bytes, in_turn, system_calls| Cost {
            pools,
            bytes,
            in_turn,
            instructions: 38.04,
            system_calls,
        };
        let text = markdown(&[cost(1000, SMALLEST, true, 0.0), cost(1, 64 << 30, false, 0.5)]);
        assert!(text.contains("| 1000 | 14 MiB | each in turn | 38.0 |\n"), "{text}");
        assert!(text.contains("| 1 | 64 GiB | one | 38.0 + 0.500 system calls |\n"), "{text}");
    }
}
