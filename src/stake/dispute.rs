//! `millrace stake dispute`: contradictions proved by two signatures, and disputes that a committee decides. Signed objects come
//! as the nodes write them in JSON: `{ "body": { .. }, "signature": "0x.." }`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use millrace_contracts::bindings::MillraceToken;
use millrace_contracts::bindings::disputes::{Disputes, TicketBroker};
use millrace_contracts::{Amount, Step, status_name};
use millrace_tickets::{Assignment, SegmentReceipt, Signed, Ticket, Verdict};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Failure;
use crate::cli::act::{act, act_then, show};
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::cli::{Common, Desk, money};

#[derive(Debug, clap::Subcommand)]
pub enum DisputeCommand {
    /// Prove that a worker signed two different receipts for one assignment: it is slashed, and you get the prover's part.
    ProveReceipts {
        /// A signed receipt, JSON.
        a: PathBuf,
        /// Another one of the same assignment and worker.
        b: PathBuf,
    },
    /// Prove that an assigner signed two different assignments for one try at one segment.
    ProveAssignments {
        /// A signed assignment, JSON.
        a: PathBuf,
        /// Another one of the same stream, segment, attempt and assigner.
        b: PathBuf,
    },
    /// Prove that a payer signed both a fail and a ticket for one receipt.
    ProveVerdict {
        /// The signed verdict, JSON.
        verdict: PathBuf,
        /// The signed ticket, JSON.
        ticket: PathBuf,
    },
    /// Dispute what a worker made of your assignment, with the dispute deposit at stake. A minute later it draws the committee, too: a
    /// dispute that nobody draws within 256 blocks costs the deposit.
    Open {
        /// Your signed assignment, JSON.
        assignment: PathBuf,
        /// The worker's signed receipt, JSON.
        receipt: PathBuf,
        /// keccak256 of the evidence: source and renditions.
        #[arg(long)]
        evidence: B256,
        /// Where the evidence is.
        #[arg(long)]
        uri: String,
        /// Leaves the draw to another, or to `draw`.
        #[arg(long)]
        no_draw: bool,
    },
    /// Draw the committee: anyone can, from the fifth block after the opening on, and has to within 256 blocks.
    Draw {
        /// The dispute's number.
        id: u64,
    },
    /// Vote as a member of the committee: commits to a finding that nobody can read yet.
    Vote {
        /// The dispute's number.
        id: u64,
        /// What the checker found.
        finding: Finding,
    },
    /// Reveal the vote, once voting is over. The finding and its salt are found by the key.
    Reveal {
        /// The dispute's number.
        id: u64,
    },
    /// End a dispute, once revealing is over.
    Settle {
        /// The dispute's number.
        id: u64,
    },
    /// Show a dispute and its committee.
    Show {
        /// The dispute's number.
        id: u64,
    },
    /// Let this account, a registered checker, be drawn.
    Enlist,
    /// No longer. Seats that it has, it keeps.
    Resign,
    /// Take who is a checker no more, or has resigned, off the list.
    Evict {
        /// Who.
        #[arg(value_parser = money::address)]
        checker: Address,
    },
}

/// What a checker finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Finding {
    /// The renditions look like their source.
    Pass,
    /// They do not.
    Fail,
    /// The evidence is not to be had.
    Unavailable,
}

/// The state of a dispute before its draw.
const WAITS_FOR_DRAW: u8 = 1;
/// How long `open` waits for the block by which it draws: five blocks of half a minute, and as long again.
const DRAW_TIMEOUT: Duration = Duration::from_secs(300);
/// How often it looks.
const DRAW_POLL: Duration = Duration::from_millis(500);

/// Findings as the contract numbers them, with their names.
const FINDINGS: [(Finding, u8, &str); 3] =
    [(Finding::Pass, 1, "pass"), (Finding::Fail, 2, "fail"), (Finding::Unavailable, 3, "unavailable")];

