//! `millrace worker`: a device's process, driven over standard input and output by the transcoder that started it.

use millrace_node::telemetry::{self, LogConfig};
use millrace_transcoder::devices::DeviceSpec;

use crate::Failure;

/// The command line of `millrace worker`.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// The device: `x264:PRESET`, or `nvenc:GPU`.
    #[arg(long)]
    device: DeviceSpec,
}

/// Works until standard input ends.
pub fn main(args: WorkerArgs) -> Result<(), Failure> {
    telemetry::init(&LogConfig::default())?;
    Ok(millrace_transcoder::worker::run(&args.device, std::io::stdin().lock(), std::io::stdout())?)
}
