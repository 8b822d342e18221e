//! From a plan to its transactions: what is, what would be done and what it costs, the question, what was done, what is then.

use std::io::{IsTerminal, Write};

use alloy::primitives::U256;
use millrace_contracts::words::{decimal, thousands};
use millrace_contracts::{Quote, Step, StepError};
use serde_json::{Value, json};

use super::sheet::Sheet;
use super::{Common, Desk};
use crate::Failure;

/// Takes `steps` in their order, after showing them with their cost and asking. `sheet` tells what they change. Where one fails,
/// those after it are not taken.
pub async fn act(
    desk: &Desk,
    about: &str,
    steps: Vec<Step>,
    sheet: impl AsyncFn() -> Result<Sheet, Failure>,
) -> Result<(), Failure> {
    act_then(desk, about, steps, async || Ok(None), sheet).await
}

/// The same, and one more step where `then`, asked when the others are mined, gives one. It is part of what was agreed to: `about` or
/// a step before it says so.
pub async fn act_then(
    desk: &Desk,
    about: &str,
    steps: Vec<Step>,
    then: impl AsyncFn() -> Result<Option<Step>, Failure>,
    sheet: impl AsyncFn() -> Result<Sheet, Failure>,
) -> Result<(), Failure> {
    let before = sheet().await?;
    let mut quotes = Vec::new();
    for step in &steps {
        quotes.push(match desk.chain.quote(step).await {
            Ok(quote) => Some(quote),
            // What it stands on is not there before the first is taken.
            Err(StepError::Refused { .. }) if !quotes.is_empty() => None,
            Err(error) => return Err(error.into()),
        });
    }
    let mut report = json!({
        "command": about,
        "dry_run": desk.common.dry_run,
        "before": before.json(),
        "steps": steps.iter().zip(&quotes).map(|(step, quote)| step_json(step, *quote)).collect::<Vec<_>>(),
        "sent": [],
    });
    if !desk.common.json {
        say(&format!("{about}\n{}", before.show(desk.now)));
        for (step, quote) in steps.iter().zip(&quotes) {
            say(&format!("  {}\n", step_text(step, *quote)));
        }
    }
    if desk.common.dry_run {
        return finish(desk, &report, "dry run: nothing was sent\n");
    }
    confirm(&desk.common)?;
    let mut sent = Vec::new();
    for step in &steps {
        sent.push(send(desk, step).await?);
    }
    if let Some(step) = then().await? {
        sent.push(send(desk, &step).await?);
    }
    let after = sheet().await?;
    report["sent"] = sent.into();
    report["after"] = after.json();
    finish(desk, &report, &after.show_change(&before, desk.now))
}

/// Takes a step, and tells of it.
async fn send(desk: &Desk, step: &Step) -> Result<Value, Failure> {
    let mined = desk.chain.make(step).await?;
    if !desk.common.json {
        let (gas, cost) = (thousands(mined.gas_used), decimal(mined.fee));
        say(&format!("sent {}: {}, block {}, gas {gas}, cost {cost} ETH\n", step.what, mined.tx, mined.block));
    }
    Ok(json!({
        "what": step.what, "tx": mined.tx, "block": mined.block, "gas": mined.gas_used, "cost_wei": mined.fee.to_string(),
    }))
}

/// Shows what is, and nothing else.
pub fn show(desk: &Desk, report: &Value, text: &str) -> Result<(), Failure> {
    finish(desk, report, text)
}

/// Asks whether to go on, unless that was said beforehand.
pub fn confirm(common: &Common) -> Result<(), Failure> {
    if common.yes {
        return Ok(());
    }
    if common.json {
        // What would be sent is printed when all is done: a question now would be about something that nobody has seen.
        return Err(Failure::usage("--json asks no questions: say --yes to send, or --dry-run"));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask: say --yes to send, or --dry-run"));
    }
    eprint!("Send? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure("nothing was sent".into(), 1)) }
}

/// Writes to standard output.
#[allow(clippy::print_stdout, reason = "this is what the commands are for")]
pub fn say(text: &str) {
    print!("{text}");
}

fn finish(desk: &Desk, report: &Value, text: &str) -> Result<(), Failure> {
    if desk.common.json {
        say(&(serde_json::to_string_pretty(report)? + "\n"));
    } else {
        say(text);
    }
    Ok(())
}

fn step_json(step: &Step, quote: Option<Quote>) -> Value {
    json!({
        "what": step.what,
        "to": step.to.to_string(),
        "value_wei": step.value.to_string(),
        "amount": step.amount.map(|amount| amount.to_string()),
        "input": step.input,
        "gas": quote.map(|quote| quote.gas),
        "cost_wei": quote.map(|quote| quote.cost.to_string()),
    })
}

fn step_text(step: &Step, quote: Option<Quote>) -> String {
    let value = if step.value == U256::ZERO { String::new() } else { format!(" with {} ETH", decimal(step.value)) };
    let cost = match quote {
        Some(Quote { gas, cost }) => format!("gas {}, about {} ETH", thousands(gas), decimal(cost)),
        None => "its gas is known once the step before it is taken".into(),
    };
    let amount = step.amount.map(|amount| format!(" ({amount})")).unwrap_or_default();
    format!("would {}{amount}{value} at {}: {cost}", step.what, step.to)
}
