//! Latency by percentile as an SVG picture: both axes logarithmic, no library.

use std::fmt::Write;

use crate::page::escape;

/// One line of the picture.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Percentile and latency in us, both rising.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 300.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Room of one entry of the legend.
const LEGEND_STEP: f64 = 20.0;
/// Colors that people who see few colors can tell apart (Okabe and Ito), repeated as needed.
const COLORS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080", "#b0a000",
];
/// Percentiles that get a grid line.
const TICKS: [(f64, &str); 7] = [
    (0.0, "0"),
    (50.0, "50"),
    (90.0, "90"),
    (99.0, "99"),
    (99.9, "99.9"),
    (99.99, "99.99"),
    (99.999, "99.999"),
];

/// The scales.
struct Axes {
    nines_max: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn new(series: &[Series]) -> Self {
        let points = || series.iter().flat_map(|s| &s.points);
        let nines_max = points().map(|(p, _)| nines(*p)).fold(2.0, f64::max);
        let least = points()
            .map(|(_, us)| us.max(0.1))
            .fold(f64::INFINITY, f64::min);
        let most = points().map(|(_, us)| us.max(0.1)).fold(1.0, f64::max);
        let low = if least.is_finite() {
            least.log10().floor()
        } else {
            0.0
        };
        Self {
            nines_max,
            low,
            high: most.log10().ceil().max(low + 1.0),
        }
    }

    fn x(&self, percentile: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines(percentile) / self.nines_max
    }

    fn y(&self, us: f64) -> f64 {
        let part = (us.max(0.1).log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part
    }
}

/// How many nines a percentile has: 90 has 1, 99 has 2.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

/// Draws the series.
pub fn draw(title: &str, series: &[Series]) -> String {
    let axes = Axes::new(series);
    let mut svg = String::new();
    let mut put = |line: String| {
        svg.push_str(&line);
        svg.push('\n');
    };
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    ));
    put(format!(
        "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"
    ));
    put(text(LEFT, 28.0, "start", 16, title));
    put(grid(&axes));
    for (number, one) in series.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        put(line(&axes, one, color));
        let y = TOP + 8.0 + LEGEND_STEP * number as f64;
        let x = WIDTH - RIGHT + 16.0;
        put(format!(
            "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{color}\"/>",
            y - 6.0
        ));
        put(text(x + 22.0, y, "start", 12, &one.name));
    }
    put("</svg>".to_owned());
    svg
}

fn line(axes: &Axes, series: &Series, color: &str) -> String {
    let mut path = String::new();
    for (percentile, us) in &series.points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(
            path,
            "{command}{:.1} {:.1} ",
            axes.x(*percentile),
            axes.y(*us)
        );
    }
    format!(
        "<path d=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
        path.trim()
    )
}

fn grid(axes: &Axes) -> String {
    let mut lines = String::new();
    let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
    let mut stroke = |x1: f64, y1: f64, x2: f64, y2: f64| {
        let _ = writeln!(
            lines,
            "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" class=\"grid\" stroke=\"#ddd\" fill=\"none\"/>"
        );
    };
    let mut labels = String::new();
    let ticks = TICKS
        .iter()
        .filter(|(percentile, _)| nines(*percentile) <= axes.nines_max);
    for (percentile, label) in ticks {
        let x = axes.x(*percentile);
        stroke(x, top, x, bottom);
        labels.push_str(&text(x, bottom + 18.0, "middle", 12, label));
    }
    let mut decade = axes.low;
    while decade <= axes.high {
        let us = 10_f64.powf(decade);
        let y = axes.y(us);
        stroke(left, y, right, y);
        labels.push_str(&text(left - 8.0, y + 4.0, "end", 12, &unit(us)));
        decade += 1.0;
    }
    let middle = f64::midpoint(left, right);
    labels.push_str(&text(
        middle,
        bottom + 42.0,
        "middle",
        12,
        "percentile of requests",
    ));
    lines + &labels
}

/// A bar of a bar chart.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// How long; 0 or more.
    pub length: f64,
    /// What stands behind it.
    pub label: String,
}

/// Draws bars below each other, on a linear scale from 0.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let left = 220.0;
    let most = bars.iter().map(|bar| bar.length).fold(0.0, f64::max);
    let height = TOP + LEGEND_STEP * bars.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    svg.push_str(&text(left, 28.0, "start", 16, title));
    for (number, bar) in bars.iter().enumerate() {
        let y = TOP + LEGEND_STEP * number as f64;
        let share = if most > 0.0 { bar.length / most } else { 0.0 };
        let width = (WIDTH - left - 120.0) * share;
        let color = COLORS[number % COLORS.len()];
        svg.push_str(&text(left - 8.0, y + 11.0, "end", 12, &bar.name));
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{color}\"/>"
        );
        svg.push_str(&text(left + width + 6.0, y + 11.0, "start", 12, &bar.label));
    }
    svg + "</svg>"
}

/// A latency with a unit that makes it short.
pub fn unit(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "us"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let digits = if value >= 100.0 || value.fract() == 0.0 {
        0
    } else {
        2 - usize::from(value >= 10.0)
    };
    format!("{value:.digits$} {unit}")
}

fn text(x: f64, y: f64, anchor: &str, size: u32, content: &str) -> String {
    let content = escape(content);
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">\
         {content}</text>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_per_series_and_no_number_that_is_none() {
        let series = [
            Series {
                name: "a < b & c".to_owned(),
                points: vec![(0.0, 12.0), (50.0, 40.0), (99.9, 900.0)],
            },
            Series {
                name: "empty".to_owned(),
                points: Vec::new(),
            },
        ];
        let svg = draw("t", &series);
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2);
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        let bar = |length| Bar {
            name: "n".to_owned(),
            length,
            label: "l".to_owned(),
        };
        let svg = bars("t", &[bar(50.0), bar(100.0)]);
        assert!(
            svg.contains("width=\"310.0\"") && svg.contains("width=\"620.0\""),
            "{svg}"
        );
        assert!(!bars("t", &[bar(0.0)]).contains("NaN"));
    }

    #[test]
    fn latencies_are_short() {
        assert_eq!(unit(44.0), "44 us");
        assert_eq!(unit(44.25), "44.2 us");
        assert_eq!(unit(1234.0), "1.23 ms");
        assert_eq!(unit(250_000.0), "250 ms");
        assert_eq!(unit(2_500_000.0), "2.50 s");
    }
}
