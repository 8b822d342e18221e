//! `millrace wallet`: keys, coin, locks, session keys and winners, by hand.

mod keys;
mod winners;

use std::collections::BTreeSet;

use alloy::primitives::{Address, U256, aliases::U40, aliases::U96};
use millrace_contracts::bindings::{MillraceToken, TicketBroker};
use millrace_contracts::{Amount, Step};
use serde_json::json;

use crate::Failure;
use crate::cli::act::{act, show};
use crate::cli::money::{self, Money, Part};
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::cli::{Common, Desk};

/// The command line of `millrace wallet`.
#[derive(Debug, clap::Args)]
pub struct WalletArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WalletCommand {
    /// Make a key under a passphrase.
    New,
    /// Take a key in from standard input, 64 hex digits, under a passphrase.
    Import,
    /// Print the address.
    Address,
    /// Put a plain key under a passphrase, in its file.
    Encrypt,
    /// Show coin, tokens, credit, bond and the locks towards each payee.
    Balance {
        /// Whose; without it the key's.
        #[arg(value_parser = money::address)]
        account: Option<Address>,
    },
    /// Lock coin for a payee.
    Fund {
        /// Who is paid from it: an orchestrator, or a transcoder.
        #[arg(value_parser = money::address)]
        payee: Address,
        /// Such as 0.02eth.
        #[arg(value_parser = money::coin)]
        amount: U256,
    },
    /// Add coin to the lock of another payer.
    FundFor {
        /// Whose lock.
        #[arg(value_parser = money::address)]
        payer: Address,
        /// Who is paid from it.
        #[arg(value_parser = money::address)]
        payee: Address,
        /// Such as 0.02eth.
        #[arg(value_parser = money::coin)]
        amount: U256,
    },
    /// Announce that coin will be taken out of a lock, 72 hours ahead.
    Unlock {
        /// Whose lock it is.
        #[arg(value_parser = money::address)]
        payee: Address,
        /// Such as 0.02eth, or all.
        #[arg(value_parser = money::coin_or_all)]
        amount: Part,
    },
    /// Take the announcement back.
    CancelUnlock {
        /// Whose lock it is.
        #[arg(value_parser = money::address)]
        payee: Address,
    },
    /// Take out what was announced, once its time is over.
    Withdraw {
        /// Whose lock it is.
        #[arg(value_parser = money::address)]
        payee: Address,
    },
    /// Have the credit of redeemed winners paid out: to the payee, or to it and its delegators.
    Claim {
        /// Whose credit; without it the key's.
        #[arg(value_parser = money::address)]
        payee: Option<Address>,
    },
    /// Keys that may sign tickets for this account.
    #[command(subcommand)]
    SessionKey(SessionKeyCommand),
    /// Who may take this account's winners to the chain.
    #[command(subcommand)]
    Carrier(CarrierCommand),
    /// Send coin or MILL.
    Send {
        /// Who gets it.
        #[arg(value_parser = money::address)]
        to: Address,
        /// Such as 0.1eth or 100mill.
        #[arg(value_parser = money::money)]
        amount: Money,
    },
    /// Take the winners that wait in a stopped node's database to the chain now.
    Redeem,
    /// Show what a node's tickets are worth: expected, redeemed, waiting.
    Tickets,
}

#[derive(Debug, clap::Subcommand)]
enum SessionKeyCommand {
    /// Let a key sign tickets. Its terms never change: for others, take another key.
    Add {
        /// The key's address.
        #[arg(value_parser = money::address)]
        key: Address,
        /// How long, such as 30d: none of its tickets can expire later.
        #[arg(long = "for", value_name = "SPAN", value_parser = money::span)]
        span: u64,
        /// What each payee can redeem from it for each day (UTC) of issue, such as 0.1eth.
        #[arg(long, value_name = "AMOUNT", value_parser = money::coin)]
        daily_cap: U256,
    },
    /// End a key: 72 hours from now, so that tickets that were taken stay good.
    Revoke {
        /// The key's address.
        #[arg(value_parser = money::address)]
        key: Address,
    },
    /// List the keys.
    Show,
}

#[derive(Debug, clap::Subcommand)]
enum CarrierCommand {
    /// Let another account redeem for this one; the money comes here in any case.
    Add {
        /// The carrier.
        #[arg(value_parser = money::address)]
        carrier: Address,
    },
    /// No longer.
    Remove {
        /// The carrier.
        #[arg(value_parser = money::address)]
        carrier: Address,
    },
}

/// Runs it.
pub fn main(args: WalletArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args.common, args.command))
}

