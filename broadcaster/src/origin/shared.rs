//! A stream that many requests wait for, and its media playlists ready to send.
//!
//! A thousand players wait for the same part. Each waits for the edge of its own playlist, so that only news of that playlist wakes
//! it; the first one to wake writes the text, and the others send the same bytes.

use super::playlist;
use super::stream::{Edge, Stream};
use super::thumbnail::Drawn;
use super::viewers::Viewers;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// A stream and the bells that ring when it changes.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    texts: Mutex<BTreeMap<(String, bool), Arc<Text>>>,
    viewers: Mutex<Viewers>,
    pub(super) thumbnail: Drawn,
}

struct State {
    stream: Stream,
    /// Counts its changes.
    version: u64,
    /// The playlists that somebody waited for.
    edges: BTreeMap<String, watch::Sender<Edge>>,
}

/// A media playlist as it is sent.
pub(super) struct Text {
    version: u64,
    pub(super) ended: bool,
    pub(super) plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Text {
    /// The same in gzip; as it is, should that fail.
    pub(super) fn gzip(&self) -> Bytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&self.plain).and_then(|()| encoder.finish()).unwrap_or_default().into()
        };
        self.gzip.get_or_init(compress).clone()
    }
}

impl Shared {
    pub(super) fn new(stream: Stream) -> Self {
        let state = State { stream, version: 0, edges: BTreeMap::new() };
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            texts: Mutex::default(),
            viewers: Mutex::default(),
            thumbnail: Drawn::default(),
        }
    }

    /// Looks at the stream.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Stream) -> T) -> T {
        look(&self.lock().stream)
    }

    /// Changes the stream, and tells who waits.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Stream) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.stream);
        state.version += 1;
        let now = Instant::now();
        let State { stream, edges, .. } = &mut *state;
        edges.retain(|_, edge| edge.receiver_count() > 0);
        for (name, edge) in edges {
            let new = stream.edge(name, now);
            edge.send_if_modified(|old| std::mem::replace(old, new) != new);
        }
        drop(state);
        self.changed.send_replace(());
        result
    }

    /// Rings on every change.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Follows the edge of the playlist of `name`, which must be a rendition's. The clock alone may end a playlist: that is not told.
    pub(super) fn edge(&self, name: &str) -> watch::Receiver<Edge> {
        let mut state = self.lock();
        let edge = state.stream.edge(name, Instant::now());
        let sender = state.edges.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(edge));
        sender.subscribe()
    }

    /// The media playlist of `name` as it is now; `None` while it has nothing to list.
    pub(super) fn text(&self, name: &str, skip: bool) -> Option<Arc<Text>> {
        let now = Instant::now();
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.lock();
        let known = texts.get(&(name.to_owned(), skip));
        if let Some(text) = known
            && text.version == state.version
            && text.ended == state.stream.has_ended(name, now)
        {
            return Some(Arc::clone(text));
        }
        let playlist::Media { text, ended } = playlist::media(&state.stream, name, now, skip)?;
        let version = state.version;
        drop(state);
        let text = Arc::new(Text { version, ended, plain: text.into(), gzip: OnceLock::new() });
        texts.insert((name.to_owned(), skip), Arc::clone(&text));
        Some(text)
    }

    pub(super) fn viewers(&self) -> MutexGuard<'_, Viewers> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
