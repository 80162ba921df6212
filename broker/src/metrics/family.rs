//! What a metric is, and the macro that turns the declaration into cells and table.

use super::cell::{Counter, Distribution, FloatGauge, Gauge, Histogram};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of values by size.
    Histogram,
    /// Count and sum of values.
    Summary,
}

impl Shape {
    /// The word in the Prometheus text format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// *Immutable, shared.* The declaration of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Name on the page.
    pub name: &'static str,
    /// How it behaves.
    pub shape: Shape,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Values of its first label, where the declaration fixes them.
    pub values: &'static [&'static str],
    /// Unit on the page.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// Bounds of a histogram with what one of its units is in recorded values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Upper bounds on the page, ascending, without infinity.
    pub(super) bounds: &'static [f64],
    /// Recorded values to one on the page.
    pub(super) factor: f64,
}

/// Scale by the unit of a histogram.
pub(super) fn scale(name: &str, unit: &str) -> Scale {
    const LATENCY: &[f64] = &[
        1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0,
    ];
    const FINE: &[f64] = &[
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0,
        500.0, 1000.0, 2000.0, 5000.0,
    ];
    const SIZE: &[f64] = &[
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262144.0,
        1048576.0,
        4194304.0,
        8388608.0,
        16777216.0,
        67108864.0,
        268435456.0,
    ];
    const NANOS_IN_MS: f64 = 1e6;
    match (name, unit) {
        // The buckets of the original, for dashboards that use them.
        ("kafscale_produce_latency_ms", _) => Scale {
            bounds: LATENCY,
            factor: NANOS_IN_MS,
        },
        (_, "ms") => Scale {
            bounds: FINE,
            factor: NANOS_IN_MS,
        },
        _ => Scale {
            bounds: SIZE,
            factor: 1.0,
        },
    }
}

/// What a cell says.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    Whole(i128),
    Float(f64),
    Spread(Box<Distribution>),
}

/// A cell that the declaration can name.
pub(super) trait Cell {
    fn read(&self) -> Reading;
    /// Adds what the same cell of another shard says.
    fn merge(&self, into: &mut Reading) {
        match (self.read(), into) {
            (Reading::Whole(more), Reading::Whole(total)) => *total += more,
            (Reading::Float(more), Reading::Float(total)) => *total += more,
            _ => {}
        }
    }
}

impl Cell for Counter {
    fn read(&self) -> Reading {
        Reading::Whole(self.get().into())
    }
}

impl Cell for Gauge {
    fn read(&self) -> Reading {
        Reading::Whole(self.get().into())
    }
}

impl Cell for FloatGauge {
    fn read(&self) -> Reading {
        Reading::Float(self.get())
    }
}

impl Cell for Histogram {
    fn read(&self) -> Reading {
        let mut spread = Distribution::default();
        Histogram::read(self, &mut spread);
        Reading::Spread(Box::new(spread))
    }
    fn merge(&self, into: &mut Reading) {
        if let Reading::Spread(total) = into {
            Histogram::read(self, total);
        }
    }
}

/// Called for each cell with the name of its metric, its label value and itself.
pub(super) type Each<'a> = dyn FnMut(&'static str, &'static str, &dyn Cell) + 'a;

/// A struct of cells.
pub(super) trait Cells {
    /// Calls `each` for every cell, in the order of the declaration.
    fn visit(&self, each: &mut Each<'_>);
}

/// Expands a declaration to a struct of cells and its table. A metric is
/// `Cell "name" "unit" [labels] "help" { field, ... }`, and with labels `{ field = "value", ... }`.
/// A label `shard` is filled in on the page.
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        $Name:ident, $table:ident {
            $(
                $Cell:ident $name:literal $unit:literal [$($label:literal),*] $help:literal {
                    $($field:ident $(= $value:literal)?),* $(,)?
                }
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $Name {
            $($(
                #[doc = concat!("`", $name, "` ", $($value,)? ": ", $help)]
                pub $field: $Cell,
            )*)*
        }

        /// The metrics that these cells make, in the order of the page.
        pub static $table: &[Family] = &[
            $(
                Family {
                    name: $name,
                    shape: metrics!(@shape $Cell),
                    labels: &[$($label),*],
                    values: &[$($($value,)?)*],
                    unit: $unit,
                    help: $help,
                },
            )*
        ];

        impl Cells for $Name {
            fn visit(&self, each: &mut Each<'_>) {
                $($( each($name, concat!($($value)?), &self.$field); )*)*
            }
        }
    };
    (@shape Counter) => { Shape::Counter };
    (@shape Gauge) => { Shape::Gauge };
    (@shape FloatGauge) => { Shape::Gauge };
    (@shape Histogram) => { Shape::Histogram };
}
pub(super) use metrics;