async fn run(common: Common, command: WalletCommand) -> Result<(), Failure> {
    match command {
        WalletCommand::New => keys::new(&common),
        WalletCommand::Import => keys::import(&common),
        WalletCommand::Address => keys::address(&common),
        WalletCommand::Encrypt => keys::encrypt(&common),
        WalletCommand::Redeem => winners::redeem(common).await,
        WalletCommand::Tickets => winners::tickets(common).await,
        WalletCommand::Balance { account } => {
            let account = account.map_or_else(|| common.address(), Ok)?;
            balance(&common.look().await?, account).await
        }
        WalletCommand::SessionKey(SessionKeyCommand::Show) => {
            let account = common.address()?;
            session_keys(&common.look().await?, account).await
        }
        command => change(&common.open().await?, command).await,
    }
}

/// What sends a transaction.
async fn change(desk: &Desk, command: WalletCommand) -> Result<(), Failure> {
    let (me, broker, token) = (desk.me(), desk.chain.contracts().broker, desk.chain.contracts().token);
    match command {
        WalletCommand::Fund { payee, amount } => {
            let step = Step::call("lock", broker, &TicketBroker::fundCall { payee }).paying(amount);
            act(desk, &format!("lock coin for {payee}"), vec![step], async || lock(desk, me, payee).await).await
        }
        WalletCommand::FundFor { payer, payee, amount } => {
            let step = Step::call("lock", broker, &TicketBroker::fundForCall { payer, payee }).paying(amount);
            let about = format!("lock coin of this account for {payer} towards {payee}");
            act(desk, &about, vec![step], async || lock(desk, payer, payee).await).await
        }
        WalletCommand::Unlock { payee, amount } => {
            let locked = pair(desk, me, payee).await?.locked.to();
            let amount = narrow(amount.of(locked))?;
            let step = Step::call("announce", broker, &TicketBroker::requestUnlockCall { payee, amount })
                .of(Amount::Coin(amount.to()));
            let about = format!("announce that coin will be taken out of the lock for {payee}");
            act(desk, &about, vec![step], async || lock(desk, me, payee).await).await
        }
        WalletCommand::CancelUnlock { payee } => {
            let step = Step::call("cancel the unlock", broker, &TicketBroker::cancelUnlockCall { payee });
            let about = format!("leave the lock for {payee} as it is");
            act(desk, &about, vec![step], async || lock(desk, me, payee).await).await
        }
        WalletCommand::Withdraw { payee } => {
            let step = Step::call("withdraw", broker, &TicketBroker::withdrawCall { payee });
            let about = format!("take coin out of the lock for {payee}");
            act(desk, &about, vec![step], async || lock(desk, me, payee).await).await
        }
        WalletCommand::Claim { payee } => {
            let payee = payee.unwrap_or(me);
            let step = Step::call("claim", broker, &TicketBroker::claimCall { payee });
            let credit = async || {
                let credit = desk.chain.view("credit", broker, &TicketBroker::creditCall { payee }).await?;
                let coin = desk.chain.balance(payee).await?;
                Ok(Sheet(vec![("coin", Cell::Coin(coin)), ("credit", Cell::Coin(credit))]))
            };
            act(desk, &format!("have the credit of {payee} paid out"), vec![step], credit).await
        }
        WalletCommand::SessionKey(SessionKeyCommand::Add { key, span, daily_cap }) => {
            let expiry = U40::saturating_from(desk.now.saturating_add(span));
            let call = TicketBroker::setSessionKeyCall { key, expiry, dailyCap: narrow(daily_cap)? };
            let step = Step::call("set the session key", broker, &call).of(Amount::Coin(daily_cap));
            let about = format!("let {key} sign tickets of this account");
            act(desk, &about, vec![step], async || session_key(desk, me, key).await).await
        }
        WalletCommand::SessionKey(SessionKeyCommand::Revoke { key }) => {
            let step = Step::call("revoke the session key", broker, &TicketBroker::revokeSessionKeyCall { key });
            let about = format!("end session key {key}");
            act(desk, &about, vec![step], async || session_key(desk, me, key).await).await
        }
        WalletCommand::Carrier(CarrierCommand::Add { carrier }) => set_carrier(desk, carrier, true).await,
        WalletCommand::Carrier(CarrierCommand::Remove { carrier }) => set_carrier(desk, carrier, false).await,
        WalletCommand::Send { to, amount } => {
            let step = match amount {
                Money::Coin(value) => Step::send("send", to, value),
                Money::Mill(value) => {
                    Step::call("send MILL", token, &MillraceToken::transferCall { to, value }).of(Amount::Mill(value))
                }
            };
            let sheet = async || {
                let (coin, mill) = (desk.chain.balance(me).await?, desk.chain.tokens(me).await?);
                let (theirs, mills) = (desk.chain.balance(to).await?, desk.chain.tokens(to).await?);
                Ok(Sheet(vec![
                    ("coin", Cell::Coin(coin)),
                    ("tokens", Cell::Mill(mill)),
                    ("receiver's coin", Cell::Coin(theirs)),
                    ("receiver's tokens", Cell::Mill(mills)),
                ]))
            };
            act(desk, &format!("send to {to}"), vec![step], sheet).await
        }
        // The rest does not come here.
        _ => Ok(()),
    }
}

