//! What a node has written down: its database, read past the node's own code, and what its log says that it has signed.

use super::scene::Role;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;
use millrace_tickets::{Domain, Signature65, Signed, Ticket};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Row};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// The word by which the payee's random bytes are told from every other hash: "millrace", zeros, 6.
const PAYEE_RAND: [u8; 32] = *b"millrace\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06";

/// A ticket that a payer has written down.
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) acked: bool,
    /// Why its payee never takes it.
    pub(super) refused: Option<String>,
}

/// A ticket that a payee has accepted.
pub(super) struct Received {
    pub(super) digest: B256,
    pub(super) ticket: Ticket,
    pub(super) signature: Signature65,
    pub(super) index: u64,
    pub(super) winner: bool,
}

/// A winner of a payee.
#[derive(Debug)]
pub(super) struct Winner {
    pub(super) digest: B256,
    pub(super) state: String,
    pub(super) face_value: U256,
    pub(super) payee_rand: B256,
    #[expect(dead_code, reason = "shown when it was dropped")]
    pub(super) reason: Option<String>,
}

/// What a log says that its node has signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    /// `assignment`, `receipt`, `verdict` or `ticket`.
    pub(super) kind: String,
    /// What it is the only one for.
    pub(super) scope: String,
    pub(super) digest: String,
    /// Of a ticket: payee, commit, nonce.
    pub(super) ticket: Option<(String, String, u64)>,
}

/// All of one node.
pub(super) struct Books {
    pub(super) name: &'static str,
    pub(super) address: Address,
    pub(super) sent: Vec<Sent>,
    pub(super) received: Vec<Received>,
    pub(super) winners: Vec<Winner>,
    /// Kind, scope, body.
    pub(super) signing_log: Vec<(String, Vec<u8>, Vec<u8>)>,
    pub(super) outbox: usize,
    /// Works that it waits to be paid for.
    pub(super) unpaid: HashSet<B256>,
    /// Of all its payers, as it counts them itself: tickets, winners, dropped, redeemed in wei.
    pub(super) counted: (u64, u64, u64, U256),
    pub(super) marks: Vec<Mark>,
    seed: Option<B256>,
    next_index: HashMap<Address, u64>,
}

async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(5));
    options.connect().await
}

/// How many winners are not final yet, dropped ones aside, how many transactions are on their way, and how many tickets wait to
/// be sent again.
pub(super) async fn under_way(role: &Role) -> Result<(i64, i64, i64), sqlx::Error> {
    let mut database = open(&role.database()).await?;
    let winners = sqlx::query("SELECT COUNT(*) FROM winners WHERE state NOT IN ('final', 'dropped')");
    let winners = winners.fetch_one(&mut database).await?.get(0);
    let outbox = sqlx::query("SELECT COUNT(*) FROM outbox").fetch_one(&mut database).await?.get(0);
    let tickets = sqlx::query("SELECT COUNT(*) FROM tickets_sent WHERE acked = FALSE AND refused IS NULL");
    Ok((winners, outbox, tickets.fetch_one(&mut database).await?.get(0)))
}

/// How many tickets it has accepted.
pub(super) async fn received(role: &Role) -> Result<i64, sqlx::Error> {
    let mut database = open(&role.database()).await?;
    Ok(sqlx::query("SELECT COUNT(*) FROM tickets_received").fetch_one(&mut database).await?.get(0))
}

fn word(row: &SqliteRow, column: &str) -> B256 {
    B256::from_slice(row.get(column))
}

fn ticket(row: &SqliteRow) -> Ticket {
    Ticket::abi_decode(row.get("body")).unwrap()
}

