//! The winners in a node's database: what they are worth, and to the chain with them without the node.

use std::path::Path;
use std::time::Duration;

use alloy::primitives::U256;
use millrace_contracts::bindings::TicketBroker;
use millrace_contracts::words::decimal;
use millrace_hop::Account;
use millrace_hop::account::DATABASE;
use millrace_node::files::Lock;
use millrace_node::telemetry::{self, LogConfig};
use millrace_store::{Store, Winner};
use serde_json::json;

use crate::Failure;
use crate::cli::act::{confirm, say, show};
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::cli::{Common, Desk};

/// All winners are final within this: a batch takes some blocks, and two follow it.
const REDEEM_TIMEOUT: Duration = Duration::from_secs(300);
/// Between two looks at the transactions.
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn tickets(common: Common) -> Result<(), Failure> {
    let data_dir = common.data_dir()?;
    let store = open(&data_dir).await?;
    let (totals, waiting) = (store.totals().await?, store.replay().await?);
    let sheet = Sheet(vec![
        ("received", Cell::Count(totals.received)),
        ("expected", Cell::Coin(totals.received_expected)),
        ("winners", Cell::Count(totals.winners)),
        ("redeemed", Cell::Coin(totals.redeemed)),
        ("waiting", Cell::Count(waiting.len() as u64)),
        ("waiting worth", Cell::Coin(worth(&waiting))),
        ("dropped", Cell::Count(totals.dropped)),
        ("sent", Cell::Count(totals.sent)),
        ("sent expected", Cell::Coin(totals.sent_expected)),
    ]);
    let winners: Vec<Sheet> = waiting
        .iter()
        .map(|w| {
            Sheet(vec![
                ("payer", Cell::text(w.ticket.payer)),
                ("worth", Cell::Coin(U256::from(w.ticket.faceValue))),
                ("state", Cell::text(w.state)),
                ("expires", Cell::Time(w.ticket.expiry.to())),
            ])
        })
        .collect();
    store.close().await;
    let mut report = sheet.json();
    report["winners_waiting"] = list(&winners);
    let now = millrace_hop::unix_now();
    let text = format!("{}winners that wait\n{}", sheet.show(now), table(&winners, now));
    if common.json {
        say(&(serde_json::to_string_pretty(&report)? + "\n"))
    } else {
        say(&text)
    }
    Ok(())
}

pub(super) async fn redeem(common: Common) -> Result<(), Failure> {
    let data_dir = common.data_dir()?;
    let _lock = Lock::take(&data_dir)
        .map_err(|error| Failure(format!("{error}; a running node takes its winners to the chain by itself"), 1))?;
    let waiting = open(&data_dir).await?.replay().await?;
    let desk = common.open().await?;
    let cost = desk.chain.redemption_cost(waiting.len().max(1) as u64).await?;
    let before = balance(&desk).await?;
    let (count, face) = (waiting.len(), worth(&waiting));
    let mut report = json!({
        "command": "redeem",
        "dry_run": desk.common.dry_run,
        "winners": count,
        "worth_wei": face.to_string(),
        "cost_wei": cost.to_string(),
        "before": before.json(),
    });
    if !desk.common.json {
        let (face, cost) = (decimal(face), decimal(cost));
        say(&format!(
            "take {count} winners of {face} ETH to the chain, for about {cost} ETH\n{}",
            before.show(desk.now)
        ));
    }
    if desk.common.dry_run {
        return show(&desk, &report, "dry run: nothing was sent\n");
    }
    if count == 0 {
        return show(&desk, &report, "no winner waits\n");
    }
    confirm(&desk.common)?;
    // Why one is not taken is said by the redeemer, in its log.
    telemetry::init(&LogConfig { filter: "error,millrace=warn".into(), ..LogConfig::default() })?;
    let account =
        Account::open("wallet", &data_dir, desk.options.clone(), desk.chain.contracts(), desk.signer.clone()).await?;
    let mut redeemer = account.redeemer(1, 0);
    let settled = async {
        loop {
            redeemer.step().await?;
            if account.store.replay().await?.is_empty() {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(REDEEM_TIMEOUT, settled).await.map_err(|_| {
        Failure(format!("not all winners are final after {} s: run it again later", REDEEM_TIMEOUT.as_secs()), 1)
    })??;
    let after = balance(&desk).await?;
    report["after"] = after.json();
    show(&desk, &report, &after.show_change(&before, desk.now))
}

/// A node's database. It is not made if it is not there.
async fn open(data_dir: &Path) -> Result<Store, Failure> {
    let path = data_dir.join(DATABASE);
    if !path.exists() {
        return Err(Failure::usage(format!("there is no {}: has this node ever run?", path.display())));
    }
    Ok(Store::open(&path.to_string_lossy()).await?)
}

async fn balance(desk: &Desk) -> Result<Sheet, Failure> {
    let call = TicketBroker::creditCall { payee: desk.me() };
    let credit = desk.chain.view("credit", desk.chain.contracts().broker, &call).await?;
    Ok(Sheet(vec![("coin", Cell::Coin(desk.chain.balance(desk.me()).await?)), ("credit", Cell::Coin(credit))]))
}

fn worth(winners: &[Winner]) -> U256 {
    winners.iter().map(|w| U256::from(w.ticket.faceValue)).sum()
}
