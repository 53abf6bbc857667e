//! A bar chart of the geometric means as SVG.

use std::fmt::Write as _;

use crate::in_process::InProcess;
use crate::matrix::Matrix;
use crate::summary::{Mean, Summary};

const BAR_HEIGHT: usize = 16;
const ROW_HEIGHT: usize = 24;
const LABEL_WIDTH: usize = 170;
const BAR_WIDTH: usize = 420;
const WIDTH: usize = LABEL_WIDTH + BAR_WIDTH + 110;
/// Bars end here: one slow allocator must not make the others unreadable.
const LARGEST_RATIO: f64 = 3.0;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// One bar.
struct Bar<'a> {
    name: &'a str,
    ours: bool,
    value: Option<f64>,
    /// Stands behind the value.
    remark: String,
}

fn bars(svg: &mut String, title: &str, bars: &[Bar<'_>], top: usize) -> usize {
    let _ = writeln!(
        svg,
        r##"<text x="8" y="{}" font-weight="bold">{}</text>"##,
        top + 14,
        escaped(title)
    );
    let shown = bars.iter().filter_map(|bar| bar.value).fold(1.0, f64::max).min(LARGEST_RATIO);
    let scale = BAR_WIDTH as f64 / shown;
    // Drawn first, so that it lies behind bars and numbers.
    let bottom = top + ROW_HEIGHT * (bars.len() + 1);
    let one = LABEL_WIDTH as f64 + scale;
    let _ = writeln!(
        svg,
        r##"<line x1="{one:.1}" y1="{}" x2="{one:.1}" y2="{bottom}" stroke="#0f172a" stroke-dasharray="3 3"/>"##,
        top + ROW_HEIGHT - 4
    );
    let mut y = top + ROW_HEIGHT;
    for bar in bars {
        let baseline = y + BAR_HEIGHT - 4;
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{baseline}" text-anchor="end">{}</text>"##,
            LABEL_WIDTH - 8,
            escaped(bar.name)
        );
        let text = match bar.value {
            Some(value) => {
                let width = (value.min(shown) * scale).round();
                let colour = if bar.ours { "#c2410c" } else { "#64748b" };
                let _ = writeln!(
                    svg,
                    r##"<rect x="{LABEL_WIDTH}" y="{y}" width="{width}" height="{BAR_HEIGHT}" fill="{colour}"/>"##
                );
                if value > shown {
                    cut(svg, LABEL_WIDTH as f64 + width - 24.0, y);
                }
                format!("{value:.2}{}", bar.remark)
            }
            None => "no result".to_owned(),
        };
        // In a column of their own: behind the bars they would lie on the line of the reference.
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{baseline}">{}</text>"##,
            LABEL_WIDTH + BAR_WIDTH + 8,
            escaped(&text)
        );
        y += ROW_HEIGHT;
    }
    y + ROW_HEIGHT / 2
}

/// The sign that a bar does not end here.
fn cut(svg: &mut String, x: f64, y: usize) {
    let _ = writeln!(
        svg,
        r##"<path d="M {x} {} l 8 -{} m 6 0 l -8 {}" stroke="#ffffff" stroke-width="2"/>"##,
        y + BAR_HEIGHT + 2,
        BAR_HEIGHT + 4,
        BAR_HEIGHT + 4
    );
}

fn bars_of_mean<'a>(matrix: &'a Matrix, mean: &Mean, values: &[Option<f64>]) -> Vec<Bar<'a>> {
    matrix
        .allocators
        .iter()
        .zip(values.iter().zip(&mean.finished))
        .map(|(allocator, (&value, &finished))| Bar {
            name: &allocator.name,
            ours: allocator.ours,
            value,
            remark: if finished == mean.cases {
                String::new()
            } else {
                format!(" (cases: {finished})")
            },
        })
        .collect()
}

