//! Logging: `tracing` to standard error, as text or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogLevel};

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
    let filter = filter(std::env::var("RUST_LOG").ok(), level)?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(filter, format, color, std::io::stderr).try_init()?;
    Ok(())
}

fn filter(rust_log: Option<String>, level: LogLevel) -> Result<EnvFilter, LoggingError> {
    let text = rust_log.filter(|text| !text.trim().is_empty());
    let text = text.unwrap_or_else(|| level.word().to_owned());
    EnvFilter::try_new(&text).map_err(|cause| LoggingError::Filter(text, cause))
}

fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    color: bool,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(color).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
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
        let filter = filter(rust_log.map(str::to_owned), level).unwrap();
        let subscriber = subscriber(filter, format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(partition = 3, "took over");
            tracing::debug!("detail");
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
    fn the_environment_goes_before_the_level() {
        assert!(logged(LogFormat::Text, LogLevel::Error, Some("debug")).contains("detail"));
        assert!(logged(LogFormat::Text, LogLevel::Error, Some(" ")).is_empty());
        assert!(filter(Some("a=b=c".to_owned()), LogLevel::Info).is_err());
    }
}