impl Books {
    pub(super) async fn read(role: &Role) -> Result<Self, sqlx::Error> {
        let mut database = open(&role.database()).await?;
        let db = &mut database;
        let sent = sqlx::query("SELECT body, acked, refused FROM tickets_sent").fetch_all(&mut *db).await?;
        let received = sqlx::query("SELECT digest, body, signature, commit_index, winner FROM tickets_received");
        let received = received.fetch_all(&mut *db).await?;
        let winners = sqlx::query("SELECT digest, state, face_value, payee_rand, reason FROM winners");
        let winners = winners.fetch_all(&mut *db).await?;
        let log = sqlx::query("SELECT kind, scope, body FROM signing_log").fetch_all(&mut *db).await?;
        let outbox = sqlx::query("SELECT COUNT(*) FROM outbox").fetch_one(&mut *db).await?.get::<i64, _>(0);
        let seed = sqlx::query("SELECT value FROM settings WHERE name = 'payee_seed'").fetch_optional(&mut *db).await?;
        let unpaid = sqlx::query("SELECT work_hash FROM unpaid").fetch_all(&mut *db).await?;
        let pairs = sqlx::query("SELECT payer, next_index, tickets, winners, dropped, redeemed FROM payee_pairs");
        let pairs = pairs.fetch_all(&mut *db).await?;
        let sum = |column: &str| pairs.iter().map(|row| row.get::<i64, _>(column) as u64).sum();
        let redeemed = pairs.iter().map(|row| U256::from_be_bytes(word(row, "redeemed").0)).sum();
        Ok(Self {
            name: role.name,
            address: role.address(),
            sent: sent
                .iter()
                .map(|row| Sent { ticket: ticket(row), acked: row.get("acked"), refused: row.get("refused") })
                .collect(),
            received: received
                .iter()
                .map(|row| Received {
                    digest: word(row, "digest"),
                    ticket: ticket(row),
                    signature: Signature65(row.get::<&[u8], _>("signature").try_into().unwrap()),
                    index: row.get::<i64, _>("commit_index") as u64,
                    winner: row.get("winner"),
                })
                .collect(),
            winners: winners
                .iter()
                .map(|row| Winner {
                    digest: word(row, "digest"),
                    state: row.get("state"),
                    face_value: U256::from_be_bytes(word(row, "face_value").0),
                    payee_rand: word(row, "payee_rand"),
                    reason: row.get("reason"),
                })
                .collect(),
            signing_log: log.iter().map(|row| (row.get("kind"), row.get("scope"), row.get("body"))).collect(),
            outbox: outbox as usize,
            unpaid: unpaid.iter().map(|row| word(row, "work_hash")).collect(),
            counted: (sum("tickets"), sum("winners"), sum("dropped"), redeemed),
            marks: marks(&role.log),
            seed: seed.map(|row| word(&row, "value")),
            next_index: pairs
                .iter()
                .map(|row| (Address::from_slice(row.get("payer")), row.get::<i64, _>("next_index") as u64))
                .collect(),
        })
    }

    /// The bytes behind this node's commit `index` for `payer`.
    pub(super) fn payee_rand(&self, domain: &Domain, payer: Address, index: u64) -> B256 {
        let seed = self.seed.unwrap();
        let Domain { chain_id, broker } = *domain;
        keccak256((B256::from(PAYEE_RAND), seed, chain_id, broker, payer, self.address, index).abi_encode())
    }

    /// Whether a ticket for this node, seen by it or not, wins.
    pub(super) fn would_win(&self, domain: &Domain, ticket: &Ticket) -> bool {
        let commits = 0..self.next_index.get(&ticket.payer).copied().unwrap_or_default();
        let rand = |index| self.payee_rand(domain, ticket.payer, index);
        commits.map(rand).find(|rand| keccak256(rand) == ticket.payeeCommit).is_some_and(|rand| wins(ticket, rand))
    }

    /// The digests of everything that this database says was signed, or was about to be.
    pub(super) fn written(&self, domain: &Domain) -> Vec<String> {
        use millrace_tickets::{Assignment, SegmentReceipt, Verdict};
        let eip712 = domain.eip712();
        let digest = |(kind, _, body): &(String, Vec<u8>, Vec<u8>)| {
            use alloy::sol_types::SolStruct;
            match kind.as_str() {
                "assignment" => Assignment::abi_decode(body).unwrap().eip712_signing_hash(&eip712),
                "receipt" => SegmentReceipt::abi_decode(body).unwrap().eip712_signing_hash(&eip712),
                "verdict" => Verdict::abi_decode(body).unwrap().eip712_signing_hash(&eip712),
                other => panic!("{}: a {other} in the signing log, which this test does not know", self.name),
            }
        };
        let tickets = self.sent.iter().map(|sent| digest_of(&sent.ticket, domain));
        self.signing_log.iter().map(digest).chain(tickets).map(|digest| digest.to_string()).collect()
    }
}

pub(super) fn digest_of(ticket: &Ticket, domain: &Domain) -> B256 {
    Signed { body: ticket.clone(), signature: Signature65(Default::default()) }.digest(domain)
}

/// The draw, as protocol.md has it: not the product's own function.
pub(super) fn wins(ticket: &Ticket, payee_rand: B256) -> bool {
    let drawn = keccak256((ticket.payer, ticket.payee, ticket.nonce, payee_rand, ticket.payerRand).abi_encode());
    U256::from_be_bytes(drawn.0).as_limbs()[0] < ticket.winProb
}

/// Every line of a log that says what was signed. A line that a kill has cut off is none, and what begins behind it is read.
fn marks(log: &Path) -> Vec<Mark> {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let lines = text.lines().filter_map(|line| line.rfind("{\"timestamp\"").map(|at| &line[at..]));
    let fields = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|line| line["fields"].clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mark = |of: Value| Mark {
        kind: text(&of["kind"]),
        scope: text(if of["kind"] == "ticket" { &of["work"] } else { &of["scope"] }),
        digest: text(&of["digest"]),
        ticket: (of["kind"] == "ticket")
            .then(|| (text(&of["payee"]), text(&of["commit"]), of["nonce"].as_u64().unwrap_or_default())),
    };
    fields.filter(|of| of["message"] == "signed").map(mark).collect()
}
