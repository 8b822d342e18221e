//! A camera whose pictures tell when they were made, and a real encoder behind it.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::BenchError;
use super::super::network::Network;

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
pub(super) const FPS: u64 = 30;
/// Fields of the code; `tests/browser/glass.mjs` reads them.
const FIELDS: usize = 40;
/// What the encoder may take after its input has ended.
const END: Duration = Duration::from_secs(10);

/// The encoder: Debian's, or a newer one. FFmpeg 5.1 runs its inputs in one loop, and a tone in real time beside a pipe holds each picture back for
/// 100 ms there (seen without a network); since FFmpeg 7 each input has a thread of its own.
pub(super) fn program() -> OsString {
    std::env::var_os("MILLRACE_FFMPEG").unwrap_or_else(|| "ffmpeg".into())
}

/// Its name and version, as it says them itself.
pub(super) fn version() -> String {
    let told = Command::new(program()).arg("-version").stdin(Stdio::null()).output();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    told.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// When each picture was made, unix ms, by its number.
pub(super) type Stamps = Arc<Mutex<Vec<u64>>>;

/// A publication.
pub(super) struct Camera {
    stamps: Stamps,
    stop: Arc<AtomicBool>,
    filming: Option<JoinHandle<Duration>>,
    encoder: Child,
}

impl Camera {
    /// Publishes to the network until [`stop`](Self::stop): 1280x720, 30 pictures a second, a key picture every two seconds, and a tone.
    pub(super) fn publish(dir: &Path, network: &Network) -> Result<Self, BenchError> {
        let log: PathBuf = dir.join("camera.log");
        let mut encoder = Command::new(program())
            .args(["-nostdin", "-hide_banner", "-loglevel", "warning"])
            .args(["-fflags", "nobuffer", "-probesize", "32", "-f", "rawvideo", "-pix_fmt", "yuv420p"])
            .args(["-s", &format!("{WIDTH}x{HEIGHT}"), "-r", &FPS.to_string(), "-i", "pipe:0"])
            .args(["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"])
            .args(["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-g", "60", "-sc_threshold", "0"])
            .args(["-b:v", "2500k", "-maxrate", "2500k", "-bufsize", "1250k", "-c:a", "aac", "-b:a", "96k"])
            .args(["-flush_packets", "1", "-f", "flv", &network.publish_url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).map_err(BenchError::io(log.display()))?)
            .spawn()
            .map_err(BenchError::io("ffmpeg cannot be started"))?;
        let (stamps, stop) = (Stamps::default(), Arc::new(AtomicBool::new(false)));
        let filming = encoder.stdin.take().map(|pipe| {
            let (stamps, stop) = (stamps.clone(), stop.clone());
            std::thread::spawn(move || film(pipe, &stamps, &stop))
        });
        Ok(Self { stamps, stop, filming, encoder })
    }

    pub(super) fn stamps(&self) -> Stamps {
        self.stamps.clone()
    }

    /// Ends the publication. Returns the longest that a picture was made late, since the encoder did not take the one before.
    pub(super) async fn stop(mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let filming = self.filming.take();
        let late = tokio::task::spawn_blocking(move || filming.and_then(|filming| filming.join().ok()));
        // An encoder that takes no picture holds the camera up, until it is killed below.
        let late = tokio::time::timeout(END, late).await;
        let deadline = Instant::now() + END;
        while Instant::now() < deadline && matches!(self.encoder.try_wait(), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        late.ok().and_then(Result::ok).flatten().unwrap_or_default()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.encoder.kill(); // it may have ended
        let _ = self.encoder.wait();
    }
}

/// Makes pictures at their times, and says how late the latest was.
fn film(mut pipe: ChildStdin, stamps: &Stamps, stop: &AtomicBool) -> Duration {
    let scene = scene();
    let mut picture = vec![128; WIDTH * HEIGHT * 3 / 2];
    let (began, mut late) = (Instant::now(), Duration::ZERO);
    for number in 0.. {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / FPS);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        late = late.max(due.elapsed());
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // The scene passes by at four pixels a picture.
        let shift = number as usize * 4 % WIDTH;
        for (row, from) in picture[..WIDTH * HEIGHT].chunks_exact_mut(WIDTH).zip(scene.chunks_exact(2 * WIDTH)) {
            row.copy_from_slice(&from[shift..shift + WIDTH]);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        stamp(&mut picture, now as u32);
        stamps.lock().unwrap_or_else(PoisonError::into_inner).push(now);
        if pipe.write_all(&picture).is_err() {
            break; // the encoder has ended: its log says why
        }
    }
    late
}

/// Writes the time into the first rows.
fn stamp(picture: &mut [u8], ms: u32) {
    let bytes = ms.to_be_bytes();
    let sum = bytes.iter().fold(1u8, |sum, byte| sum.wrapping_add(*byte));
    let field = WIDTH / FIELDS;
    let bits: Vec<bool> =
        bytes.iter().chain([&sum]).flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    for row in picture[..WIDTH * field].chunks_exact_mut(WIDTH) {
        for (cell, bit) in row.chunks_exact_mut(field).zip(&bits) {
            cell.fill(if *bit { 235 } else { 16 });
        }
    }
}

/// Something to look at, twice as wide as a picture: waves and grain, which cost an encoder about what a real picture does.
fn scene() -> Vec<u8> {
    let mut state = 1u32;
    let mut grain = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as f32
    };
    let pixel = |at: usize| {
        let (x, y) = ((at % WIDTH) as f32, (at / (2 * WIDTH)) as f32);
        let turn = std::f32::consts::TAU / WIDTH as f32;
        (110.0 + 50.0 * (3.0 * x * turn + y / 40.0).sin() + 30.0 * (11.0 * x * turn).sin() * (y / 25.0).cos() + grain())
            as u8
    };
    (0..2 * WIDTH * HEIGHT).map(pixel).collect()
}