pub(super) async fn run(common: Common, command: DisputeCommand) -> Result<(), Failure> {
    if let DisputeCommand::Show { id } = command {
        let desk = common.look().await?;
        let (sheet, seats) = (sheet(&desk, id).await?, seats(&desk, id).await?);
        let mut report = sheet.json();
        report["committee"] = list(&seats);
        return show(&desk, &report, &format!("{}committee\n{}", sheet.show(desk.now), table(&seats, desk.now)));
    }
    let desk = &common.open().await?;
    let contract = desk.chain.contracts().disputes;
    match command {
        DisputeCommand::ProveReceipts { a, b } => {
            let (a, b): (Signed<SegmentReceipt>, Signed<SegmentReceipt>) = (read(&a)?, read(&b)?);
            let call = Disputes::proveReceiptsCall {
                sigA: signature(&a),
                sigB: signature(&b),
                a: receipt(a.body.clone()),
                b: receipt(b.body),
            };
            let culprit = Signed { body: a.body, signature: a.signature }.recover(&desk.chain.domain())?;
            prove(desk, culprit, Step::call("prove", contract, &call)).await
        }
        DisputeCommand::ProveAssignments { a, b } => {
            let (a, b): (Signed<Assignment>, Signed<Assignment>) = (read(&a)?, read(&b)?);
            let culprit = a.recover(&desk.chain.domain())?;
            let call = Disputes::proveAssignmentsCall {
                sigA: signature(&a),
                sigB: signature(&b),
                a: assignment(a.body),
                b: assignment(b.body),
            };
            prove(desk, culprit, Step::call("prove", contract, &call)).await
        }
        DisputeCommand::ProveVerdict { verdict, ticket } => {
            let (verdict, ticket): (Signed<Verdict>, Signed<Ticket>) = (read(&verdict)?, read(&ticket)?);
            let culprit = verdict.recover(&desk.chain.domain())?;
            let Verdict { receiptHash, pass, code } = verdict.body;
            let call = Disputes::proveVerdictCall {
                verdict: Disputes::Verdict { receiptHash, pass, code },
                sig: signature(&verdict),
                ticketSig: signature(&ticket),
                ticket: paid(ticket.body),
            };
            prove(desk, culprit, Step::call("prove", contract, &call)).await
        }
        DisputeCommand::Open { assignment: a, receipt: r, evidence, uri, no_draw } => {
            let (a, r): (Signed<Assignment>, Signed<SegmentReceipt>) = (read(&a)?, read(&r)?);
            let digest = r.digest(&desk.chain.domain());
            let call = Disputes::openCall {
                sigA: signature(&a),
                sigR: signature(&r),
                a: assignment(a.body),
                r: receipt(r.body),
                evidence,
                uri,
            };
            let mut steps = allow_deposit(desk).await?;
            let deposit = Amount::Mill(desk.chain.parameter("DISPUTE_DEPOSIT").await?);
            let what = if no_draw { "open the dispute" } else { "open the dispute and draw its committee" };
            steps.push(Step::call(what, contract, &call).of(deposit));
            let count = async || {
                let count = desk.chain.view("disputes", contract, &Disputes::disputeCountCall {}).await?;
                let mine = desk.chain.tokens(desk.me()).await?;
                Ok(Sheet(vec![("last dispute", Cell::text(count)), ("my tokens", Cell::Mill(mine))]))
            };
            let draw = async || if no_draw { Ok(None) } else { to_draw(desk, digest).await };
            act_then(desk, "open a dispute", steps, draw, count).await
        }
        DisputeCommand::Draw { id } => {
            let step = Step::call("draw", contract, &Disputes::drawCall { id: U256::from(id) });
            on(desk, id, "draw the committee", step).await
        }
        DisputeCommand::Vote { id, finding } => {
            let number = FINDINGS.iter().find(|(known, ..)| *known == finding).map_or(0, |(_, number, _)| *number);
            let commitment = commitment(desk, id, number)?;
            let call = Disputes::voteCall { id: U256::from(id), commitment_: commitment };
            on(desk, id, "vote", Step::call("vote", contract, &call)).await
        }
        DisputeCommand::Reveal { id } => {
            let call = Disputes::commitmentCall { id: U256::from(id), who: desk.me() };
            let committed = desk.chain.view("vote", contract, &call).await?;
            let mut finding = None;
            for (_, number, _) in FINDINGS {
                if commitment(desk, id, number)? == committed {
                    finding = Some(number);
                }
            }
            let finding = finding.ok_or_else(|| {
                Failure(format!("{} has no vote in dispute {id} that waits to be revealed", desk.me()), 1)
            })?;
            let call = Disputes::revealCall { id: U256::from(id), finding, salt: desk.chain.vote_salt(id)? };
            on(desk, id, "reveal the vote", Step::call("reveal", contract, &call)).await
        }
        DisputeCommand::Settle { id } => {
            let step = Step::call("settle", contract, &Disputes::settleCall { id: U256::from(id) });
            on(desk, id, "settle", step).await
        }
        DisputeCommand::Enlist => listed(desk, Step::call("enlist", contract, &Disputes::enlistCall {})).await,
        DisputeCommand::Evict { checker } => {
            listed(desk, Step::call("evict", contract, &Disputes::evictCall { who: checker })).await
        }
        DisputeCommand::Resign => listed(desk, Step::call("resign", contract, &Disputes::resignCall {})).await,
        DisputeCommand::Show { .. } => Ok(()),
    }
}

