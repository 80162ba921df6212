//! Logging: `tracing` to standard error, as text or as JSON.

mod levels;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogLevel};

use levels::{Apply, Levels};
pub use levels::{LevelChange, LevelError, ROOT};

/// The levels of this process, once its log is set up.
static LEVELS: OnceLock<Levels> = OnceLock::new();

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` is not a list of directives.
    #[error("RUST_LOG={0:?} is not a log filter: {1}")]
    Filter(String, tracing_subscriber::filter::ParseError),
    /// Something in this process has set up logging before.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines to standard error, once a process. `RUST_LOG`, where set and not empty, decides
/// what is logged; else `level` does.
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), LoggingError> {
    let (filter, base) = filter(std::env::var("RUST_LOG").ok(), level)?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (subscriber, apply) = subscriber(filter, format, color, std::io::stderr);
    subscriber.try_init()?;
    let set_up = LEVELS.set(Levels::new(base, apply));
    assert!(set_up.is_ok(), "a subscriber is set up once a process");
    Ok(())
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

fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    color: bool,
    writer: W,
) -> (Box<dyn tracing::Subscriber + Send + Sync>, Apply)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(color).with_filter_reloading();
            let handle = builder.reload_handle();
            let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (Box::new(builder.finish()), Box::new(apply))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (Box::new(builder.finish()), Box::new(apply))
        }
    }
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
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (filter, base) = filter(rust_log.map(str::to_owned), level).unwrap();
        let (subscriber, apply) = subscriber(filter, format, false, move || writer.clone());
        let levels = Levels::new(base, apply);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(partition = 3, "took over");
            tracing::debug!("detail");
            levels.change(&[("broker", Some("TRACE"))], false).unwrap();
            tracing::trace!("after a change");
            levels.change(&[("broker", None)], false).unwrap();
            tracing::trace!("when it was taken back");
        });
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
