//! Hit ratio over size, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 36.0;
const PLOT_WIDTH: f64 = 470.0;
const PLOT_HEIGHT: f64 = 310.0;
const COLOURS: [&str; 8] =
    ["#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#0e7490", "#a16207", "#be185d", "#475569"];

/// A curve: its name, and points of size and hits in per cent.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The name in the legend.
    pub name: String,
    /// The points, by size.
    pub points: Vec<(u64, f64)>,
}

/// Draws curves over a logarithmic scale of sizes. `unit` is what sizes count.
pub fn draw(title: &str, unit: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let smallest = points().map(|point| point.0).min().unwrap_or(1).max(1) as f64;
    let largest = points().map(|point| point.0).max().unwrap_or(1).max(2) as f64;
    let decades = (largest / smallest).log10().max(0.01);
    let top = (points().map(|point| point.1).fold(1.0, f64::max) / 10.0).ceil() * 10.0;
    let x = |size: f64| LEFT + PLOT_WIDTH * (size.max(1.0) / smallest).log10() / decades;
    let y = |percent: f64| TOP + PLOT_HEIGHT * (1.0 - percent / top);

    let mut svg = String::new();
    let out = &mut svg;
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="20" font-weight="bold">{}</text>"##,
        escaped(title)
    );
    let step = if top > 50.0 { 20.0 } else { 10.0 };
    let mut percent = 0.0;
    while percent <= top {
        let _ = writeln!(
            out,
            r##"<line x1="{LEFT}" y1="{0:.1}" x2="{1}" y2="{0:.1}" stroke="#e2e8f0"/><text x="{2}" y="{3:.1}" text-anchor="end">{percent}</text>"##,
            y(percent),
            LEFT + PLOT_WIDTH,
            LEFT - 6.0,
            y(percent) + 4.0
        );
        percent += step;
    }
    let bottom = TOP + PLOT_HEIGHT;
    let mut tick = 10f64.powf(smallest.log10().floor());
    while tick <= largest * 1.001 {
        for size in [tick, 2.0 * tick, 5.0 * tick] {
            if size >= smallest * 0.999 && size <= largest * 1.001 {
                let _ = writeln!(
                    out,
                    r##"<line x1="{0:.1}" y1="{TOP}" x2="{0:.1}" y2="{bottom}" stroke="#f1f5f9"/><text x="{0:.1}" y="{1}" text-anchor="middle">{2}</text>"##,
                    x(size),
                    bottom + 16.0,
                    short(size)
                );
            }
        }
        tick *= 10.0;
    }
    let _ = writeln!(
        out,
        r##"<text x="{}" y="{}" text-anchor="middle">{}</text><text x="{LEFT}" y="{}" text-anchor="end">%</text>"##,
        LEFT + PLOT_WIDTH / 2.0,
        bottom + 36.0,
        escaped(unit),
        TOP - 6.0
    );
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let width = if i == 0 { 2.5 } else { 1.5 };
        let path: Vec<_> = curve
            .points
            .iter()
            .map(|&(size, percent)| format!("{:.1},{:.1}", x(size as f64), y(percent)))
            .collect();
        let legend = TOP + 14.0 + 18.0 * i as f64;
        let (left, right) = (LEFT + PLOT_WIDTH + 12.0, LEFT + PLOT_WIDTH + 32.0);
        let _ = writeln!(
            out,
            r##"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}"/>
<line x1="{left}" y1="{legend}" x2="{right}" y2="{legend}" stroke="{colour}" stroke-width="{width}"/><text x="{}" y="{}">{}</text>"##,
            path.join(" "),
            right + 6.0,
            legend + 4.0,
            escaped(&curve.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// 1000 as 1k, and so on.
fn short(number: f64) -> String {
    for (limit, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if number >= limit {
            return format!("{}{suffix}", number / limit);
        }
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_each_curve_within_its_frame() {
        let curve = |name: &str, points| Curve { name: name.into(), points };
        let curves = [
            curve("lru", vec![(100, 10.0), (1000, 20.0), (10_000, 61.0)]),
            curve("a<b", vec![(100, 12.0), (1000, 25.0), (10_000, 60.0)]),
        ];
        let svg = draw("title", "entries", &curves);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a&lt;b") && svg.contains(">1k<") && svg.contains(">title<"));
        let first = format!("{LEFT:.1},");
        let last = format!("{:.1},", LEFT + PLOT_WIDTH);
        assert!(svg.contains(&first) && svg.contains(&last));
    }
}
