//! Spans to an OpenTelemetry collector, where the settings name one.
//!
//! What the control thread does with the stores is a span: flushes, compactions, takeovers, each request to the bucket.
//! Their target is [`TARGET`], which log lines are not made of; without a collector nobody asks for them and they cost a
//! load and a branch. Shards make none: a span takes longer than a hit. A batch processor on a thread of its own sends
//! them; what a collector does not take in time is dropped, so that nothing waits for it.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The target of spans.
pub(super) const TARGET: &str = "kafscale::trace";
/// Longest wait for the collector to take spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans go.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// URL of the collector, which speaks OTLP over gRPC.
    pub endpoint: String,
    /// The fraction of spans that are sent, with all below them.
    pub ratio: f64,
    /// Name of this process among others, such as its host.
    pub instance: String,
}

/// Why spans are not sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The endpoint cannot be used.
    #[error("admin.otlp_endpoint cannot be used: {0}. It is a URL such as http://127.0.0.1:4317")]
    Endpoint(#[from] ExporterBuildError),
    /// There is no thread for them.
    #[error("start the thread that sends spans: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sends spans until the process ends; at the end [`Traces::finish`] sends the last ones.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what is left.
    pub fn finish(&self) {
        // A collector that is away gets nothing more; the exporter has said so.
        let _ = self.0.shutdown_with_timeout(EXPORT_TIMEOUT);
    }
}

/// A layer that sends spans, and what ends it. The collector need not be there yet.
///
/// # Errors
/// [`TraceError`].
pub(super) fn layer<S>(
    settings: &TraceSettings,
) -> Result<(impl Layer<S> + Send + Sync + use<S>, Traces), TraceError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exporter = {
        // The connection lives on this runtime.
        let _entered = runtime.enter();
        SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&settings.endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?
    };
    let connection = std::thread::Builder::new().name("traces".to_owned());
    connection.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    let resource = Resource::builder()
        .with_service_name("kafscale")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            settings.instance.clone(),
        ));
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio)));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource.build())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("kafscale"))
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(|metadata| metadata.target() == TARGET));
    Ok((layer, Traces(provider)))
}

/// A span of what the control thread does, named as its first argument; see [`TARGET`].
macro_rules! span {
    ($name:literal $($fields:tt)*) => {
        tracing::info_span!(target: "kafscale::trace", $name $($fields)*)
    };
}
pub(crate) use span;
