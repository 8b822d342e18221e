//! A viewer in a real browser, beside what else a test looks at.

use crate::process::output;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;
use std::thread::JoinHandle;

/// What a viewer saw.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    pub(crate) height: u64,
    /// Seconds behind live, as hls.js reckons.
    pub(crate) latency: f64,
    /// Parts that were loaded as such.
    pub(crate) parts: u64,
    pub(crate) stalls: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Lines of captions.
    pub(crate) captions: Vec<String>,
}

/// Chromium, playing.
pub(crate) struct Viewer(JoinHandle<Result<Shown, String>>);

impl Viewer {
    /// Plays a rendition of the stream until five seconds of it were shown.
    pub(crate) fn start(master: &str, rendition: &'static str) -> Self {
        Self::play(master, rendition, 5)
    }

    /// The same until so many seconds were shown.
    pub(crate) fn play(master: &str, rendition: &'static str, seconds: u64) -> Self {
        Self::with(master, rendition, seconds, "parts")
    }

    /// The same as a player of plain HLS, which loads whole segments.
    pub(crate) fn play_whole(master: &str, rendition: &'static str, seconds: u64) -> Self {
        Self::with(master, rendition, seconds, "whole")
    }

    fn with(master: &str, rendition: &'static str, seconds: u64, loads: &'static str) -> Self {
        let master = master.to_owned();
        Self(std::thread::spawn(move || {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/play.mjs");
            let told = output(Command::new("node").args([script, &master, rendition, &seconds.to_string(), loads]))?;
            serde_json::from_slice(&told.stdout).map_err(|error| error.to_string())
        }))
    }

    /// Waits until it has seen enough, and tells what it was.
    pub(crate) fn shown(self, height: u64) -> Shown {
        let shown = self.saw();
        assert_eq!(shown.height, height);
        shown
    }

    /// The same whatever size it had: a browser that publishes begins small when its machine is busy.
    pub(crate) fn saw(self) -> Shown {
        self.0.join().unwrap().unwrap()
    }
}
