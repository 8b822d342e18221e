//! Structured logs through `tracing`, on standard error: for people or as JSON lines.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::log::Lines;

/// The section `[log]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged.
    pub filter: String,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// The docs of [`LogConfig`].
pub const LOG_DOCS: &[(&str, &str)] = &[
    ("format", "How log lines look: \"text\" for people, \"json\" for collectors."),
    ("filter", "What is logged, as `level` or `target=level`, comma-separated: \"info,millrace_wire=debug\"."),
];

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("log.filter is {filter:?}: {reason}; an example is \"info,millrace_wire=debug\"")]
    Filter {
        /// The text given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A process logs once.
    #[error("logging has been set up before")]
    Twice,
}

/// Begins to log for the whole process. The last lines are kept besides, for the API.
pub fn init(config: &LogConfig) -> Result<Lines, TelemetryError> {
    let kept = Lines::default();
    let shown =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let shown = match config.format {
        LogFormat::Text => shown.boxed(),
        LogFormat::Json => shown.json().boxed(),
    };
    let all = tracing_subscriber::registry().with(filter(&config.filter)?).with(shown).with(kept.clone());
    all.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(kept)
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(text).map_err(|e| TelemetryError::Filter { filter: text.into(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        assert!(filter("info,millrace_wire=debug").is_ok());
        let error = filter("millrace=loud").unwrap_err().to_string();
        assert!(error.contains("log.filter") && error.contains("millrace=loud"), "{error}");
    }

    #[test]
    fn logging_begins_once() {
        init(&LogConfig::default()).unwrap();
        assert!(matches!(init(&LogConfig::default()), Err(TelemetryError::Twice)));
    }
}
