//! Logging: `tracing` to standard error, as text or as JSON.

mod levels;
mod limit;
mod traces;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel};

use levels::{Apply, Levels};
pub use levels::{LevelChange, LevelError, ROOT};
use limit::Limit;
pub use limit::{LeftOut, TELL_EVERY};
pub(crate) use traces::span;
pub use traces::{TraceError, TraceSettings, Traces};

/// The levels of this process, once its log is set up.
static LEVELS: OnceLock<Levels> = OnceLock::new();
/// The bound on its lines.
static LIMIT: OnceLock<Limit> = OnceLock::new();

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` is not a list of directives.
    #[error("RUST_LOG={0:?} is not a log filter: {1}")]
    Filter(String, tracing_subscriber::filter::ParseError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// Something in this process has set up logging before.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// How a process logs.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// How much; `RUST_LOG`, where set and not empty, decides instead.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
    /// Lines a second from one place in the code; 0 is no bound.
    pub lines_a_second: u32,
    /// Where spans go, if anywhere.
    pub traces: Option<TraceSettings>,
}

/// Sends log lines to standard error, once a process, as a tool does.
///
/// # Errors
/// [`LoggingError`].
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), LoggingError> {
    let settings = LogSettings {
        level,
        format,
        lines_a_second: 0,
        traces: None,
    };
    init_with(&settings).map(drop)
}

/// Sends log lines to standard error, and spans where the settings say, once a process.
///
/// # Errors
/// [`LoggingError`].
pub fn init_with(settings: &LogSettings) -> Result<Option<Traces>, LoggingError> {
    let (filter, base) = filter(std::env::var("RUST_LOG").ok(), settings.level)?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let limit = Limit::new(settings.lines_a_second);
    let (layer, traces) = settings
        .traces
        .as_ref()
        .map(traces::layer)
        .transpose()?
        .unzip();
    let form = (settings.format, color);
    let (subscriber, apply) = subscriber(filter, limit.clone(), form, std::io::stderr, layer);
    subscriber.try_init()?;
    let set_up = LEVELS.set(Levels::new(base, apply));
    assert!(set_up.is_ok(), "a subscriber is set up once a process");
    let set_up = LIMIT.set(limit);
    assert!(set_up.is_ok(), "a subscriber is set up once a process");
    Ok(traces)
}

/// Log lines that were left out since the last call, because one place logged too many.
pub fn take_left_out() -> Vec<LeftOut> {
    LIMIT.get().map_or_else(Vec::new, Limit::take_left_out)
}

/// Every logger with its level in Kafka's words, the root first; the root alone where [`init`] has not set this
/// process up.
pub fn levels() -> Vec<(&'static str, String)> {
    let most_verbose = || {
        let level = tracing::level_filters::LevelFilter::current();
        vec![(ROOT, level.to_string().to_uppercase())]
    };
    LEVELS.get().map_or_else(most_verbose, Levels::all)
}

/// Changes levels of loggers, all or none, until the process ends; with `validate_only` nothing is changed.
///
/// # Errors
/// [`LevelError`].
pub fn change_levels(changes: &[LevelChange<'_>], validate_only: bool) -> Result<(), LevelError> {
    let levels = LEVELS.get();
    let levels = levels.ok_or_else(|| LevelError::NotOurs("its filter is fixed".to_owned()))?;
    levels.change(changes, validate_only)
}

/// The filter, and its directives.
fn filter(rust_log: Option<String>, level: LogLevel) -> Result<(EnvFilter, String), LoggingError> {
    let text = rust_log.filter(|text| !text.trim().is_empty());
    let text = text.unwrap_or_else(|| level.word().to_owned());
    match EnvFilter::try_new(&text) {
        Ok(filter) => Ok((filter, text)),
        Err(cause) => Err(LoggingError::Filter(text, cause)),
    }
}

fn subscriber<W, T>(
    filter: EnvFilter,
    limit: Limit,
    (format, color): (LogFormat, bool),
    writer: W,
    traces: T,
) -> (Box<dyn tracing::Subscriber + Send + Sync>, Apply)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    T: Layer<Registry> + Send + Sync,
{
    let (filter, handle) = reload::Layer::new(filter);
    let is_line = filter_fn(|metadata| metadata.target() != traces::TARGET);
    let lines = fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(color).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter.and(is_line).and(limit));
    let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // Layers that filter for themselves must each lie on the registry.
    let subscriber = Registry::default().with(traces.and_then(lines));
    (Box::new(subscriber), Box::new(apply))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, rust_log: Option<&str>) -> String {
        logged_of(format, level, rust_log, &Limit::new(0), |levels| {
            tracing::info!(partition = 3, "took over");
            tracing::debug!("detail");
            levels.change(&[("broker", Some("TRACE"))], false).unwrap();
            tracing::trace!("after a change");
            levels.change(&[("broker", None)], false).unwrap();
            tracing::trace!("when it was taken back");
            let _span = span!("flush", sequence = 3u64).entered();
            tracing::error!("inside of a span");
        })
    }

    fn logged_of(
        format: LogFormat,
        level: LogLevel,
        rust_log: Option<&str>,
        limit: &Limit,
        log: impl FnOnce(&Levels),
    ) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (filter, base) = filter(rust_log.map(str::to_owned), level).unwrap();
        let none = tracing_subscriber::layer::Identity::new();
        let writer = move || writer.clone();
        let (subscriber, apply) = subscriber(filter, limit.clone(), (format, false), writer, none);
        let levels = Levels::new(base, apply);
        tracing::subscriber::with_default(subscriber, || log(&levels));
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_and_json_carry_message_and_fields() {
        let text = logged(LogFormat::Text, LogLevel::Info, None);
        assert!(
            text.contains("took over") && text.contains("partition=3"),
            "{text}"
        );
        assert!(!text.contains("detail"), "{text}");
        let json = logged(LogFormat::Json, LogLevel::Info, None);
        assert!(json.contains("\"message\":\"took over\""), "{json}");
        assert!(json.contains("\"partition\":3"), "{json}");
    }

    #[test]
    fn spans_are_not_in_log_lines() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, LogLevel::Trace, None);
            let line = text.lines().find(|line| line.contains("inside of a span"));
            assert!(!line.unwrap().contains("flush"), "{text}");
        }
    }

    #[test]
    fn a_place_that_logs_too_much_is_cut_counted_and_hides_no_other() {
        let limit = Limit::new(2);
        let text = logged_of(LogFormat::Text, LogLevel::Debug, None, &limit, |_| {
            for number in 0..1000 {
                tracing::warn!(number, "the same again");
                tracing::debug!("for who asks for it");
            }
            tracing::warn!("another");
        });
        let count = |part| text.lines().filter(|line| line.contains(part)).count();
        // Ten at once, and two for each second that this takes.
        assert!((10..=20).contains(&count("the same again")), "{text}");
        assert_eq!((count("for who asks"), count("another")), (1000, 1));
        let left_out = limit.take_left_out();
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert_eq!(left_out[0].lines, 1000 - count("the same again") as u64);
        assert!(
            left_out[0].place.starts_with("broker::logging"),
            "{left_out:?}"
        );
        assert_eq!(limit.take_left_out(), []);
    }

    #[test]
    fn levels_change_while_the_process_logs() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, LogLevel::Error, None);
            assert!(!text.contains("took over"), "{text}");
            assert!(text.contains("after a change"), "{text}");
            assert!(!text.contains("taken back"), "{text}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_level() {
        assert!(logged(LogFormat::Text, LogLevel::Error, Some("debug")).contains("detail"));
        assert!(!logged(LogFormat::Text, LogLevel::Error, Some(" ")).contains("took over"));
        assert!(filter(Some("a=b=c".to_owned()), LogLevel::Info).is_err());
    }
}
