//! The tables.

use std::fmt::Write as _;

use crate::matrix::Matrix;
use crate::summary::{Cell, Mean, Row, Summary};

/// Text of a cell that has no value.
const NONE: &str = "–";

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.decimals$}"))
}

fn ratio_cell(cell: &Cell) -> String {
    match (&cell.failure, cell.cpu) {
        (Some(failure), _) => format!("**{}**", failure.replace('|', "\\|")),
        (None, None) => NONE.to_owned(),
        (None, Some(cpu)) => format!("{:.2} ({:.2}–{:.2})", cpu.median, cpu.min, cpu.max),
    }
}

fn header(text: &mut String, first: &str, matrix: &Matrix) {
    let names: Vec<&str> =
        matrix.allocators.iter().map(|allocator| allocator.name.as_str()).collect();
    let _ = writeln!(text, "| {first} | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
}

fn table(text: &mut String, matrix: &Matrix, rows: &[Row], value: impl Fn(&Cell) -> String) {
    header(text, "case", matrix);
    for row in rows {
        let cells: Vec<String> = row.cells.iter().map(&value).collect();
        let _ = writeln!(text, "| {} | {} |", row.case, cells.join(" | "));
    }
    text.push('\n');
}

fn means(
    text: &mut String,
    matrix: &Matrix,
    means: &[Mean],
    value: impl Fn(&Mean) -> &[Option<f64>],
) {
    header(text, "group (cases)", matrix);
    for mean in means.iter().filter(|mean| mean.cases > 0) {
        let cells: Vec<String> = value(mean)
            .iter()
            .zip(&mean.finished)
            .map(|(value, &finished)| match number(*value, 2) {
                some if value.is_some() && finished != mean.cases => format!("{some} ({finished})"),
                all => all,
            })
            .collect();
        let _ = writeln!(text, "| {} ({}) | {} |", mean.group, mean.cases, cells.join(" | "));
    }
    text.push('\n');
}

fn conditions(text: &mut String, matrix: &Matrix) {
    let _ = writeln!(
        text,
        "{} Seed {}, scale {}, {} rounds. `{}`\n",
        matrix.machine.line(),
        matrix.seed,
        matrix.scale,
        matrix.rounds,
        matrix.command,
    );
    for allocator in &matrix.allocators {
        let _ = writeln!(text, "- **{}**: {}", allocator.name, allocator.description);
    }
    text.push('\n');
}

/// Rows per allocator in the table of the slowest cases.
const MOST_STANDINGS: usize = 12;

/// Where each of ours is slowest in comparison with the best of the others.
fn standings(text: &mut String, matrix: &Matrix, summary: &Summary) {
    let all = summary.standings(matrix);
    for ours in matrix.allocators.iter().filter(|allocator| allocator.ours) {
        let _ = writeln!(
            text,
            "### {} against the best of the others\n\nCPU time; the cases with the largest ratios.\n\n\
             | case | best | ratio |\n|---|---|---:|",
            ours.name
        );
        for standing in
            all.iter().filter(|standing| standing.allocator == ours.name).take(MOST_STANDINGS)
        {
            let _ =
                writeln!(text, "| {} | {} | {:.2} |", standing.case, standing.best, standing.ratio);
        }
        text.push('\n');
    }
}

/// What a live set takes after block sizes have shifted for a while.
fn fragmentation(text: &mut String, matrix: &Matrix, row: &Row) {
    let mib = |bytes: Option<f64>| number(bytes.map(|bytes| bytes / f64::from(1 << 20)), 1);
    let _ = writeln!(
        text,
        "### Fragmentation, case {}\n\nLive bytes as requested; what a pool has committed for them at the end, or how much the \
         resident set grew; their ratio. Of a preallocated pool everything is committed. Then, per live byte: the pages that hold a \
         live byte, below which no allocator can come that leaves blocks where they are; the growth of the resident set at the end of \
         the churn, before the rest; its largest growth in steady state.\n\n\
         | allocator | live MiB | committed MiB | resident MiB | ratio | live pages | before the rest | worst |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|",
        row.case
    );
    for (allocator, cell) in matrix.allocators.iter().zip(&row.cells) {
        let held = cell.held();
        let ratio = held.zip(cell.live_bytes).map(|(held, live)| held / live);
        let per_live = |bytes: Option<f64>| {
            number(bytes.zip(cell.live_bytes).map(|(bytes, live)| bytes / live), 2)
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            allocator.name,
            mib(cell.live_bytes),
            mib(cell.committed_bytes),
            mib(cell.resident_bytes),
            number(ratio, 2),
            per_live(cell.pages_bytes),
            per_live(cell.churn_bytes),
            number(cell.growth_permille.map(|permille| permille / 1000.0), 2),
        );
    }
    text.push('\n');
}

/// All tables of a matrix.
pub fn render(matrix: &Matrix) -> String {
    let summary = Summary::of(matrix);
    let reference = &matrix.reference;
    let mut text = String::new();
    conditions(&mut text, matrix);

    let _ = writeln!(
        text,
        "### CPU time, geometric means\n\nUser and system time, {reference} = 1.00; below is faster.\n"
    );
    means(&mut text, matrix, &summary.means, |mean| &mean.cpu);
    if summary.means.iter().any(|mean| mean.finished.iter().any(|&count| count != mean.cases)) {
        text.push_str(
            "Behind a number in parentheses: an allocator that is known not to run everything finished that many \
             of the cases.\n\n",
        );
    }
    let told: Vec<Mean> = summary
        .means
        .iter()
        .filter(|mean| mean.work.iter().any(Option::is_some))
        .cloned()
        .collect();
    if !told.is_empty() {
        let _ = writeln!(
            text,
            "### CPU time of the work alone, geometric means\n\nWithout the start of the process and of its pool, \
             which the synthetic cases can tell; {reference} = 1.00.\n"
        );
        means(&mut text, matrix, &told, |mean| &mean.work);
    }
    let _ = writeln!(text, "### Wall time, geometric means\n\n{reference} = 1.00.\n");
    means(&mut text, matrix, &summary.means, |mean| &mean.wall);
    let _ = writeln!(
        text,
        "### Memory, geometric means\n\nPeak resident set, or peak pool size where that is larger; {reference} = 1.00. \
         The last row leaves out the cases that stay below 50 MiB under every allocator.\n"
    );
    let mut memory = summary.means.clone();
    memory.push(summary.large.clone());
    means(&mut text, matrix, &memory, |mean| &mean.memory);
    standings(&mut text, matrix, &summary);

    let _ = writeln!(
        text,
        "### CPU time by case\n\nMedian of the paired ratios to {reference}, with the smallest and largest.\n"
    );
    table(&mut text, matrix, &summary.rows, ratio_cell);
    let _ =
        writeln!(text, "### Wall time by case\n\nMedian of the paired ratios to {reference}.\n");
    table(&mut text, matrix, &summary.rows, |cell| number(cell.wall.map(|wall| wall.median), 2));
    text.push_str("### System time by case\n\nSeconds, median.\n\n");
    table(&mut text, matrix, &summary.rows, |cell| number(cell.system_seconds, 3));
    text.push_str(
        "### Page faults by case\n\nMinor faults, median; major ones, which read from a disk, after the plus sign.\n\n",
    );
    table(&mut text, matrix, &summary.rows, |cell| {
        let minor = number(cell.minor_faults, 0);
        match cell.major_faults {
            Some(major) if major > 0.0 => format!("{minor} + {major:.0}"),
            _ => minor,
        }
    });
    text.push_str("### Memory by case\n\nPeak resident set in MiB; for pools, the peak of the pool's file after the plus sign (most of it is part of the resident set).\n\n");
    table(&mut text, matrix, &summary.rows, |cell| {
        let rss = number(cell.rss_kib.map(|kib| kib / 1024.0), 1);
        match cell.pool_kib {
            Some(pool) => format!("{rss} + {:.1}", pool / 1024.0),
            None => rss,
        }
    });
    let grown: Vec<Row> = summary
        .rows
        .iter()
        .filter(|row| row.cells.iter().any(|cell| cell.growth_permille.is_some()))
        .cloned()
        .collect();
    for row in &grown {
        fragmentation(&mut text, matrix, row);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Growth;
    use crate::summary::tests::example;

    #[test]
    fn the_tables_hold_the_ratios() {
        let text = render(&example());
        assert!(text.contains("| case | mimalloc | vmmalloc |\n|---|---:|---:|\n"), "{text}");
        assert!(text.contains("| pair16 | 1.00 (1.00–1.00) | 0.50 (0.50–0.50) |"), "{text}");
        assert!(text.contains("| all (2) | 1.00 | 1.00 |"), "{text}");
        assert!(text.contains("| lua | 1.0 | 1.0 + 3.9 |"), "{text}");
        assert!(text.contains("| lua | mimalloc | 2.00 |"), "{text}");
        assert!(!text.contains("Fragmentation"), "{text}");
    }

    #[test]
    fn a_failure_is_shown_in_its_cell() {
        let mut matrix = example();
        for run in &mut matrix.runs {
            if run.case == "lua" && run.allocator == "vmmalloc" {
                run.failure = Some("signal 11".to_owned());
            }
        }
        assert!(render(&matrix).contains("| lua | 1.00 (1.00–1.00) | **signal 11** |"));
    }

    #[test]
    fn fragmentation_is_committed_by_live_for_pools_and_resident_by_live_for_others() {
        let mut matrix = example();
        for run in matrix.runs.iter_mut().filter(|run| run.case == "lua") {
            run.growth = Some(Growth {
                live_bytes: 10 << 20,
                rss_bytes: 25 << 20,
                rss_worst_permille: 3000,
                rss_churn_bytes: 29 << 20,
                pages_bytes: 12 << 20,
            });
        }
        matrix.pools[0].stats.committed_bytes = 20 << 20;
        let text = render(&matrix);
        assert!(text.contains("### Fragmentation, case lua"), "{text}");
        assert!(
            text.contains("| mimalloc | 10.0 | – | 25.0 | 2.50 | 1.20 | 2.90 | 3.00 |"),
            "{text}"
        );
        assert!(
            text.contains("| vmmalloc | 10.0 | 20.0 | 25.0 | 2.00 | 1.20 | 2.90 | 3.00 |"),
            "{text}"
        );
    }
}