async fn set_carrier(desk: &Desk, carrier: Address, allowed: bool) -> Result<(), Failure> {
    let (payee, broker) = (desk.me(), desk.chain.contracts().broker);
    let step = Step::call("set the carrier", broker, &TicketBroker::setCarrierCall { carrier, allowed });
    let sheet = async || {
        let call = TicketBroker::isCarrierCall { payee, carrier };
        let may = desk.chain.view("carrier", broker, &call).await?;
        Ok(Sheet(vec![("carrier", Cell::text(carrier)), ("may redeem", Cell::text(may))]))
    };
    let about = if allowed { "let another account redeem" } else { "let another account redeem no longer" };
    act(desk, about, vec![step], sheet).await
}

async fn pair(desk: &Desk, payer: Address, payee: Address) -> Result<TicketBroker::Pair, Failure> {
    let call = TicketBroker::pairCall { payer, payee };
    Ok(desk.chain.view("lock", desk.chain.contracts().broker, &call).await?)
}

fn lock_lines(pair: &TicketBroker::Pair) -> [(&'static str, Cell); 3] {
    [
        ("locked", Cell::Coin(pair.locked.to())),
        ("unlocking", Cell::Coin(pair.pendingUnlock.to())),
        ("unlocks", Cell::Time(pair.unlockAt.to())),
    ]
}

/// The signer's coin, and a lock.
async fn lock(desk: &Desk, payer: Address, payee: Address) -> Result<Sheet, Failure> {
    let mut lines = vec![("coin", Cell::Coin(desk.chain.balance(desk.me()).await?))];
    lines.extend(lock_lines(&pair(desk, payer, payee).await?));
    Ok(Sheet(lines))
}

async fn session_key(desk: &Desk, payer: Address, key: Address) -> Result<Sheet, Failure> {
    let call = TicketBroker::sessionKeyCall { payer, key };
    let terms = desk.chain.view("session key", desk.chain.contracts().broker, &call).await?;
    Ok(Sheet(vec![
        ("key", Cell::text(key)),
        ("ends", Cell::Time(terms.expiry.to())),
        ("daily cap", Cell::Coin(terms.dailyCap.to())),
    ]))
}

async fn session_keys(desk: &Desk, account: Address) -> Result<(), Failure> {
    let broker = desk.chain.contracts().broker;
    let set: Vec<TicketBroker::SessionKeySet> =
        desk.chain.events(broker, [Some(account), None], desk.first_block).await?;
    let mut sheets = Vec::new();
    for key in set.into_iter().map(|event| event.key).collect::<BTreeSet<_>>() {
        sheets.push(session_key(desk, account, key).await?);
    }
    let text = format!("session keys of {account}\n{}", table(&sheets, desk.now));
    show(desk, &json!({ "account": account.to_string(), "session_keys": list(&sheets) }), &text)
}

async fn balance(desk: &Desk, account: Address) -> Result<(), Failure> {
    let (chain, broker) = (&desk.chain, desk.chain.contracts().broker);
    let node = chain.node_view(account).await?;
    let credit = chain.view("credit", broker, &TicketBroker::creditCall { payee: account }).await?;
    let sheet = Sheet(vec![
        ("account", Cell::text(account)),
        ("coin", Cell::Coin(chain.balance(account).await?)),
        ("tokens", Cell::Mill(chain.tokens(account).await?)),
        ("credit", Cell::Coin(credit)),
        ("bond", Cell::Mill(node.bond.to())),
        ("unbonding", Cell::Mill(node.unbonding.to())),
    ]);
    let funded: Vec<TicketBroker::Funded> = chain.events(broker, [Some(account), None], desk.first_block).await?;
    let mut locks = Vec::new();
    for payee in funded.into_iter().map(|event| event.payee).collect::<BTreeSet<_>>() {
        let mut lines = vec![("payee", Cell::text(payee))];
        lines.extend(lock_lines(&pair(desk, account, payee).await?));
        locks.push(Sheet(lines));
    }
    let mut report = sheet.json();
    report["locks"] = list(&locks);
    show(desk, &report, &format!("{}locks\n{}", sheet.show(desk.now), table(&locks, desk.now)))
}

fn narrow(amount: U256) -> Result<U96, Failure> {
    U96::checked_from_limbs_slice(amount.as_limbs()).ok_or_else(|| Failure::usage("the amount does not fit 96 bits"))
}
