//! What paying costs: tickets taken in by a payee and given out by a payer, with their databases, against the one signature that
//! each of them cannot do without.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use futures::future::try_join_all;
use millrace_store::{PayeePair, PayerPair, Store};
use millrace_tickets::payer::MAX_COMMITS;
use millrace_tickets::{Domain, Due, Payer, Signed, Terms, Ticket};
use tokio::time::Instant;

use super::{BenchError, process};

/// Payers that pay at once, and how often each: as many tickets as a payee's commits allow ahead.
const PAYERS: u64 = 128;
const EACH: u64 = MAX_COMMITS as u64;
/// Payers that pay one after the other, one ticket after the other.
const SINGLE: u64 = 4;

const DOMAIN: Domain = Domain { chain_id: 31_337, broker: Address::repeat_byte(0xb0) };
const PAYEE: Address = Address::repeat_byte(0xee);
/// One ticket in fifty wins.
const TERMS: Terms = Terms { price_per_megapixel: 1, face_value: 5_000_000_000_000_000, win_prob: u64::MAX };
const PRICE: u128 = TERMS.face_value / 50;

/// How often something was done.
#[derive(Debug, Clone, Copy)]
struct Rate {
    times: u64,
    /// By the clock.
    seconds: f64,
    /// Of the processor, all threads.
    cpu: f64,
}

impl Rate {
    fn per_cpu_second(self) -> f64 {
        self.times as f64 / self.cpu
    }
}

/// What was measured.
pub(super) struct Payments {
    recovered: Rate,
    signed: Rate,
    taken: Rate,
    taken_singly: Rate,
    given: Rate,
}

fn failed(what: &'static str) -> impl Fn(&dyn Display) -> BenchError {
    move |error| BenchError::Io { what: what.into(), error: std::io::Error::other(error.to_string()) }
}

fn key(n: u64) -> Result<PrivateKeySigner, BenchError> {
    PrivateKeySigner::from_bytes(&keccak256(n.to_be_bytes())).map_err(|e| failed("a key")(&e))
}

fn due(payer: u64, n: u64) -> Due {
    let work_hash = keccak256([payer.to_be_bytes(), n.to_be_bytes()].concat());
    Due { work_hash, price: U256::from(PRICE), terms: TERMS }
}

async fn timed<T>(times: u64, work: impl Future<Output = Result<T, BenchError>>) -> Result<(T, Rate), BenchError> {
    let (began, cpu) = (Instant::now(), process::own_seconds());
    let result = work.await?;
    let rate = Rate { times, seconds: began.elapsed().as_secs_f64(), cpu: process::own_seconds() - cpu };
    Ok((result, rate))
}

/// One payer with the tickets that it has signed ahead.
struct Ready {
    pair: PayeePair,
    tickets: Vec<(Signed<Ticket>, Due)>,
}

impl Ready {
    async fn new(store: &Store, n: u64, now_ms: u64) -> Result<Self, BenchError> {
        let error = failed("preparing tickets");
        let signer = key(n)?;
        let seed = B256::repeat_byte(9);
        let opened = PayeePair::open(store.clone(), DOMAIN, signer.address(), PAYEE, seed).await;
        let mut pair = opened.map_err(|e| error(&e))?;
        let mut payer = Payer::new(signer.address(), PAYEE);
        let mut tickets = Vec::new();
        while (tickets.len() as u64) < EACH {
            payer.offer_commits(pair.commits(16).await.map_err(|e| error(&e))?);
            while payer.commits_left() > 0 && (tickets.len() as u64) < EACH {
                let due = due(n, tickets.len() as u64);
                let ticket = payer.issue(now_ms / 1000, &due, due.work_hash).map_err(|e| error(&e))?;
                tickets.push((Signed::sign(ticket, &DOMAIN, &signer).map_err(|e| error(&e))?, due));
            }
        }
        Ok(Self { pair, tickets })
    }

