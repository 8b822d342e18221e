//! Metrics in the form that Prometheus reads (OpenMetrics text). Every name begins with `millrace_`, and names carry their
//! unit: `parts_relayed`, `segment_latency_seconds`, `source_bytes`. A counter gets its `_total` by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use prometheus_client as prometheus;
use prometheus_client::{
    encoding::text::encode,
    metrics::info::Info,
    registry::{Metric, Registry},
};

use crate::version;

/// What `render` returns, for the header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// A set that tells which build this is, and nothing else yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("millrace");
        let build = Info::new(vec![("version", version::VERSION), ("commit", version::COMMIT)]);
        registry.register("build", "Which build runs", build);
        Self(Arc::new(Mutex::new(registry)))
    }

    /// Adds a metric and hands it back to be counted with. `name` is without the prefix; `help` is a sentence without
    /// its full stop. Adding a name twice shows it twice: metrics are added once, at start.
    pub fn add<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.lock().register(name, help, metric.clone());
        metric
    }

    /// All metrics as OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string fails only if a metric's own encoding does.
        if let Err(e) = encode(&mut text, &self.lock()) {
            tracing::error!("metrics cannot be encoded: {e}");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, family::Family};

    use super::*;

    #[test]
    fn every_metric_carries_the_prefix_and_its_help() {
        let metrics = Metrics::new();
        let segments = metrics.add("segments", "Segments by result", Family::<[(&str, &str); 1], Counter>::default());
        segments.get_or_create(&[("result", "pass")]).inc_by(3);
        let text = metrics.clone().render();
        assert!(text.contains("# HELP millrace_segments Segments by result."), "{text}");
        assert!(text.contains("millrace_segments_total{result=\"pass\"} 3"), "{text}");
        assert!(text.contains(&format!("version=\"{}\"", version::VERSION)), "{text}");
        assert!(text.lines().all(|l| l.starts_with('#') || l.starts_with("millrace_")), "{text}");
    }
}