/// Proves a contradiction; shows what it takes from whom.
async fn prove(desk: &Desk, culprit: Address, step: Step) -> Result<(), Failure> {
    let bonds = async || {
        let node = desk.chain.node_view(culprit).await?;
        Ok(Sheet(vec![
            ("signer", Cell::text(culprit)),
            ("its bond", Cell::Mill(node.bond.to())),
            ("its unbonding", Cell::Mill(node.unbonding.to())),
            ("my tokens", Cell::Mill(desk.chain.tokens(desk.me()).await?)),
        ]))
    };
    act(desk, &format!("prove that {culprit} contradicts itself"), vec![step], bonds).await
}

async fn on(desk: &Desk, id: u64, about: &str, step: Step) -> Result<(), Failure> {
    act(desk, &format!("{about}: dispute {id}"), vec![step], async || sheet(desk, id).await).await
}

async fn listed(desk: &Desk, step: Step) -> Result<(), Failure> {
    let (who, contract) = (desk.me(), desk.chain.contracts().disputes);
    let member = async || {
        let member = desk.chain.view("enlisted", contract, &Disputes::isMemberCall { who }).await?;
        let count = desk.chain.view("checkers", contract, &Disputes::memberCountCall {}).await?;
        Ok(Sheet(vec![("enlisted", Cell::text(member)), ("checkers", Cell::text(count))]))
    };
    act(desk, &format!("{} as a checker", step.what), vec![step], member).await
}

/// The draw of the dispute about a receipt, once the block is there whose hash decides; nothing where somebody else has drawn.
async fn to_draw(desk: &Desk, receipt: B256) -> Result<Option<Step>, Failure> {
    let contract = desk.chain.contracts().disputes;
    let id = desk.chain.view("dispute", contract, &Disputes::disputeOfCall { receipt }).await?;
    let delay = desk.chain.view("delay of the draw", contract, &Disputes::DRAW_DELAYCall {}).await?;
    let begun = Instant::now();
    loop {
        let dispute = desk.chain.view("dispute", contract, &Disputes::disputeCall { id }).await?;
        if dispute.status != WAITS_FOR_DRAW {
            return Ok(None);
        }
        if U256::from(desk.chain.block_number().await?) >= U256::from(dispute.openedIn) + delay {
            return Ok(Some(Step::call("draw the committee", contract, &Disputes::drawCall { id })));
        }
        if begun.elapsed() > DRAW_TIMEOUT {
            let waited = DRAW_TIMEOUT.as_secs();
            return Err(Failure(
                format!(
                    "dispute {id} is open, and the chain has made no block to draw by in {waited} s: take \
                     `millrace stake dispute draw {id}` soon, since a dispute that nobody draws costs the deposit"
                ),
                1,
            ));
        }
        tokio::time::sleep(DRAW_POLL).await;
    }
}

