//! `millrace deploy`: the contracts onto a chain, and the `[chain]` section that nodes need.

use std::path::PathBuf;

use alloy::signers::local::PrivateKeySigner;

use crate::Failure;

/// The command line of `millrace deploy`.
#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    /// Ethereum JSON-RPC endpoint.
    #[arg(long)]
    rpc_url: String,
    /// File with the deployer's private key, 64 hex digits.
    #[arg(long)]
    key_file: PathBuf,
}

/// Deploys, and prints the section.
#[allow(clippy::print_stdout, reason = "the section is the command's result")]
pub fn main(args: DeployArgs) -> Result<(), Failure> {
    let path = args.key_file.display().to_string();
    let text = std::fs::read_to_string(&args.key_file).map_err(|e| Failure::usage(format!("{path}: {e}")))?;
    let signer: PrivateKeySigner =
        text.trim().parse().map_err(|_| Failure::usage(format!("{path} holds no private key of 64 hex digits")))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let contracts = runtime.block_on(millrace_contracts::deploy(&args.rpc_url, signer))?;
    println!(
        "[chain]\nrpc_url = {:?}\nregistry = \"{}\"\nbroker = \"{}\"",
        args.rpc_url, contracts.registry, contracts.broker
    );
    Ok(())
}
