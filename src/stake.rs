//! `millrace stake`: a node's place in the registry, bonds and delegations, sampling secrets and disputes, by hand.

mod dispute;
mod sampling;

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, U256, aliases::U96};
use alloy::sol_types::SolCall;
use millrace_contracts::bindings::Registry;
use millrace_contracts::{Amount, CHECKER, ORCHESTRATOR, Step, TRANSCODER};
use millrace_node::keys::load_identity;
use serde_json::json;

use crate::Failure;
use crate::cli::act::{act, show};
use crate::cli::money::{self, Part};
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::cli::{Common, Desk};

/// The command line of `millrace stake`.
#[derive(Debug, clap::Args)]
pub struct StakeArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: StakeCommand,
}

/// What a node may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Sells transcoding and answers for its workers.
    Orchestrator,
    /// Transcodes.
    Transcoder,
    /// Sits on the committees of disputes.
    Checker,
}

/// Each role with its bit in the registry and its name.
const ROLES: [(Role, u8, &str); 3] = [
    (Role::Orchestrator, ORCHESTRATOR, "orchestrator"),
    (Role::Transcoder, TRANSCODER, "transcoder"),
    (Role::Checker, CHECKER, "checker"),
];

#[derive(Debug, clap::Subcommand)]
enum StakeCommand {
    /// Join the registry with a bond. Orchestrators and transcoders do so by themselves when they start.
    Register {
        /// orchestrator, transcoder, checker; several with commas.
        #[arg(long, value_delimiter = ',', required = true)]
        role: Vec<Role>,
        /// Where the node answers, such as quic://orch.example.com:4433.
        #[arg(long, default_value = "")]
        uri: String,
        /// keccak256 of its TLS key; without it that of tls.pem in the configuration's data folder.
        #[arg(long)]
        fingerprint: Option<B256>,
        /// The bond, such as 100mill; without it the least one.
        #[arg(long, value_parser = money::mill)]
        bond: Option<U256>,
        /// Its part of all fees before delegators get theirs, per cent.
        #[arg(long, value_parser = percent)]
        commission: Option<u16>,
    },
    /// Publish new roles, another URI or another TLS key; what is not named stays.
    Update {
        /// orchestrator, transcoder, checker; several with commas.
        #[arg(long, value_delimiter = ',')]
        role: Vec<Role>,
        /// Where the node answers.
        #[arg(long)]
        uri: Option<String>,
        /// keccak256 of its TLS key.
        #[arg(long)]
        fingerprint: Option<B256>,
    },
    /// Add to the own bond.
    Bond {
        /// Such as 100mill.
        #[arg(value_parser = money::mill)]
        amount: U256,
    },
    /// Start to take the own bond out; it takes seven days. With all of it the node leaves the registry at once.
    Unbond {
        /// Such as 100mill, or all.
        #[arg(value_parser = money::mill_or_all)]
        amount: Part,
    },
    /// Take out what has unbonded.
    Withdraw,
    /// Delegate to a node: it earns its fees, and is slashed with it.
    Delegate {
        /// The node.
        #[arg(value_parser = money::address)]
        node: Address,
        /// Such as 100mill.
        #[arg(value_parser = money::mill)]
        amount: U256,
    },
    /// Start to take a delegation out; it takes seven days.
    Undelegate {
        /// The node.
        #[arg(value_parser = money::address)]
        node: Address,
        /// Such as 100mill, or all.
        #[arg(value_parser = money::mill_or_all)]
        amount: Part,
    },
    /// Take out what has unbonded of a delegation.
    WithdrawDelegation {
        /// The node.
        #[arg(value_parser = money::address)]
        node: Address,
    },
    /// Set the own commission. A lower one holds at once, a higher one in seven days.
    Commission {
        /// Per cent of all fees, such as 7.5.
        #[arg(value_parser = percent)]
        percent: u16,
    },
    /// Fees that delegating, or a node's own bond and commission, have earned.
    #[command(subcommand)]
    Fees(FeesCommand),
    /// Show a node, and what this account has there.
    Show {
        /// The node; without it the key's own.
        #[arg(value_parser = money::address)]
        node: Option<Address>,
    },
    /// List the nodes of the registry.
    List,
    /// The secrets by which an orchestrator chooses what it verifies.
    #[command(subcommand)]
    Sampling(sampling::SamplingCommand),
    /// Prove contradictions, and dispute renditions.
    #[command(subcommand)]
    Dispute(dispute::DisputeCommand),
}

#[derive(Debug, clap::Subcommand)]
enum FeesCommand {
    /// Show what can be claimed.
    Show {
        /// At which node; without it at the key's own.
        #[arg(value_parser = money::address)]
        node: Option<Address>,
    },
    /// Have it paid out.
    Claim {
        /// At which node; without it at the key's own.
        #[arg(value_parser = money::address)]
        node: Option<Address>,
    },
}

