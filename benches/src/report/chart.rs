//! A bar chart of the geometric means as SVG.

use std::fmt::Write as _;

use crate::matrix::Matrix;
use crate::summary::{Mean, Summary};

const BAR_HEIGHT: usize = 16;
const ROW_HEIGHT: usize = 24;
const LABEL_WIDTH: usize = 150;
const BAR_WIDTH: usize = 420;
const WIDTH: usize = LABEL_WIDTH + BAR_WIDTH + 70;
/// Bars end here: one slow allocator must not make the others unreadable.
const LARGEST_RATIO: f64 = 3.0;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn bars(
    svg: &mut String,
    matrix: &Matrix,
    title: &str,
    values: &[Option<f64>],
    top: usize,
) -> usize {
    let _ = writeln!(
        svg,
        r##"<text x="8" y="{}" font-weight="bold">{}</text>"##,
        top + 14,
        escaped(title)
    );
    let shown = values.iter().flatten().copied().fold(1.0, f64::max).min(LARGEST_RATIO);
    let scale = BAR_WIDTH as f64 / shown;
    // Drawn first, so that it lies behind bars and numbers.
    let bottom = top + ROW_HEIGHT * (matrix.allocators.len() + 1);
    let one = LABEL_WIDTH as f64 + scale;
    let _ = writeln!(
        svg,
        r##"<line x1="{one:.1}" y1="{}" x2="{one:.1}" y2="{bottom}" stroke="#0f172a" stroke-dasharray="3 3"/>"##,
        top + ROW_HEIGHT - 4
    );
    let mut y = top + ROW_HEIGHT;
    for (allocator, value) in matrix.allocators.iter().zip(values) {
        let baseline = y + BAR_HEIGHT - 4;
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{baseline}" text-anchor="end">{}</text>"##,
            LABEL_WIDTH - 8,
            escaped(&allocator.name)
        );
        if let Some(value) = value {
            let width = (value.min(shown) * scale).round();
            let colour = if allocator.ours { "#c2410c" } else { "#64748b" };
            let _ = writeln!(
                svg,
                r##"<rect x="{LABEL_WIDTH}" y="{y}" width="{width}" height="{BAR_HEIGHT}" fill="{colour}"/>"##
            );
            let _ = writeln!(
                svg,
                r##"<text x="{}" y="{baseline}" stroke="#ffffff" stroke-width="4" paint-order="stroke">{value:.2}</text>"##,
                LABEL_WIDTH as f64 + width + 6.0
            );
        }
        y += ROW_HEIGHT;
    }
    y + ROW_HEIGHT / 2
}

/// The chart: CPU time for each group and all cases, then memory.
pub fn render(matrix: &Matrix) -> String {
    let summary = Summary::of(matrix);
    let mut body = String::new();
    let mut y = 8;
    let drawn = |mean: &&Mean| mean.cases > 0;
    for mean in summary.means.iter().filter(drawn) {
        let title =
            format!("CPU time, {} ({} cases), {} = 1", mean.group, mean.cases, matrix.reference);
        y = bars(&mut body, matrix, &title, &mean.cpu, y);
    }
    if let Some(all) = summary.means.last().filter(drawn) {
        let title = format!("Memory, all ({} cases), {} = 1", all.cases, matrix.reference);
        y = bars(&mut body, matrix, &title, &all.memory, y);
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
    use crate::summary::tests::example;

    #[test]
    fn each_allocator_has_a_bar_in_each_block() {
        let svg = render(&example());
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
        let svg = render(&matrix);
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
        let svg = render(&matrix);
        assert!(svg.contains(">50.00<"), "{svg}");
        assert!(!svg.contains(&format!("width=\"{}\"", BAR_WIDTH + 1)));
    }
}