    async fn take(mut self, now_ms: u64) -> Result<(), BenchError> {
        for (ticket, due) in &self.tickets {
            self.pair.accept(now_ms, ticket, due, U256::MAX).await.map_err(|e| failed("taking a ticket")(&e))?;
        }
        Ok(())
    }
}

/// Measures, with databases in `dir`.
pub(super) async fn measure(dir: &Path) -> Result<Payments, BenchError> {
    let now_ms = millrace_hop::unix_now_ms();
    let open =
        async |name: &str| Store::open(&dir.join(name).to_string_lossy()).await.map_err(|e| failed("a database")(&e));
    let (payee, payer) = (open("payee.sqlite").await?, open("payer.sqlite").await?);
    let mut ready = Vec::new();
    for n in 0..PAYERS + SINGLE {
        ready.push(Ready::new(&payee, n, now_ms).await?);
    }
    let single = ready.split_off(PAYERS as usize);

    let all: Vec<_> = ready.iter().flat_map(|one| one.tickets.iter().map(|(ticket, _)| ticket)).collect();
    let digests: Vec<B256> = all.iter().map(|ticket| ticket.digest(&DOMAIN)).collect();
    let (_, recovered) = timed(all.len() as u64, async {
        for (ticket, digest) in all.iter().zip(&digests) {
            ticket.signature.recover(digest).map_err(|e| failed("recovering a signer")(&e))?;
        }
        Ok(())
    })
    .await?;
    let signer = key(0)?;
    let (_, signed) = timed(all.len() as u64, async {
        for ticket in &all {
            Signed::sign(ticket.body.clone(), &DOMAIN, &signer).map_err(|e| failed("signing")(&e))?;
        }
        Ok(())
    })
    .await?;
    drop(all);

    let (_, taken) = timed(PAYERS * EACH, try_join_all(ready.into_iter().map(|one| one.take(now_ms)))).await?;
    let (_, taken_singly) = timed(SINGLE * EACH, async {
        for one in single {
            one.take(now_ms).await?;
        }
        Ok(())
    })
    .await?;

    let give = async |n: u64| {
        let error = failed("giving tickets");
        let payee = Address::from_word(keccak256(n.to_be_bytes()));
        let opened = PayerPair::open(payer.clone(), DOMAIN, signer.clone(), payee).await;
        let mut pair = opened.map_err(|e| error(&e))?;
        pair.offer_commits((0..EACH).map(|i| due(n, i).work_hash).collect());
        for i in 0..EACH {
            let due = due(n, i);
            pair.issue(now_ms, &due, due.work_hash).await.map_err(|e| error(&e))?;
        }
        Ok(())
    };
    let (_, given) = timed(PAYERS * EACH, try_join_all((0..PAYERS).map(give))).await?;
    payee.close().await;
    payer.close().await;
    Ok(Payments { recovered, signed, taken, taken_singly, given })
}

impl Display for Payments {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Every ticket is on disk before it is acknowledged, or signed. The limit is one signature: recovered by the payee, made by the \
             payer. Databases are in the temporary folder; SQLite writes through to the disk at each commit.\n"
        )?;
        writeln!(f, "| what | a second | a second of one core | of the limit |\n| --- | ---: | ---: | ---: |")?;
        let many = format!("by {PAYERS} payers at once");
        let rows = [
            ("signatures recovered, nothing else".to_owned(), self.recovered, None),
            (format!("tickets checked and stored, {many}"), self.taken, Some(self.recovered)),
            ("tickets checked and stored, one by one".to_owned(), self.taken_singly, Some(self.recovered)),
            ("signatures made, nothing else".to_owned(), self.signed, None),
            (format!("tickets stored and signed, for {PAYERS} payees at once"), self.given, Some(self.signed)),
        ];
        for (what, rate, limit) in rows {
            let (clock, core) = (rate.times as f64 / rate.seconds, rate.per_cpu_second());
            let part = limit.map_or_else(String::new, |limit| format!("{:.2}", core / limit.per_cpu_second()));
            writeln!(f, "| {what} | {clock:.0} | {core:.0} | {part} |")?;
        }
        Ok(())
    }
}