/// Runs it.
pub fn main(args: StakeArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args.common, args.command))
}

async fn run(common: Common, command: StakeCommand) -> Result<(), Failure> {
    match command {
        StakeCommand::List => nodes(&common.look().await?).await,
        StakeCommand::Show { node } | StakeCommand::Fees(FeesCommand::Show { node }) => {
            let me = if common.keystore.is_some() || node.is_none() || common.config.is_some() {
                Some(common.address()?)
            } else {
                None
            };
            let desk = common.look().await?;
            let Some(node) = node.or(me) else { return Err(Failure::usage("which node?")) };
            let sheet = node_sheet(&desk, node, me.unwrap_or(node)).await?;
            show(&desk, &sheet.json(), &sheet.show(desk.now))
        }
        StakeCommand::Sampling(command) => sampling::run(common, command).await,
        StakeCommand::Dispute(command) => dispute::run(common, command).await,
        command => change(&common.open().await?, command).await,
    }
}

/// What sends a transaction.
async fn change(desk: &Desk, command: StakeCommand) -> Result<(), Failure> {
    let (me, registry) = (desk.me(), desk.chain.contracts().registry);
    let own = async || node_sheet(desk, me, me).await;
    match command {
        StakeCommand::Register { role, uri, fingerprint, bond, commission } => {
            sampling::nothing_overdue(desk).await?;
            let bond = match bond {
                Some(bond) => bond,
                None => desk.chain.min_bond().await?.saturating_sub(desk.chain.node_view(me).await?.bond.to()),
            };
            let fingerprint = match fingerprint {
                Some(fingerprint) => fingerprint,
                None => load_identity(&desk.common.data_dir()?, desk.signer.clone())?.fingerprint(),
            };
            let mut calls: Vec<Vec<u8>> = commission
                .map(|commission| Registry::setCommissionCall { commission }.abi_encode())
                .into_iter()
                .collect();
            let call = Registry::registerCall { roles: bits(&role), serviceURI: uri, fingerprint, bond: narrow(bond)? };
            calls.push(call.abi_encode());
            let step = desk.chain.bonding_step("register", bond, &calls).await?;
            act(desk, &format!("register {me}"), vec![step], own).await
        }
        StakeCommand::Update { role, uri, fingerprint } => {
            let node = desk.chain.node_view(me).await?;
            let call = Registry::updateCall {
                roles: if role.is_empty() { node.roles } else { bits(&role) },
                serviceURI: uri.unwrap_or(node.serviceURI),
                fingerprint: fingerprint.unwrap_or(node.fingerprint),
            };
            act(desk, &format!("update {me}"), vec![Step::call("update", registry, &call)], own).await
        }
        StakeCommand::Bond { amount } => {
            let call = Registry::addBondCall { amount: narrow(amount)? }.abi_encode();
            let step = desk.chain.bonding_step("bond", amount, &[call]).await?;
            act(desk, &format!("add to the bond of {me}"), vec![step], own).await
        }
        StakeCommand::Unbond { amount } => {
            let bond = desk.chain.node_view(me).await?.bond.to();
            let amount = amount.of(bond);
            let call = Registry::startUnbondCall { amount: narrow(amount)? };
            let step = Step::call("unbond", registry, &call).of(Amount::Mill(amount));
            act(desk, &format!("take the bond of {me} out"), vec![step], own).await
        }
        StakeCommand::Withdraw => {
            let step = Step::call("withdraw", registry, &Registry::withdrawBondCall {});
            act(desk, &format!("withdraw what has unbonded of {me}"), vec![step], own).await
        }
        StakeCommand::Delegate { node, amount } => {
            let call = Registry::delegateCall { node, amount: narrow(amount)? }.abi_encode();
            let step = desk.chain.bonding_step("delegate", amount, &[call]).await?;
            act(desk, &format!("delegate to {node}"), vec![step], async || node_sheet(desk, node, me).await).await
        }
        StakeCommand::Undelegate { node, amount } => {
            let call = Registry::delegationCall { node, who: me };
            let delegated = desk.chain.view("delegation", registry, &call).await?.amount.to();
            let shown = Amount::Mill(amount.of(delegated));
            let amount = if let Part::Of(amount) = amount { narrow(amount)? } else { U96::MAX };
            let step = Step::call("undelegate", registry, &Registry::undelegateCall { node, amount }).of(shown);
            let about = format!("take a delegation to {node} out");
            act(desk, &about, vec![step], async || node_sheet(desk, node, me).await).await
        }
        StakeCommand::WithdrawDelegation { node } => {
            let step = Step::call("withdraw", registry, &Registry::withdrawDelegationCall { node });
            let about = format!("withdraw what has unbonded of a delegation to {node}");
            act(desk, &about, vec![step], async || node_sheet(desk, node, me).await).await
        }
        StakeCommand::Commission { percent } => {
            let step = Step::call("set the commission", registry, &Registry::setCommissionCall { commission: percent });
            act(desk, &format!("set the commission of {me}"), vec![step], own).await
        }
        StakeCommand::Fees(FeesCommand::Claim { node }) => {
            let node = node.unwrap_or(me);
            let step = Step::call("claim fees", registry, &Registry::claimFeesCall { node });
            let about = format!("have the fees paid out that were earned at {node}");
            act(desk, &about, vec![step], async || node_sheet(desk, node, me).await).await
        }
        // The rest does not come here.
        _ => Ok(()),
    }
}