fn matrix_blocks(body: &mut String, matrix: &Matrix, mut y: usize) -> usize {
    let summary = Summary::of(matrix);
    let drawn = |mean: &&Mean| mean.cases > 0;
    for mean in summary.means.iter().filter(drawn) {
        let title =
            format!("CPU time, {} (cases: {}), {} = 1", mean.group, mean.cases, matrix.reference);
        y = bars(body, &title, &bars_of_mean(matrix, mean, &mean.cpu), y);
    }
    if let Some(all) = summary.means.last().filter(drawn) {
        let title = format!("Memory, all (cases: {}), {} = 1", all.cases, matrix.reference);
        y = bars(body, &title, &bars_of_mean(matrix, all, &all.memory), y);
    }
    y
}

fn in_process_block(body: &mut String, in_process: &InProcess, y: usize) -> usize {
    let means = in_process.means();
    let all: Vec<Bar<'_>> = in_process
        .allocators
        .iter()
        .zip(means)
        .map(|(name, value)| Bar {
            name,
            ours: name.starts_with("vmem"),
            value,
            remark: String::new(),
        })
        .collect();
    let title = format!(
        "Wall time, in one process (cases: {}), {} = 1",
        in_process.cases.len(),
        in_process.reference
    );
    bars(body, &title, &all, y)
}

/// The chart: CPU time for each group and all cases, then memory, then the benches in one process; of what
/// there is.
pub fn render(matrix: Option<&Matrix>, in_process: Option<&InProcess>) -> String {
    let mut body = String::new();
    let mut y = 8;
    if let Some(matrix) = matrix {
        y = matrix_blocks(&mut body, matrix, y);
    }
    if let Some(in_process) = in_process {
        y = in_process_block(&mut body, in_process, y);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#0f172a\">\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process;
    use crate::summary::tests::example;

    #[test]
    fn each_allocator_has_a_bar_in_each_block() {
        let svg = render(Some(&example()), None);
        // Three blocks of CPU time and one of memory, two bars each, and the background.
        assert_eq!(svg.matches("<rect").count(), 4 * 2 + 1);
        assert_eq!(svg.matches("#c2410c").count(), 4);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn names_cannot_break_the_markup() {
        let mut matrix = example();
        matrix.allocators[1].name = "a<b&c".to_owned();
        for run in matrix.runs.iter_mut().filter(|run| run.allocator == "vmmalloc") {
            run.allocator = "a<b&c".to_owned();
        }
        let svg = render(Some(&matrix), None);
        assert!(svg.contains("a&lt;b&amp;c") && !svg.contains("a<b"));
    }

    #[test]
    fn long_bars_are_cut_but_keep_their_number() {
        let mut matrix = example();
        for run in &mut matrix.runs {
            if run.allocator == "vmmalloc" {
                run.usage.user_us *= 100;
            }
        }
        let svg = render(Some(&matrix), None);
        assert!(svg.contains(">50.00<") && svg.contains("<path "), "{svg}");
        assert!(!render(Some(&example()), None).contains("<path "));
        assert!(!svg.contains(&format!("width=\"{}\"", BAR_WIDTH + 1)));
    }

    #[test]
    fn the_benches_in_one_process_have_a_block_of_their_own() {
        let svg = render(None, Some(&in_process::tests::example()));
        assert_eq!(svg.matches("<rect").count(), 2 + 1);
        assert!(svg.contains("in one process (cases: 2), mimalloc = 1"), "{svg}");
        assert!(render(None, None).ends_with("</svg>\n"));
    }

    #[test]
    fn a_mean_over_fewer_cases_says_so() {
        let mut matrix = example();
        matrix.allocators[1].is_partial = true;
        for run in matrix.runs.iter_mut().filter(|run| run.allocator == "vmmalloc") {
            if run.case == "lua" {
                run.failure = Some("signal 11".to_owned());
            }
        }
        let svg = render(Some(&matrix), None);
        assert!(svg.contains(">0.50 (cases: 1)<") && svg.contains(">no result<"), "{svg}");
    }
}
