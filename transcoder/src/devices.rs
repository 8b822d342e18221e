//! What can encode on this machine, found by trying, and how fast it is, found by a short real transcode.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use bytes::Bytes;
use millrace_media::cmaf::{self, Track};
use millrace_media::transcode::{EncoderKind, RenditionSpec, Session, X264_PRESET};
use millrace_media::{demux, nvenc, synthetic};
use nvml_wrapper::Nvml;
use serde::{Deserialize, Serialize};

/// Share of the measured speed that is offered: the rest absorbs larger sources to decode, verification and the network.
const HEADROOM: f64 = 0.75;
/// Sessions that calibrate a GPU at once: what fills the two encode engines of the larger ones.
const NVENC_SESSIONS: usize = 4;
/// Most sessions that calibrate processor cores at once: bounds the memory, some 60 MB each.
const MAX_SOFTWARE_SESSIONS: usize = 32;
/// Pictures of the calibration clip: 720p at 30 per second for 1.5 s, long enough to be past the first IDR's cost.
const CALIBRATION_FRAMES: u32 = 45;

/// Which device a worker process drives. Written `nvenc:0` or `x264:superfast`, as in `--device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Its encoder.
    pub encoder: EncoderKind,
}

impl DeviceSpec {
    /// The software lane with the preset of a live lane.
    pub fn software() -> Self {
        Self { encoder: EncoderKind::X264 { preset: X264_PRESET.to_owned() } }
    }

    /// "nvenc" or "x264".
    pub fn kind(&self) -> &'static str {
        match self.encoder {
            EncoderKind::Nvenc { .. } => "nvenc",
            EncoderKind::X264 { .. } => "x264",
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.encoder {
            EncoderKind::Nvenc { gpu } => write!(f, "nvenc:{gpu}"),
            EncoderKind::X264 { preset } => write!(f, "x264:{preset}"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let encoder = match text.split_once(':') {
            Some(("nvenc", gpu)) => {
                EncoderKind::Nvenc { gpu: gpu.parse().map_err(|_| format!("{gpu} is no number of a GPU, in {text}"))? }
            }
            Some(("x264", preset)) if !preset.is_empty() => EncoderKind::X264 { preset: preset.to_owned() },
            _ => return Err(format!("{text} is no device: write nvenc:<gpu number> or x264:<preset>")),
        };
        Ok(Self { encoder })
    }
}

/// A device that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What a worker is started with.
    pub spec: DeviceSpec,
    /// The GPU's name, or "software".
    pub name: String,
    /// One line for people: the encoder, and what it runs on.
    pub detail: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The devices to use, best first; never empty.
    pub devices: Vec<Device>,
    /// One line for people: which encoder is used and why.
    pub why: String,
}

/// Looks for GPUs whose NVENC encodes a picture; where there is none, the software lane is the device. A GPU's driver runs in this process for the
/// moment of the probe only. Blocks for milliseconds without a GPU, up to a second with some.
pub fn discover() -> Discovery {
    let mut devices = Vec::new();
    let mut refused = Vec::new();
    match gpus() {
        Ok(gpus) => {
            for (gpu, name) in (0u32..).zip(gpus) {
                match nvenc::probe(gpu) {
                    Ok(found) => devices.push(Device {
                        spec: DeviceSpec { encoder: EncoderKind::Nvenc { gpu } },
                        detail: format!("{} on GPU {gpu}, {name}", found.encoder),
                        name,
                    }),
                    Err(reason) => refused.push(format!("GPU {gpu}, {name}: {reason}")),
                }
            }
        }
        Err(reason) => refused.push(reason),
    }
    let why = match devices.len() {
        0 => format!(
            "encoding in software with x264 {X264_PRESET}, since NVENC does not work here ({})",
            refused.join("; ")
        ),
        n => {
            let mut why = format!("encoding with NVENC on {n} GPU{}", if n == 1 { "" } else { "s" });
            if !refused.is_empty() {
                why.push_str(&format!("; not used: {}", refused.join("; ")));
            }
            why
        }
    };
    if devices.is_empty() {
        devices.push(software());
    }
    Discovery { devices, why }
}

/// The software lane: every core of this machine.
pub fn software() -> Device {
    Device {
        spec: DeviceSpec::software(),
        name: "software".to_owned(),
        detail: format!("x264 {X264_PRESET} on {} cores", cores()),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The names of the GPUs in the order of their numbers, or why none can be listed.
fn gpus() -> Result<Vec<String>, String> {
    let nvml = Nvml::init().map_err(|e| format!("no NVIDIA driver: {e}"))?;
    let count = nvml.device_count().map_err(|e| format!("the NVIDIA driver lists no GPU: {e}"))?;
    if count == 0 {
        return Err("the NVIDIA driver lists no GPU".to_owned());
    }
    let name = |gpu| nvml.device_by_index(gpu).and_then(|d| d.name()).unwrap_or_else(|_| "unknown GPU".to_owned());
    Ok((0..count).map(name).collect())
}

/// Measures a device by transcoding a clip made here to a ladder of three, in as many sessions at once as fill it. Returns megapixels of rendition per
/// second that may be promised. Blocks for about a second.
///
/// # Errors
/// When a session does not open or fails, in words.
pub fn calibrate(spec: &DeviceSpec) -> Result<u32, String> {
    let sessions = match spec.encoder {
        EncoderKind::Nvenc { .. } => NVENC_SESSIONS,
        EncoderKind::X264 { .. } => cores().min(MAX_SOFTWARE_SESSIONS),
    };
    let (track, samples) =
        synthetic::source(1280, 720, 30, CALIBRATION_FRAMES, CALIBRATION_FRAMES).map_err(|e| e.to_string())?;
    let init = cmaf::write_init(&Track::Video(track)).map_err(|e| e.to_string())?;
    let cut = demux::cut(&samples, i64::MAX, 18_000);
    let parts = cut.iter().flatten().map(|part| cmaf::write_part(1, part));
    let parts: Vec<Bytes> = parts.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let start = Instant::now();
    let pixels: Result<Vec<u64>, String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..sessions).map(|_| scope.spawn(|| transcode_once(spec, &init, &parts))).collect();
        runs.into_iter().map(|run| run.join().map_err(|_| "a calibration run ended early".to_owned())?).collect()
    });
    let pixels: u64 = pixels?.into_iter().sum();
    Ok((pixels as f64 / 1e6 / start.elapsed().as_secs_f64() * HEADROOM) as u32)
}

