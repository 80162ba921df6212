//! The levels of loggers, which operators change while the broker runs (KIP-412).
//!
//! *Process-wide.* A logger is a module and what lies below it, `root` everything. What was set holds until it is taken
//! back or the process ends, and goes before what the process was started with.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The logger of everything.
pub const ROOT: &str = "root";

/// The loggers, in order, but for the root: modules with dots in their paths, as Kafka's tool takes no colons.
const LOGGERS: &[&str] = &[
    "broker",
    "broker.api",
    "broker.control",
    "broker.net",
    "broker.partition",
    "broker.shard",
    "broker.start",
    "coord",
    "coord.groups",
    "coord.kv",
    "reader",
    "runtime",
    "store",
    "store.local",
    "store.s3",
];

/// Kafka's levels, in the order of its messages; nothing is logged above ERROR, so FATAL is that.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::ERROR),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

/// Why levels were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// There is no such logger.
    #[error("Logger {0} does not exist!")]
    NoLogger(String),
    /// There is no such level.
    #[error(
        "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log levels are \
         DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    NoLevel {
        /// The logger.
        logger: String,
        /// What was given.
        level: String,
    },
    /// The root has a level.
    #[error("Removing the log level of the root logger is not allowed")]
    Root,
    /// This process does not log by our settings.
    #[error("the log of this process is not set up by the broker: {0}")]
    NotOurs(String),
}

/// A change of one logger: a level in Kafka's words, or none to take back what was set.
pub type LevelChange<'a> = (&'a str, Option<&'a str>);

/// How a filter becomes the one in force.
pub(super) type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The levels of a process.
pub(super) struct Levels {
    /// What the process was started with.
    base: String,
    set: Mutex<BTreeMap<&'static str, LevelFilter>>,
    apply: Apply,
}

impl Levels {
    /// Nothing is set; `base` are the directives that the filter in force was made from.
    pub(super) fn new(base: String, apply: Apply) -> Self {
        Self {
            base,
            set: Mutex::default(),
            apply,
        }
    }

    /// Every logger with the level in force, the root first.
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut levels = started_with(&self.base);
        levels.extend(set.iter().map(|(name, level)| ((*name).to_owned(), *level)));
        let loggers = [ROOT].into_iter().chain(LOGGERS.iter().copied());
        let rows = loggers.map(|name| (name, in_force(&levels, name).to_string().to_uppercase()));
        rows.collect()
    }

    /// Changes levels, all or none; with `validate_only` nothing is changed.
    ///
    /// # Errors
    /// [`LevelError`].
    pub(super) fn change(
        &self,
        changes: &[LevelChange<'_>],
        validate_only: bool,
    ) -> Result<(), LevelError> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = set.clone();
        for (name, level) in changes {
            let name = known(name).ok_or_else(|| LevelError::NoLogger((*name).to_owned()))?;
            match level {
                Some(level) => drop(next.insert(name, parse(name, level)?)),
                None if name == ROOT => return Err(LevelError::Root),
                None => drop(next.remove(name)),
            }
        }
        if validate_only {
            return Ok(());
        }
        let filter = EnvFilter::try_new(directives(&self.base, &next));
        let filter = filter.map_err(|error| LevelError::NotOurs(error.to_string()))?;
        (self.apply)(filter).map_err(LevelError::NotOurs)?;
        *set = next;
        Ok(())
    }
}

fn known(name: &str) -> Option<&'static str> {
    let mut loggers = [ROOT].into_iter().chain(LOGGERS.iter().copied());
    loggers.find(|known| *known == name)
}

fn parse(logger: &str, level: &str) -> Result<LevelFilter, LevelError> {
    let found = LEVELS.iter().find(|(word, _)| *word == level);
    found
        .map(|(_, level)| *level)
        .ok_or_else(|| LevelError::NoLevel {
            logger: logger.to_owned(),
            level: level.to_owned(),
        })
}

/// The directives of a filter: a later one replaces an earlier one about the same.
fn directives(base: &str, set: &BTreeMap<&'static str, LevelFilter>) -> String {
    let mut text = base.to_owned();
    for (name, level) in set {
        text += ",";
        if *name != ROOT {
            text += &name.replace('.', "::");
            text += "=";
        }
        text += &level.to_string();
    }
    text
}