/// What lets the contract take the deposit, where it may not yet.
async fn allow_deposit(desk: &Desk) -> Result<Vec<Step>, Failure> {
    let (token, spender) = (desk.chain.contracts().token, desk.chain.contracts().disputes);
    let deposit = desk.chain.parameter("DISPUTE_DEPOSIT").await?;
    let call = MillraceToken::allowanceCall { owner: desk.me(), spender };
    if desk.chain.view("allowance", token, &call).await? >= deposit {
        return Ok(Vec::new());
    }
    let call = MillraceToken::approveCall { spender, value: deposit };
    Ok(vec![Step::call("allow the deposit", token, &call).of(Amount::Mill(deposit))])
}

/// keccak256(id, who, finding, salt), as the contract makes it.
fn commitment(desk: &Desk, id: u64, finding: u8) -> Result<B256, Failure> {
    let words =
        [B256::from(U256::from(id)), desk.me().into_word(), B256::from(U256::from(finding)), desk.chain.vote_salt(id)?];
    Ok(keccak256(words.concat()))
}

async fn sheet(desk: &Desk, id: u64) -> Result<Sheet, Failure> {
    let call = Disputes::disputeCall { id: U256::from(id) };
    let d = desk.chain.view("dispute", desk.chain.contracts().disputes, &call).await?;
    Ok(Sheet(vec![
        ("dispute", Cell::Count(id)),
        ("status", Cell::text(status_name(d.status))),
        ("opener", Cell::text(d.opener)),
        ("worker", Cell::text(d.worker)),
        ("deposit", Cell::Mill(d.deposit.to())),
        ("seats", Cell::Count(d.seats.into())),
        ("opened", Cell::Time(d.openedAt.to())),
        ("vote until", Cell::Time(d.commitUntil.to())),
        ("reveal until", Cell::Time(d.revealUntil.to())),
        ("checker", Cell::text(d.checker)),
        ("receipt", Cell::text(d.receipt)),
        ("evidence", Cell::text(d.evidence)),
    ]))
}

async fn seats(desk: &Desk, id: u64) -> Result<Vec<Sheet>, Failure> {
    let call = Disputes::committeeCall { id: U256::from(id) };
    let seats = desk.chain.view("committee", desk.chain.contracts().disputes, &call).await?;
    let name = |finding: u8| {
        let known = FINDINGS.iter().find(|(_, number, _)| *number == finding);
        known.map_or("not revealed", |(.., name)| *name)
    };
    let lines =
        seats.iter().map(|s| vec![("checker", Cell::text(s.checker)), ("finding", Cell::text(name(s.finding)))]);
    Ok(lines.map(Sheet).collect())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Signed<T>, Failure> {
    let failed = |reason: &dyn std::fmt::Display| Failure::usage(format!("{}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|e| failed(&e))?;
    serde_json::from_slice(&text).map_err(|e| {
        failed(&format!("{e}; a signed object is {}", json!({ "body": "{..}", "signature": "0x.. of 65 bytes" })))
    })
}

fn signature<T>(signed: &Signed<T>) -> Bytes {
    signed.signature.0.to_vec().into()
}

fn assignment(a: Assignment) -> Disputes::Assignment {
    Disputes::Assignment {
        streamId: a.streamId,
        seq: a.seq,
        attempt: a.attempt,
        sourceHash: a.sourceHash,
        profileHash: a.profileHash,
        price: a.price,
        deadline: a.deadline,
        payer: a.payer,
        worker: a.worker,
        sampleCommit: a.sampleCommit,
    }
}

fn receipt(r: SegmentReceipt) -> Disputes::SegmentReceipt {
    Disputes::SegmentReceipt {
        assignmentHash: r.assignmentHash,
        renditionRoot: r.renditionRoot,
        hashRoot: r.hashRoot,
        pixels: r.pixels,
        frames: r.frames,
        duration: r.duration,
        time: r.time,
    }
}

fn paid(t: Ticket) -> TicketBroker::Ticket {
    TicketBroker::Ticket {
        payer: t.payer,
        payee: t.payee,
        faceValue: t.faceValue,
        winProb: t.winProb,
        nonce: t.nonce,
        expiry: t.expiry,
        payeeCommit: t.payeeCommit,
        payerRand: t.payerRand,
        workHash: t.workHash,
    }
}