fn transcode_once(spec: &DeviceSpec, init: &[u8], parts: &[Bytes]) -> Result<u64, String> {
    let ladder = [("720p", 1280, 720, 3_000_000), ("480p", 854, 480, 1_200_000), ("360p", 640, 360, 700_000)];
    let ladder =
        ladder.map(|(name, width, height, bitrate)| RenditionSpec { name: name.to_owned(), width, height, bitrate });
    let run = || {
        let mut session = Session::open(init, &ladder, &spec.encoder)?;
        session.begin_segment();
        for part in parts {
            session.push_part(part)?;
        }
        session.end_segment()
    };
    let (_, stats) = run().map_err(|e| e.to_string())?;
    Ok(stats.renditions.iter().map(|r| r.pixels).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for text in ["nvenc:0", "nvenc:7", "x264:superfast"] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        for text in ["", "nvenc", "nvenc:", "nvenc:x", "x264:", "cpu:1"] {
            assert!(text.parse::<DeviceSpec>().unwrap_err().contains(text));
        }
    }

    #[test]
    fn something_is_always_found_and_the_reason_told() {
        let found = discover();
        assert!(!found.devices.is_empty());
        let first = &found.devices[0];
        match first.spec.kind() {
            "nvenc" => assert!(found.why.contains("NVENC on")),
            _ => assert!(
                found.why.contains("since NVENC does not work here (") && first.detail.contains("cores"),
                "{}",
                found.why
            ),
        }
    }

    #[test]
    fn calibration_gives_a_speed_that_a_machine_can_have() {
        let speed = calibrate(&DeviceSpec::software()).unwrap();
        assert!((1..1_000_000).contains(&speed), "{speed} megapixels per second");
    }
}