/// The levels of modules in a list of directives, the root's under its name. Directives about spans and fields are
/// about single calls, not about a logger.
fn started_with(base: &str) -> BTreeMap<String, LevelFilter> {
    let mut levels = BTreeMap::new();
    for directive in base.split(',').map(str::trim) {
        let (name, level) = directive.split_once('=').unwrap_or((ROOT, directive));
        match level.parse() {
            Ok(level) => drop(levels.insert(name.replace("::", "."), level)),
            // A module without a level is logged whole.
            Err(_) if name == ROOT => {
                levels.insert(directive.replace("::", "."), LevelFilter::TRACE);
            }
            Err(_) => {}
        }
    }
    levels
}

/// That of the logger, else of the nearest one above it.
fn in_force(levels: &BTreeMap<String, LevelFilter>, name: &str) -> LevelFilter {
    let mut module = name;
    loop {
        if let Some(level) = levels.get(module) {
            return *level;
        }
        match module.rsplit_once('.') {
            Some((above, _)) => module = above,
            None => return levels.get(ROOT).copied().unwrap_or(LevelFilter::OFF),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn levels(base: &str) -> Levels {
        Levels::new(base.to_owned(), Box::new(|_| Ok(())))
    }

    fn level(levels: &Levels, name: &str) -> String {
        let all = levels.all();
        let row = all.into_iter().find(|(known, _)| *known == name);
        row.unwrap().1
    }

    #[test]
    fn a_logger_has_the_level_of_the_nearest_one_above_it() {
        let levels = levels("warn,broker::control=debug,hyper[span{x=1}]=trace");
        assert_eq!(level(&levels, ROOT), "WARN");
        assert_eq!(level(&levels, "store.s3"), "WARN");
        assert_eq!(level(&levels, "broker.control"), "DEBUG");
        let whole = self::levels("warn,coord::kv");
        assert_eq!(level(&whole, "coord.kv"), "TRACE");
        assert_eq!(level(&whole, "coord"), "WARN");
        let changes = [("store", Some("TRACE")), ("root", Some("FATAL"))];
        levels.change(&changes, true).unwrap();
        assert_eq!(level(&levels, "store"), "WARN", "only validated");
        levels.change(&changes, false).unwrap();
        assert_eq!(level(&levels, "store.s3"), "TRACE");
        assert_eq!(level(&levels, "coord"), "ERROR");
        levels
            .change(&[("store", None), ("broker.control", None)], false)
            .unwrap();
        assert_eq!(level(&levels, "store.s3"), "ERROR");
        assert_eq!(level(&levels, "broker.control"), "DEBUG", "as at the start");
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words_and_changes_nothing() {
        let levels = levels("info");
        let refused =
            |changes: &[LevelChange<'_>]| levels.change(changes, false).unwrap_err().to_string();
        assert_eq!(
            refused(&[("kafka", Some("INFO"))]),
            "Logger kafka does not exist!"
        );
        let text = refused(&[("store", Some("DEBUG")), ("broker", Some("debug"))]);
        assert!(
            text.starts_with("Cannot set the log level of broker to debug as"),
            "{text}"
        );
        assert!(refused(&[("root", None)]).contains("root logger is not allowed"));
        assert_eq!(level(&levels, "store"), "INFO");
        let broken = Levels::new("info".to_owned(), Box::new(|_| Err("gone".to_owned())));
        assert!(broken.change(&[("store", Some("DEBUG"))], false).is_err());
        assert_eq!(level(&broken, "store"), "INFO");
    }

    #[test]
    fn what_is_set_goes_before_what_the_process_was_started_with() {
        let set = [(ROOT, LevelFilter::ERROR), ("store.s3", LevelFilter::DEBUG)];
        let text = directives("info,store::s3=warn", &set.into());
        assert_eq!(text, "info,store::s3=warn,error,store::s3=debug");
        let filter = EnvFilter::try_new(text).unwrap().to_string();
        assert!(
            filter.contains("store::s3=debug") && filter.contains("error"),
            "{filter}"
        );
        assert!(
            !filter.contains("warn") && !filter.contains("info"),
            "{filter}"
        );
    }

    #[test]
    fn loggers_are_in_order_and_each_is_a_module() {
        assert!(LOGGERS.windows(2).all(|pair| pair[0] < pair[1]));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for name in LOGGERS {
            let (of, below) = name.split_once('.').unwrap_or((name, ""));
            let sources = match of {
                "broker" => "broker/src",
                "coord" => "coord/src",
                "reader" => "segment/reader/src",
                "runtime" => "broker/runtime/src",
                "store" => "broker/store/src",
                other => panic!("{other} is no crate of ours"),
            };
            let module = root.join(sources).join(below);
            assert!(
                module.is_dir() || module.with_extension("rs").is_file(),
                "{name}"
            );
        }
    }
}
