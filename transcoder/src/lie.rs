//! A transcoder that lies, for seeing verification at work: it gives its device another picture than the one it was sent,
//! with the timing of the real one, and signs for what comes out. Off unless `transcoder.lie` says otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::B256;
use bytes::Bytes;
use millrace_media::cmaf::{self, Sample, Track};
use millrace_media::synthetic;

/// What is shown instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Black frames.
    Black,
    /// The stream's previous segment again.
    Previous,
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "black" => Ok(Self::Black),
            "previous" => Ok(Self::Previous),
            other => Err(format!("{other:?} is neither black nor previous; leave it empty for honest work")),
        }
    }
}

/// The lies of one transcoder, stream by stream.
#[derive(Debug)]
pub(crate) struct Liar {
    kind: Kind,
    previous: Mutex<HashMap<B256, Vec<Bytes>>>,
}

impl Liar {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, previous: Mutex::default() }
    }

    /// Begins a segment of `stream` whose source is `init`.
    pub(crate) fn begin(self: &Arc<Self>, stream: B256, init: &Bytes) -> Lie {
        let mut lie =
            Lie { liar: self.clone(), stream, init: init.clone(), shown: Vec::new(), real: Vec::new(), next: 0 };
        match self.kind {
            Kind::Black => {
                if let Some((init, shown)) = black(init) {
                    (lie.init, lie.shown) = (init, shown);
                }
            }
            Kind::Previous => {
                let previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner);
                lie.shown = previous.get(&stream).cloned().unwrap_or_default();
            }
        }
        lie
    }
}

/// One segment's lie.
pub(crate) struct Lie {
    liar: Arc<Liar>,
    stream: B256,
    init: Bytes,
    shown: Vec<Bytes>,
    real: Vec<Bytes>,
    next: usize,
}

impl Lie {
    /// What the device is told to decode with.
    pub(crate) fn init(&self) -> Bytes {
        self.init.clone()
    }

    /// The part with other pictures at the same times; as it is while there is nothing to show instead.
    pub(crate) fn part(&mut self, part: Bytes) -> Bytes {
        let Ok(samples) = cmaf::read_part(&part) else { return part };
        let first = self.next as u32;
        let mut changed = Vec::with_capacity(samples.len());
        for sample in samples {
            self.real.push(sample.data.clone());
            let data = self.shown.get(self.next).unwrap_or(&sample.data).clone();
            self.next += 1;
            changed.push(Sample { data, ..sample });
        }
        cmaf::write_part(first, &changed).unwrap_or(part)
    }
}

impl Drop for Lie {
    fn drop(&mut self) {
        let mut previous = self.liar.previous.lock().unwrap_or_else(PoisonError::into_inner);
        previous.insert(self.stream, std::mem::take(&mut self.real));
    }
}

/// Ten seconds of black in the source's size.
fn black(init: &Bytes) -> Option<(Bytes, Vec<Bytes>)> {
    let Ok(Track::Video(source)) = cmaf::read_init(init) else { return None };
    let (width, height) = (u32::from(source.width) & !1, u32::from(source.height) & !1);
    let (track, samples) = synthetic::black(width, height, 30, 300).ok()?;
    let init = cmaf::write_init(&Track::Video(track)).ok()?;
    Some((init, samples.into_iter().map(|s| s.data).collect()))
}
