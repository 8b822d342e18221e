//! The last lines of the log, in memory, for the API: structured, and bounded in lines and bytes.
//!
//! What is absent: secrets. Nothing logs them, and nothing is added here.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Problem;

/// Lines that are kept.
const MOST_LINES: usize = 2_000;
/// And their text, bytes.
const MOST_BYTES: usize = 1 << 20;
/// A message or a field is cut off after so many bytes.
const LONGEST_TEXT: usize = 1_024;
/// Fields of one line.
const MOST_FIELDS: usize = 32;
/// Lines that are told unless fewer or more are asked for.
const TOLD: usize = 200;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Line {
    /// Unix milliseconds.
    pub at: u64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: &'static str,
    /// The part of the program that says it.
    pub target: String,
    /// In words.
    pub message: String,
    /// By name.
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

impl Line {
    fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(name, value)| name.len() + value.as_str().map_or(8, str::len));
        self.target.len() + self.message.len() + fields.sum::<usize>()
    }
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// All lines that there ever were.
    end: u64,
}

/// The last lines. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Kept>>);

impl Lines {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines there ever were.
    pub fn end(&self) -> u64 {
        self.kept().end
    }

    /// The lines after the first `seen`, as far as they are kept, and how many there are now.
    pub fn after(&self, seen: u64) -> (Vec<Arc<Line>>, u64) {
        let kept = self.kept();
        let new = usize::try_from(kept.end.saturating_sub(seen)).unwrap_or(usize::MAX).min(kept.lines.len());
        (kept.lines.iter().skip(kept.lines.len() - new).cloned().collect(), kept.end)
    }

    fn push(&self, line: Line) {
        let mut kept = self.kept();
        kept.end += 1;
        kept.bytes += line.size();
        kept.lines.push_back(Arc::new(line));
        while kept.lines.len() > MOST_LINES || kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.size();
        }
    }

    /// `/v1/log`.
    pub fn router(&self) -> OpenApiRouter {
        routes().with_state(self.clone())
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str();
        let target = event.metadata().target().to_owned();
        self.push(Line { at, level, target, message: fields.message, fields: fields.others });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: Value) {
        if self.others.len() < MOST_FIELDS {
            self.others.insert(field.name().to_owned(), value);
        }
    }

    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > LONGEST_TEXT {
            let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        if field.name() == "message" { self.message = text } else { self.take(field, text.into()) }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }
}

fn routes() -> OpenApiRouter<Lines> {
    OpenApiRouter::new().routes(routes!(log))
}

/// What this call is.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// The least severe level that is told: `error`, `warn`, `info`, `debug` or `trace`; all unless said otherwise.
    level: Option<String>,
    /// Lines, 200 unless said otherwise, 2,000 at most.
    limit: Option<usize>,
}

/// The last lines of the log, oldest first. What is logged at all is `log.filter`'s.
#[utoipa::path(get, path = "/v1/log", tag = "live", params(Asked), responses((status = 200, description = "The lines", body = Vec<Line>)))]
async fn log(State(lines): State<Lines>, Query(asked): Query<Asked>) -> Result<Json<Vec<Arc<Line>>>, Problem> {
    let unknown = |text: &str| {
        let words = format!("{text:?} is no level: say error, warn, info, debug or trace");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, words)
    };
    let parse = |text: &String| text.parse::<Level>().map_err(|_| unknown(text));
    let least = asked.level.as_ref().map(parse).transpose()?.unwrap_or(Level::TRACE);
    let limit = asked.limit.unwrap_or(TOLD).clamp(1, MOST_LINES);
    let (mut told, _) = lines.after(0);
    told.retain(|line| line.level.parse::<Level>().is_ok_and(|level| level <= least));
    Ok(Json(told.split_off(told.len().saturating_sub(limit))))
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn lines_are_kept_with_their_fields_and_bounded_by_number_and_bytes() {
        let lines = Lines::default();
        let all = tracing_subscriber::registry().with(lines.clone());
        tracing::subscriber::with_default(all, || {
            tracing::warn!(stream = "demo", times = 3, ok = false, "it {}", "happened");
            assert_eq!(lines.end(), 1);
            let (kept, _) = lines.after(0);
            let line = &kept[0];
            assert_eq!((line.level, line.message.as_str()), ("WARN", "it happened"));
            assert_eq!(
                Value::from(line.fields.clone()),
                serde_json::json!({ "stream": "demo", "times": 3, "ok": false })
            );
            for n in 0..MOST_LINES {
                tracing::info!(n, "one more");
            }
            let (kept, end) = lines.after(0);
            assert_eq!((kept.len(), end), (MOST_LINES, MOST_LINES as u64 + 1));
            assert_eq!(lines.after(end - 2).0.len(), 2);
            for _ in 0..2 * MOST_BYTES / LONGEST_TEXT {
                tracing::info!("{}", "é".repeat(LONGEST_TEXT));
            }
        });
        let (kept, _) = lines.after(0);
        assert!(kept.iter().all(|line| line.message.len() <= LONGEST_TEXT + 3));
        assert!(kept.iter().map(|line| line.size()).sum::<usize>() <= MOST_BYTES);
    }
}