/// A node, and what `who` has there and beside it.
async fn node_sheet(desk: &Desk, node: Address, who: Address) -> Result<Sheet, Failure> {
    let chain = &desk.chain;
    let view = chain.node_view(node).await?;
    let mut lines = vec![
        ("node", Cell::text(node)),
        ("roles", Cell::Text(role_names(view.roles))),
        ("uri", Cell::Text(view.serviceURI)),
        ("fingerprint", Cell::text(view.fingerprint)),
        ("bond", Cell::Mill(view.bond.to())),
        ("unbonding", Cell::Mill(view.unbonding.to())),
        ("withdrawable", Cell::Time(view.withdrawableAt.to())),
        ("delegated", Cell::Mill(view.delegated.to())),
        ("leaving", Cell::Mill(view.delegatedUnbonding.to())),
        ("commission", Cell::Text(percent_text(view.commission))),
    ];
    if !view.nextCommissionAt.is_zero() {
        lines.push(("next commission", Cell::Text(percent_text(view.nextCommission))));
        lines.push(("from", Cell::Time(view.nextCommissionAt.to())));
    }
    let call = Registry::delegationCall { node, who };
    let mine = chain.view("delegation", chain.contracts().registry, &call).await?;
    if who != node {
        lines.push(("my delegation", Cell::Mill(mine.amount.to())));
        lines.push(("my unbonding", Cell::Mill(mine.unbonding.to())));
        lines.push(("my withdrawable", Cell::Time(mine.withdrawableAt.to())));
    }
    lines.push(("my fees", Cell::Coin(mine.fees)));
    lines.push(("my coin", Cell::Coin(chain.balance(who).await?)));
    lines.push(("my tokens", Cell::Mill(chain.tokens(who).await?)));
    Ok(Sheet(lines))
}

async fn nodes(desk: &Desk) -> Result<(), Failure> {
    let updated: Vec<Registry::NodeUpdated> =
        desk.chain.events(desk.chain.contracts().registry, [None, None], desk.first_block).await?;
    let mut sheets = Vec::new();
    for node in updated.into_iter().map(|event| event.node).collect::<BTreeSet<_>>() {
        let view = desk.chain.node_view(node).await?;
        if view.roles == 0 {
            continue;
        }
        sheets.push(Sheet(vec![
            ("node", Cell::text(node)),
            ("roles", Cell::Text(role_names(view.roles))),
            ("bond", Cell::Mill(view.bond.to())),
            ("delegated", Cell::Mill(view.delegated.to())),
            ("commission", Cell::Text(percent_text(view.commission))),
            ("uri", Cell::Text(view.serviceURI)),
        ]));
    }
    show(desk, &json!({ "nodes": list(&sheets) }), &table(&sheets, desk.now))
}

fn bits(roles: &[Role]) -> u8 {
    ROLES.iter().filter(|(role, ..)| roles.contains(role)).map(|(_, bit, _)| bit).sum()
}

fn role_names(bits: u8) -> String {
    let names: Vec<&str> = ROLES.iter().filter(|(_, bit, _)| bits & bit != 0).map(|(.., name)| *name).collect();
    if names.is_empty() { "none: not registered".into() } else { names.join(", ") }
}

/// Per cent with up to two digits after the point, as basis points.
fn percent(text: &str) -> Result<u16, String> {
    let number: f64 = text.trim_end_matches('%').trim().parse().map_err(|_| "say per cent, such as 7.5".to_owned())?;
    let bps = number * 100.0;
    if !(0.0..=10_000.0).contains(&bps) || (bps - bps.round()).abs() > 1e-6 {
        return Err("0 to 100 per cent, with two digits after the point at the most".into());
    }
    Ok(bps.round() as u16)
}

fn percent_text(bps: u16) -> String {
    format!("{}.{:02} %", bps / 100, bps % 100)
}

fn narrow(amount: U256) -> Result<U96, Failure> {
    U96::checked_from_limbs_slice(amount.as_limbs()).ok_or_else(|| Failure::usage("the amount does not fit 96 bits"))
}
