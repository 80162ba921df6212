//! The picture of a run: for each history the throughput over time, with the fault marked. SVG.

use std::fmt::Write;

use super::history::{At, Event};

/// Width of a bucket, in microseconds.
const BUCKET: u64 = 250_000;
const BUCKETS_PER_SECOND: f64 = 4.0;
/// Longest history that is drawn in full, in buckets.
const BUCKETS_MAX: usize = 4_000;
const WIDTH: f64 = 900.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const ROW: f64 = 74.0;
const PLOT: f64 = 46.0;

/// What is drawn of one history.
#[derive(Default)]
struct Row {
    acknowledged: Vec<f64>,
    read: Vec<f64>,
    /// From where to where something was broken, in microseconds.
    faults: Vec<(u64, u64)>,
    marks: Vec<(u64, String)>,
    end: u64,
}

/// Draws histories below each other, by name.
pub fn timeline<'a>(histories: impl IntoIterator<Item = (&'a str, &'a [Event])>) -> String {
    let rows: Vec<(&str, Row)> = histories
        .into_iter()
        .map(|(name, events)| (name, row(events)))
        .collect();
    let end = rows.iter().map(|(_, row)| row.end).max().unwrap_or(0);
    let seconds = (end as f64 / 1e6).max(1.0);
    let height = TOP + ROW * rows.len() as f64 + 24.0;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\">records a second: \
         <tspan fill=\"#1f77b4\">acknowledged</tspan>, <tspan fill=\"#2ca02c\">read</tspan>; \
         <tspan fill=\"#d62728\">red: broken</tspan></text>"
    );
    let x = |micros: u64| LEFT + (micros as f64 / 1e6) / seconds * (WIDTH - LEFT - RIGHT);
    for (number, (name, row)) in rows.iter().enumerate() {
        draw(&mut svg, name, row, TOP + ROW * number as f64, &x);
    }
    let bottom = height - 8.0;
    let step = (seconds / 12.0).ceil().max(1.0) as u64;
    for second in (0..=seconds as u64).step_by(usize::try_from(step).unwrap_or(1)) {
        let at = x(second * 1_000_000);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{bottom:.1}\" text-anchor=\"middle\" fill=\"#555\">{second} s</text>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn row(events: &[Event]) -> Row {
    let mut row = Row::default();
    let mut lengths = std::collections::HashMap::new();
    let mut broken: Option<u64> = None;
    for event in events {
        match event {
            Event::Send { send, values, .. } => {
                lengths.insert(*send, values.len());
            }
            Event::Ok { send, at, .. } => {
                let count = lengths.get(send).copied().unwrap_or(0);
                add(&mut row.acknowledged, *at, count);
                row.end = row.end.max(at.0);
            }
            Event::Poll { records, at, .. } => {
                add(&mut row.read, *at, records.len());
                row.end = row.end.max(at.0);
            }
            Event::Fault { name, at } => {
                broken.get_or_insert(at.0);
                row.marks.push((at.0, name.clone()));
            }
            Event::Mended { at } => {
                if let Some(from) = broken.take() {
                    row.faults.push((from, at.0));
                }
            }
            _ => (),
        }
    }
    if let Some(from) = broken {
        row.faults.push((from, row.end));
    }
    row
}

fn add(buckets: &mut Vec<f64>, at: At, count: usize) {
    let bucket = usize::try_from(at.0 / BUCKET).unwrap_or(usize::MAX);
    let bucket = bucket.min(BUCKETS_MAX);
    if buckets.len() <= bucket {
        buckets.resize(bucket + 1, 0.0);
    }
    if let Some(of) = buckets.get_mut(bucket) {
        *of += count as f64 * BUCKETS_PER_SECOND;
    }
}

fn draw(svg: &mut String, name: &str, row: &Row, top: f64, x: &dyn Fn(u64) -> f64) {
    let base = top + PLOT;
    for (from, to) in &row.faults {
        let (from, to) = (x(*from), x(*to));
        let width = (to - from).max(1.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{PLOT}\" \
             fill=\"#d62728\" fill-opacity=\"0.15\"/>"
        );
    }
    for (at, what) in &row.marks {
        let at = x(*at);
        let what = escaped(what);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{base:.1}\" \
             stroke=\"#d62728\" stroke-dasharray=\"2 2\"><title>{what}</title></line>"
        );
    }
    for (line, color) in [(&row.read, "#2ca02c"), (&row.acknowledged, "#1f77b4")] {
        polyline(svg, line, (base, color), x);
    }
    let right = WIDTH - RIGHT;
    let highest = highest(&row.acknowledged).max(highest(&row.read));
    let (name, middle, low) = (escaped(name), top + PLOT / 2.0, top + PLOT / 2.0 + 14.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{base:.1}\" y2=\"{base:.1}\" stroke=\"#999\"/>\n\
         <text x=\"8\" y=\"{middle:.1}\" font-weight=\"bold\">{name}</text>\n\
         <text x=\"8\" y=\"{low:.1}\" fill=\"#555\">at most {highest:.0}/s</text>"
    );
}

/// Each line has its own scale: what is looked for is where it falls to nothing.
fn polyline(svg: &mut String, line: &[f64], (base, color): (f64, &str), x: &dyn Fn(u64) -> f64) {
    let scale = PLOT / highest(line).max(1.0);
    let mut points = String::new();
    for (number, rate) in (0_u64..).zip(line) {
        let (at, y) = (x(number * BUCKET + BUCKET / 2), base - rate * scale);
        let _ = write!(points, "{at:.1},{y:.1} ");
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\"/>"
    );
}

fn highest(line: &[f64]) -> f64 {
    line.iter().copied().fold(0.0, f64::max)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
