//! `millrace stake sampling`: the chain of secrets that an orchestrator commits to and reveals, day by day. All come from its key.

use alloy::primitives::{Address, aliases::U40};
use millrace_contracts::bindings::Sampling;
use millrace_contracts::{EPOCH, Step};

use crate::Failure;
use crate::cli::act::{act, show};
use crate::cli::money;
use crate::cli::sheet::{Cell, Sheet};
use crate::cli::{Common, Desk};

#[derive(Debug, clap::Subcommand)]
pub enum SamplingCommand {
    /// Commit to the secrets of the epochs (days, UTC) that follow this one.
    Commit,
    /// Reveal the secrets of all epochs that are over.
    Reveal,
    /// Announce that this epoch is the chain's last.
    Stop,
    /// Show a chain.
    Show {
        /// Whose; without it the key's.
        #[arg(value_parser = money::address)]
        node: Option<Address>,
    },
    /// Have an orchestrator slashed that has not revealed in time, and get the prover's part.
    Punish {
        /// Which.
        #[arg(value_parser = money::address)]
        node: Address,
    },
}

pub(super) async fn run(common: Common, command: SamplingCommand) -> Result<(), Failure> {
    if let SamplingCommand::Show { node } = command {
        let node = node.map_or_else(|| common.address(), Ok)?;
        let desk = common.look().await?;
        let sheet = sheet(&desk, node).await?;
        return show(&desk, &sheet.json(), &sheet.show(desk.now));
    }
    let desk = &common.open().await?;
    let (me, contract) = (desk.me(), desk.chain.contracts().sampling);
    let epoch = desk.now / EPOCH;
    let (about, step, node) = match command {
        SamplingCommand::Commit => {
            let tip = desk.chain.sampling_secret(epoch)?;
            let step = Step::call("commit", contract, &Sampling::commitCall { tip });
            (format!("commit to the secrets from epoch {} on", epoch + 1), step, me)
        }
        SamplingCommand::Reveal => {
            let chain = desk.chain.view("sampling chain", contract, &Sampling::chainCall { node: me }).await?;
            let (first, last): (u64, u64) = (chain.epoch.to(), chain.lastEpoch.to());
            // One secret gives all before it, up to a number of steps that bounds the contract's hashing.
            let steps: u64 = desk.chain.view("steps", contract, &Sampling::MAX_STEPSCall {}).await?.to();
            let over = epoch.saturating_sub(1).min(first.saturating_add(steps));
            let over = if last == 0 { over } else { over.min(last) };
            let secret = desk.chain.sampling_secret(over)?;
            let call = Sampling::revealCall { epoch: U40::saturating_from(over), secret };
            (format!("reveal the secrets up to epoch {over}"), Step::call("reveal", contract, &call), me)
        }
        SamplingCommand::Stop => {
            let step = Step::call("stop", contract, &Sampling::stopCall {});
            (format!("end the chain of secrets with epoch {epoch}"), step, me)
        }
        SamplingCommand::Punish { node } | SamplingCommand::Show { node: Some(node) } => {
            let step = Step::call("punish", contract, &Sampling::punishCall { node });
            (format!("have {node} slashed for a secret withheld"), step, node)
        }
        SamplingCommand::Show { node: None } => return Ok(()),
    };
    act(desk, &about, vec![step], async || sheet(desk, node).await).await
}

/// Refuses to go on while this account's chain from an earlier time owes a secret: whoever punishes that takes its part of all that is
/// bonded by then, and not only of what was there when the secret was due.
pub(super) async fn nothing_overdue(desk: &Desk) -> Result<(), Failure> {
    let call = Sampling::chainCall { node: desk.me() };
    let chain = desk.chain.view("sampling chain", desk.chain.contracts().sampling, &call).await?;
    if chain.epoch.is_zero() {
        return Ok(());
    }
    let window: u64 = desk.chain.parameter("REVEAL_WINDOW").await?.saturating_to();
    let owed = chain.epoch.to::<u64>().saturating_add(1);
    let overdue_at = owed.saturating_add(1).saturating_mul(EPOCH).saturating_add(window);
    if desk.now < overdue_at {
        return Ok(());
    }
    Err(Failure(
        format!(
            "this account's chain of sampling secrets is overdue since epoch {owed}, and anyone can have a new bond slashed for it: \
             first `millrace stake sampling reveal`, as often as it takes, then register"
        ),
        1,
    ))
}

async fn sheet(desk: &Desk, node: Address) -> Result<Sheet, Failure> {
    let call = Sampling::chainCall { node };
    let chain = desk.chain.view("sampling chain", desk.chain.contracts().sampling, &call).await?;
    let running = if chain.tip.is_zero() { "no" } else { "yes" };
    let last = if chain.lastEpoch.is_zero() { "none announced".into() } else { chain.lastEpoch.to_string() };
    let bond = desk.chain.node_view(node).await?.bond.to();
    Ok(Sheet(vec![
        ("node", Cell::text(node)),
        ("committed", Cell::text(running)),
        ("tip", Cell::text(chain.tip)),
        ("revealed up to", Cell::Count(chain.epoch.to())),
        ("last epoch", Cell::Text(last)),
        ("epoch now", Cell::Count(desk.now / EPOCH)),
        ("bond", Cell::Mill(bond)),
        ("my tokens", Cell::Mill(desk.chain.tokens(desk.me()).await?)),
    ]))
}
