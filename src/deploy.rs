//! `millrace deploy`: all contracts onto a chain, and the address book that nodes read.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::words::{decimal, thousands};
use millrace_contracts::{AddressBook, BookError, DeployPlan, Deployment};
use millrace_node::files::write_atomically;
use serde_json::json;

use crate::Failure;
use crate::cli::Common;
use crate::cli::act::{confirm, say};
use crate::cli::money;

/// The command line of `millrace deploy`.
#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    #[command(flatten)]
    common: Common,
    /// The address book that is written; one that is there is gone on with.
    #[arg(long, default_value = "millrace-addresses.json", value_name = "FILE")]
    out: PathBuf,
    /// The network's name for people.
    #[arg(long, default_value = "millrace")]
    name: String,
    /// Who proposes changes of parameters to the timelock; without it the deployer.
    #[arg(long, value_parser = money::address)]
    governor: Option<Address>,
    /// Who can stop new deposits for a while; without it the deployer.
    #[arg(long, value_parser = money::address)]
    guardian: Option<Address>,
    /// Who gets the treasury's share of slashes, and the supply of a new token; without it the deployer.
    #[arg(long, value_parser = money::address)]
    treasury: Option<Address>,
    /// From a proposal to its execution.
    #[arg(long, default_value = "48h", value_parser = money::span)]
    timelock: u64,
    /// keccak256 of the checker by which disputes are decided; the governor can name one later.
    #[arg(long, default_value_t = B256::ZERO)]
    checker: B256,
    /// A token that is there already, instead of a new one.
    #[arg(long, value_parser = money::address)]
    token: Option<Address>,
}

/// Deploys, or goes on with it.
pub fn main(args: DeployArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: DeployArgs) -> Result<(), Failure> {
    let common = &args.common;
    let rpc_url =
        common.rpc_url.as_deref().ok_or_else(|| Failure::usage("which chain? --rpc-url names its endpoint"))?;
    let signer = common.key()?;
    let deployer = signer.address();
    let plan = DeployPlan {
        name: args.name,
        governor: args.governor.unwrap_or(deployer),
        guardian: args.guardian.unwrap_or(deployer),
        treasury: args.treasury.unwrap_or(deployer),
        timelock: Duration::from_secs(args.timelock),
        checker: args.checker,
        token: args.token,
    };
    let begun = match AddressBook::load(&args.out) {
        Err(BookError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        book => Some(book?),
    };
    let mut deployment = Deployment::plan(rpc_url, signer, &plan, begun).await?;
    let (quoted, price) = deployment.quote().await?;
    let gas: u64 = quoted.iter().map(|(.., gas)| gas).sum();
    let cost = U256::from(gas) * price;
    let report = json!({
        "command": "deploy",
        "dry_run": common.dry_run,
        "chain_id": deployment.book().chain_id,
        "deployer": deployer.to_string(),
        "gas": gas,
        "cost_wei": cost.to_string(),
        "contracts": quoted.iter().map(|(name, address, gas)| json!({ "name": name, "address": address.to_string(), "gas": gas })).collect::<Vec<_>>(),
    });
    if !common.json {
        let DeployPlan { governor, guardian, treasury, .. } = &plan;
        say(&format!("deploy to chain {} as {deployer}\n", deployment.book().chain_id));
        for (who, address) in [("governor", governor), ("guardian", guardian), ("treasury", treasury)] {
            let own = if *address == deployer { "  (the deployer: on a public chain name another)" } else { "" };
            say(&format!("  {who:<11} {address}{own}\n"));
        }
        for (name, address, gas) in &quoted {
            say(&format!("  {name:<11} {address}  gas {}\n", thousands(gas)));
        }
        say(&format!("  gas {}, about {} ETH\n", thousands(gas), decimal(cost)));
    }
    if common.dry_run {
        say(&if common.json { report.to_string() + "\n" } else { "dry run: nothing was sent\n".into() });
        return Ok(());
    }
    let out = args.out;
    if !quoted.is_empty() {
        confirm(common)?;
        let save = |book: &AddressBook| {
            write_atomically(&out, &(serde_json::to_vec_pretty(book).map_err(std::io::Error::other)?))
        };
        // Where the first contract goes is settled from here on, also for a run that goes on with this one.
        save(deployment.book())?;
        deployment.run(save).await?;
    }
    let (book, path) = (deployment.book(), out.display());
    if common.json {
        say(&(serde_json::to_string_pretty(book)? + "\n"));
    } else {
        say(&format!("all contracts are there; their address book is {path}. In a node's configuration:\n\n"));
        say(&format!("[chain]\nrpc_url = {rpc_url:?}\naddress_book = {:?}\n", path.to_string()));
    }
    Ok(())
}
