//! The counts that are allowed, and how counts are compared with them.
//!
//! A file of lines, for one kind of processor: comments, `compiler VERSION`, then for each workload its name
//! and its counts, separated by tabs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Counts;

/// How much more than the baseline is allowed, in percent.
const TOLERANCE_PERCENT: u64 = 5;
/// The same where another compiler built the program: it inlines in other places.
const OTHER_COMPILER_PERCENT: u64 = 15;

/// The committed counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baseline {
    /// The compiler that made the program, as `rustc --version` tells.
    pub compiler: String,
    /// Counts by workload.
    pub counts: BTreeMap<String, Counts>,
}

/// Why a baseline cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// A line with too few or wrong fields.
    #[error("baseline: line {0} cannot be read: {1}")]
    Line(usize, String),
    /// It does not name a compiler.
    #[error("baseline: there is no line `compiler`")]
    Compiler,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// So much less that the baseline should be renewed, or the next slowdown will hide in the gap.
    Less,
    /// More than allowed, and what is.
    More(Vec<&'static str>),
    /// The baseline does not have it.
    Unknown,
}

impl Baseline {
    /// Reads the file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let mut baseline = Self::default();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(compiler) = line.strip_prefix("compiler ") {
                compiler.clone_into(&mut baseline.compiler);
                continue;
            }
            let (name, counts) =
                row(line).ok_or_else(|| BaselineError::Line(number + 1, line.to_owned()))?;
            baseline.counts.insert(name.to_owned(), counts);
        }
        if baseline.compiler.is_empty() {
            return Err(BaselineError::Compiler);
        }
        Ok(baseline)
    }

    /// The file.
    pub fn to_text(&self) -> String {
        let mut text =
            "# What the workloads of the gate take; see docs/performance.md. Written by \
            `scripts/perf-gate renew`.\n# workload, instructions, calls out, allocations\n"
                .to_owned();
        let _ = writeln!(text, "compiler {}", self.compiler);
        for (name, counts) in &self.counts {
            let Counts {
                instructions,
                calls_out,
                allocations,
            } = counts;
            let _ = writeln!(text, "{name}\t{instructions}\t{calls_out}\t{allocations}");
        }
        text
    }

    /// How much more than the baseline is allowed to a program that `compiler` made, in percent.
    pub fn tolerance_percent(&self, compiler: &str) -> u64 {
        if self.compiler == compiler {
            TOLERANCE_PERCENT
        } else {
            OTHER_COMPILER_PERCENT
        }
    }

    /// Compares. Instructions and calls may be more by the tolerance, allocations may not be more at all.
    pub fn compare(&self, name: &str, found: Counts, tolerance_percent: u64) -> Verdict {
        let Some(allowed) = self.counts.get(name) else {
            return Verdict::Unknown;
        };
        let above = |found: u64, allowed: u64| found * 100 > allowed * (100 + tolerance_percent);
        let rules = [
            (
                above(found.instructions, allowed.instructions),
                "instructions",
            ),
            (above(found.calls_out, allowed.calls_out), "calls out"),
            (found.allocations > allowed.allocations, "allocations"),
        ];
        let more: Vec<_> = rules
            .iter()
            .filter_map(|(is_more, what)| is_more.then_some(*what))
            .collect();
        if !more.is_empty() {
            return Verdict::More(more);
        }
        if found.instructions * 100 < allowed.instructions * (100 - tolerance_percent)
            || found.allocations < allowed.allocations
        {
            return Verdict::Less;
        }
        Verdict::Same
    }
}

fn row(line: &str) -> Option<(&str, Counts)> {
    let mut fields = line.split('\t');
    let name = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    let counts = Counts {
        instructions: number()?,
        calls_out: number()?,
        allocations: number()?,
    };
    fields.next().is_none().then_some((name, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: u64, calls_out: u64, allocations: u64) -> Counts {
        Counts {
            instructions,
            calls_out,
            allocations,
        }
    }

    fn baseline() -> Baseline {
        Baseline {
            compiler: "rustc 1.95.0".into(),
            counts: [("a/b".to_owned(), counts(1_000, 100, 10))].into(),
        }
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let text = baseline().to_text();
        assert_eq!(Baseline::parse(&text), Ok(baseline()));
        assert_eq!(Baseline::parse("# c\n"), Err(BaselineError::Compiler));
        for row in ["a/b\t1\t2", "a/b\t1\t2\t3\t4", "a/b\tx\t2\t3"] {
            let text = format!("compiler c\n{row}\n");
            let error = BaselineError::Line(2, row.to_owned());
            assert_eq!(Baseline::parse(&text), Err(error));
        }
    }

    #[test]
    fn what_is_allowed_and_what_is_not() {
        let of = |a, b, c| baseline().compare("a/b", counts(a, b, c), 5);
        assert_eq!(of(1_000, 100, 10), Verdict::Same);
        assert_eq!(of(1_050, 105, 10), Verdict::Same);
        assert_eq!(of(1_051, 105, 10), Verdict::More(vec!["instructions"]));
        assert_eq!(of(1_000, 106, 10), Verdict::More(vec!["calls out"]));
        assert_eq!(of(1_000, 100, 11), Verdict::More(vec!["allocations"]));
        assert_eq!(of(900, 100, 10), Verdict::Less);
        assert_eq!(of(1_000, 99, 9), Verdict::Less);
        let unknown = baseline().compare("a/c", counts(1, 1, 1), 5);
        assert_eq!(unknown, Verdict::Unknown);
    }

    #[test]
    fn another_compiler_is_given_more_but_less_than_what_is_planted() {
        let baseline = baseline();
        let same = baseline.tolerance_percent("rustc 1.95.0");
        let other = baseline.tolerance_percent("rustc 1.96.0");
        assert!(same < other);
        assert!(other < u64::from(super::super::PLANTED_PERCENT));
    }
}
