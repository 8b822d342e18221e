//! How busy a device is, read in its own worker process, so that a driver that hangs or crashes does it there.

use std::time::{Duration, Instant};

use millrace_media::transcode::EncoderKind;
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How often it is read.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// What is known of a device at a moment; what its driver does not say is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Load {
    /// Percent of the encoder's time on a GPU, of all cores' time in software.
    pub utilisation: Option<u32>,
    /// In use: of the GPU, by anybody; in software, by the worker process.
    pub memory_bytes: Option<u64>,
    /// Of the GPU.
    pub memory_total_bytes: Option<u64>,
    /// Of the GPU, degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Why the GPU runs slower than it could.
    pub throttled: Option<String>,
    /// Encoding sessions on the GPU, of any program.
    pub encoder_sessions: Option<u32>,
}

/// Reads the load of one device.
pub(crate) enum Meter {
    Gpu(Box<Nvml>, u32),
    Process {
        read: Instant,
        /// Of all threads, by then.
        used: Duration,
    },
}

impl Meter {
    /// None where the driver does not answer.
    pub(crate) fn of(encoder: &EncoderKind) -> Option<Self> {
        match encoder {
            EncoderKind::Nvenc { gpu } => Some(Self::Gpu(Box::new(Nvml::init().ok()?), *gpu)),
            EncoderKind::X264 { .. } => Some(Self::Process { read: Instant::now(), used: processor_time() }),
        }
    }

    /// The load now; of a process, since it was last read.
    pub(crate) fn read(&mut self) -> Load {
        match self {
            Self::Gpu(nvml, gpu) => gpu_load(nvml, *gpu),
            Self::Process { read, used } => {
                let (then, before) = (*read, *used);
                (*read, *used) = (Instant::now(), processor_time());
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let whole = read.duration_since(then).as_secs_f64() * cores as f64;
                let share = used.saturating_sub(before).as_secs_f64() / whole.max(f64::EPSILON);
                let utilisation = Some((share.min(1.0) * 100.0).round() as u32);
                Load { utilisation, memory_bytes: resident(), ..Load::default() }
            }
        }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Resident memory of this process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

fn gpu_load(nvml: &Nvml, gpu: u32) -> Load {
    let Ok(device) = nvml.device_by_index(gpu) else { return Load::default() };
    let memory = device.memory_info().ok();
    Load {
        utilisation: device.encoder_utilization().ok().map(|encoder| encoder.utilization),
        memory_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.map(|memory| memory.total),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
        throttled: device.current_throttle_reasons().ok().and_then(words),
        encoder_sessions: device.encoder_stats().ok().map(|stats| stats.session_count),
    }
}

/// The reasons that are a fault of the machine or its setting. An idle GPU's clock is low too, and that is none.
fn words(reasons: ThrottleReasons) -> Option<String> {
    let all = [
        (
            ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::SW_THERMAL_SLOWDOWN,
            "it is too hot: see to its cooling",
        ),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "the power supply asks for it"),
        (ThrottleReasons::SW_POWER_CAP, "it draws as much power as its limit allows"),
        (ThrottleReasons::HW_SLOWDOWN, "the hardware asks for it: heat or power"),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "its clock is set lower"),
    ];
    let said: Vec<&str> = all.iter().filter(|(of, _)| reasons.intersects(*of)).map(|(_, words)| *words).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_work() {
        let mut meter = Meter::of(&EncoderKind::X264 { preset: "superfast".into() }).unwrap();
        let start = Instant::now();
        let mut sum = 0u64;
        while start.elapsed() < Duration::from_millis(300) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let load = meter.read();
        assert!((1..=100).contains(&load.utilisation.unwrap()), "{load:?}");
        assert!(load.memory_bytes.unwrap() > 1 << 20, "{load:?}");
        assert_eq!((load.temperature_c, load.throttled), (None, None));
    }

    #[test]
    fn heat_is_said_and_idleness_is_not() {
        assert_eq!(words(ThrottleReasons::GPU_IDLE), None);
        let hot = words(ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::SW_POWER_CAP).unwrap();
        assert!(hot.contains("hot") && hot.contains("power"), "{hot}");
    }
}
