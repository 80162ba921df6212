//! The results as one page that stands alone: a table, latency by percentile, throughput. Nothing is loaded
//! from elsewhere, and there is no script; it follows the reader's light or dark scheme.

use std::fmt::Write;

use crate::plot::{self, Bar, unit};
use crate::report::{Outcome, main_origin, series};

/// The page's looks. The pictures' own colors, which serve the bare `.svg`, give way to them.
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--faint:#ddd}
@media(prefers-color-scheme:dark){:root{--paper:#16181c;--ink:#e6e6e6;--faint:#3a3d44}}
body{background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
code{overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--faint);padding:.25rem .6rem;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
svg{height:auto;max-width:100%;width:100%}
svg .paper{fill:var(--paper)}svg text{fill:var(--ink)}svg .grid{stroke:var(--faint)}";

/// Draws the page.
pub fn draw(outcomes: &[Outcome]) -> String {
    let mut page = String::new();
    let origin = main_origin(outcomes);
    let title = origin.map_or_else(String::new, |o| format!("{} {}", o.broker, o.commit));
    let mut put = |line: &str| {
        page.push_str(line);
        page.push('\n');
    };
    put("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    put("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    put(&format!(
        "<title>{}</title>\n<style>\n{STYLE}\n</style></head><body>",
        escape(&title)
    ));
    put(&format!("<h1>{}</h1>", escape(&title)));
    if let Some(origin) = origin {
        let (date, machine) = (escape(&origin.date), escape(&origin.machine.to_string()));
        put(&format!("<p>{date}, {machine}</p>"));
        put(&format!("<p><code>{}</code></p>", escape(&origin.command)));
    }
    put("<h2>Results</h2>");
    put(&table(outcomes));
    put("<h2>Latency by percentile</h2>");
    put(&plot::draw(&title, &series(outcomes)));
    put("<h2>Throughput</h2>");
    put(&plot::bars(
        "requests a second",
        &bars(outcomes, |o| {
            (o.requests_per_s, format!("{:.0}", o.requests_per_s))
        }),
    ));
    put(&plot::bars(
        "MB a second",
        &bars(outcomes, |o| (o.mb_per_s, format!("{:.1}", o.mb_per_s))),
    ));
    put("</body></html>");
    page
}

fn bars(outcomes: &[Outcome], value: impl Fn(&Outcome) -> (f64, String)) -> Vec<Bar> {
    let bar = |outcome: &Outcome| {
        let (length, label) = value(outcome);
        let name = outcome.name.clone();
        Bar {
            name,
            length,
            label,
        }
    };
    outcomes.iter().map(bar).collect()
}

fn table(outcomes: &[Outcome]) -> String {
    let mut rows = String::from(
        "<div class=\"wide\"><table><thead><tr><th>run</th><th>requests/s</th><th>MB/s</th><th>p50</th>\
         <th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>CPU s/GB</th><th>errors</th></tr></thead><tbody>\n",
    );
    for outcome in outcomes {
        let latency = &outcome.latency;
        let cpu = outcome.broker_cpu_s_per_gb;
        let cells = [
            outcome.name.clone(),
            format!("{:.0}", outcome.requests_per_s),
            format!("{:.1}", outcome.mb_per_s),
            unit(latency.p50_us),
            unit(latency.p90_us),
            unit(latency.p99_us),
            unit(latency.p999_us),
            unit(latency.max_us),
            cpu.map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.2}")),
            outcome.errors.to_string(),
        ];
        let cells = cells.map(|cell| format!("<td>{}</td>", escape(&cell)));
        // Writing to a string cannot fail.
        let _ = writeln!(rows, "<tr>{}</tr>", cells.concat());
        for note in outcome.notes.iter().chain(&outcome.first_error) {
            let _ = writeln!(rows, "<tr><td colspan=\"10\">{}</td></tr>", escape(note));
        }
    }
    rows + "</tbody></table></div>"
}

/// As text of a page.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
