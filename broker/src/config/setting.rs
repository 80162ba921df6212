//! What a setting is, and the macro that turns the declaration into types, parser and table.

use std::fmt;

use super::error::Problem;
use super::layered::Layered;

/// *Immutable, shared.* The declaration of one key: everything that the parser, `--help` and
/// `docs/settings.md` say about it comes from here.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Flag name without the dashes; `None` for secrets, which a process list would show.
    pub flag: Option<&'static str>,
    /// Environment names, the preferred one first.
    pub env: &'static [&'static str],
    /// Dotted key in the TOML file; also the name of the setting in messages.
    pub key: &'static str,
    /// What the value is, as shown to a reader: `bytes`, `duration`, `host:port`, ...
    pub unit: &'static str,
    /// True where the value must never be printed.
    pub secret: bool,
    /// Default in the form that a user would write; empty when there is none.
    pub default: &'static str,
    /// What decides the value when nobody sets it, for keys without a fixed default.
    pub computed: &'static str,
    /// Which values are allowed.
    pub allowed: Allowed,
    /// One sentence.
    pub about: &'static str,
}

impl Setting {
    /// The default as documentation shows it.
    pub fn default_text(&self) -> String {
        match (self.default, self.computed) {
            ("", "") => "unset".to_owned(),
            ("", computed) => computed.to_owned(),
            (default, "") => format!("`{default}`"),
            (default, computed) => format!("`{default}` ({computed})"),
        }
    }
}

/// Which values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    /// Any value of its type.
    Any,
    /// Whole numbers from the first to the second, both included.
    Count(u64, u64),
    /// Sizes in bytes from the first to the second, both included.
    Bytes(u64, u64),
    /// Durations in milliseconds from the first to the second, both included.
    Millis(u64, u64),
    /// Fractions from the first to the second, both included.
    Ratio(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Text of at most this many characters out of `A-Z a-z 0-9 . _ -`.
    Name(u64),
    /// Text of at most this many printable characters.
    Text(u64),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => f.write_str("any"),
            Self::Count(low, high) => write!(f, "{low} to {high}"),
            Self::Bytes(low, high) => write!(f, "{} to {}", show_bytes(low), show_bytes(high)),
            Self::Millis(low, high) => write!(f, "{} to {}", show_millis(low), show_millis(high)),
            Self::Ratio(low, high) => write!(f, "{low} to {high}"),
            Self::OneOf(words) => f.write_str(&words.join(", ")),
            Self::Name(chars) => write!(f, "1 to {chars} of letters, digits, `.`, `_`, `-`"),
            Self::Text(chars) => write!(f, "up to {chars} printable characters"),
        }
    }
}

/// A size in the largest binary unit that divides it.
pub(super) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, name) in UNITS {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {name}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

/// A duration in the largest unit that divides it.
pub(super) fn show_millis(millis: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    for (size, name) in UNITS {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{} {name}", millis / size);
        }
    }
    format!("{millis} ms")
}

/// One section of the settings, as [`sections`] declares it.
pub(super) trait Section: Sized {
    /// Its name in the TOML file.
    const NAME: &'static str;
    /// What it is about.
    const ABOUT: &'static str;
    /// Its keys, in the order of the documentation.
    const SETTINGS: &'static [Setting];

    /// Parses every value; each one that is refused becomes a problem.
    fn check(values: &Layered, problems: &mut Vec<Problem>);

    /// Builds it from values that [`Section::check`] found good.
    fn build(values: &Layered) -> Result<Self, Problem>;
}

/// The keys of all sections in one table, which has room for exactly as many.
pub(super) const fn concat<const COUNT: usize>(sections: &[&[Setting]]) -> [Setting; COUNT] {
    let mut all = [sections[0][0]; COUNT];
    let (mut section, mut count) = (0, 0);
    while section < sections.len() {
        let mut place = 0;
        while place < sections[section].len() {
            all[count] = sections[section][place];
            (place, count) = (place + 1, count + 1);
        }
        section += 1;
    }
    assert!(count == COUNT, "every key has its place");
    all
}

/// Expands the declaration of sections to one struct a section, which is a [`Section`].
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $Section:ident {
            $(
                $field:ident: $kind:ty {
                    $flag:expr, $env:expr, $key:literal,
                    default $default:literal $(or $computed:literal)?, in $allowed:expr,
                    $about:literal
                }
            )*
        }
    )*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone)]
            pub struct $Section {
                $(
                    #[doc = $about]
                    pub $field: <$kind as Kind>::Out,
                )*
            }

            impl Section for $Section {
                const NAME: &'static str = stringify!($section);
                const ABOUT: &'static str = concat!($($section_doc),*);
                const SETTINGS: &'static [Setting] = &[
                    $(
                        Setting {
                            flag: $flag,
                            env: &$env,
                            key: $key,
                            unit: <$kind as Kind>::UNIT,
                            secret: <$kind as Kind>::SECRET,
                            default: $default,
                            computed: concat!($($computed)?),
                            allowed: $allowed,
                            about: $about,
                        },
                    )*
                ];

                fn check(values: &Layered, problems: &mut Vec<Problem>) {
                    $( values.check::<$kind>($key, problems); )*
                }

                fn build(values: &Layered) -> Result<Self, Problem> {
                    Ok(Self {
                        $( $field: values.parse::<$kind>($key)?, )*
                    })
                }
            }
        )*
    };
}
pub(super) use sections;

/// Puts sections together to the [`Config`] that holds them, the table [`SETTINGS`], and the two functions that check
/// and build from layered values.
///
/// [`Config`]: super::Config
/// [`SETTINGS`]: super::SETTINGS
macro_rules! settings {
    ($($section:ident: $Section:ident,)*) => {
        /// *Immutable, shared.* Every setting of a broker, checked. Built once at start-up by
        /// [`Config::load`]; a section is a field, a key is a field of its section, and what a
        /// default depends on the machine or on another key for is a method.
        #[derive(Debug, Clone)]
        pub struct Config {
            $(
                #[doc = concat!("The section `[", stringify!($section), "]`.")]
                pub $section: $Section,
            )*
            pub(super) facts: crate::config::machine::Machine,
        }

        const ALL: &[&[Setting]] = &[$($Section::SETTINGS),*];
        const COUNT: usize = 0 $(+ $Section::SETTINGS.len())*;

        /// Every key of the broker, in the order of the documentation.
        pub static SETTINGS: &[Setting] = &concat::<COUNT>(ALL);

        /// The TOML sections with what each is about.
        pub(super) static SECTIONS: &[(&str, &str)] = &[
            $(($Section::NAME, $Section::ABOUT),)*
        ];

        impl Config {
            /// Parses every value; each one that is refused becomes a problem.
            pub(super) fn check(values: &Layered, problems: &mut Vec<Problem>) {
                $( $Section::check(values, problems); )*
            }

            /// Builds the tree from values that [`Config::check`] found good.
            pub(super) fn build(
                values: &Layered,
                facts: crate::config::machine::Machine,
            ) -> Result<Self, Problem> {
                Ok(Self {
                    $( $section: $Section::build(values)?, )*
                    facts,
                })
            }
        }
    };
}
pub(super) use settings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_shown_in_the_largest_unit_that_divides_them() {
        assert_eq!(show_bytes(64 << 20), "64 MiB");
        assert_eq!(show_bytes(1500), "1500 B");
        assert_eq!(show_bytes(0), "0 B");
        assert_eq!(show_millis(250), "250 ms");
        assert_eq!(show_millis(600_000), "10 min");
        assert_eq!(Allowed::Millis(1000, 86_400_000).to_string(), "1 s to 1 d");
    }
}
