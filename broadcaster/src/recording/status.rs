//! How a stream's recording goes, for the stream's status.

use super::catalog::Summary;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As the API gives it.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub(crate) struct RecordingView {
    /// `recording`, `failing` (it is tried again), `ended`, `unfinished` (the next start makes its end).
    state: &'static str,
    id: String,
    /// Written so far.
    bytes: u64,
    /// Segments of all renditions that it lacks.
    gaps: u64,
    /// While it fails.
    error: Option<String>,
}

/// Written by the recorder.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<RecordingView>);

impl Status {
    fn lock(&self) -> MutexGuard<'_, RecordingView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> RecordingView {
        self.lock().clone()
    }

    pub(super) fn begin(&self, id: &str) {
        *self.lock() = RecordingView { state: "recording", id: id.to_owned(), ..RecordingView::default() };
    }

    pub(super) fn note(&self, bytes: u64, gaps: u64) {
        let mut view = self.lock();
        (view.bytes, view.gaps) = (bytes, gaps);
    }

    /// True when it did not fail before.
    pub(super) fn fail(&self, error: &str) -> bool {
        let mut view = self.lock();
        view.error = Some(error.to_owned());
        std::mem::replace(&mut view.state, "failing") != "failing"
    }

    /// True when it had failed until now.
    pub(super) fn is_well(&self) -> bool {
        let mut view = self.lock();
        view.error = None;
        std::mem::replace(&mut view.state, "recording") == "failing"
    }

    pub(super) fn give_up(&self, error: &str) {
        let mut view = self.lock();
        (view.state, view.error) = ("unfinished", Some(error.to_owned()));
    }

    pub(super) fn end(&self, summary: Option<&Summary>) {
        let mut view = self.lock();
        (view.state, view.error) = ("ended", None);
        (view.bytes, view.gaps) = summary.map_or((0, 0), |summary| (summary.bytes, summary.gaps));
    }
}
