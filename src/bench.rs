//! `millrace bench`.

use crate::Failure;

/// The command line of `millrace bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {}

/// Measures.
pub fn main(_: BenchArgs) -> Result<(), Failure> {
    Ok(())
}
