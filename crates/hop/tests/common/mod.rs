//! What the tests of a hop stand on: the embedded chain with both contracts, nodes with a database in a temporary folder and
//! a QUIC socket on loopback, and an honest worker that makes opaque bytes of opaque bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use alloy::primitives::{B256, U256, aliases::U40, keccak256};
use alloy::signers::local::PrivateKeySigner;
use bytes::Bytes;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{Addresses, ChainOptions, deploy};
use millrace_hop::Account;
use millrace_hop::assign::{AttemptError, Delivered, Offer, Output, Rendition, attempt, parts_root};
use millrace_hop::serve::{Arrival, Job, Made, ServeError, Settled, arrive};
use millrace_hop::source::{Next, Source};
use millrace_store::Store;
use millrace_tickets::{Assignment, Profile, RenditionFacts, SegmentReceipt, Signed, Terms, rendition_root};
use millrace_wire::messages::{Down, SegmentOpen};
use millrace_wire::{Endpoint, Expect, Identity, Peer};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Whatever is awaited comes within this, or the test has failed.
pub const LIMIT: Duration = Duration::from_secs(20);
pub const ETHER: u128 = 1_000_000_000_000_000_000;
/// What every part is said to hold.
pub const FRAMES: u32 = 6;
/// Parts of the complete source.
pub const PARTS: u32 = 3;
/// Pixels of one frame of all renditions.
pub const FRAME_PIXELS: u64 = 640 * 360 + 320 * 180;
/// What a complete segment costs under either terms below.
pub const PRICE: u128 = (FRAME_PIXELS * (FRAMES * PARTS) as u64) as u128 * PER_PIXEL;
const PER_PIXEL: u128 = 100_000_000;
/// Tickets that seldom win.
pub const TERMS: Terms =
    Terms { price_per_megapixel: PER_PIXEL * 1_000_000, face_value: ETHER / 10, win_prob: u64::MAX };
/// Tickets of a complete segment that win but for one time in [`PRICE`].
pub const CERTAIN: Terms = Terms { face_value: PRICE + 1, ..TERMS };
/// What an assigner locks for a worker.
pub const LOCK: u128 = ETHER;
pub const STREAM: B256 = B256::repeat_byte(0x5e);

pub fn key(n: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap()
}

/// Waits until `holds`, looking again and again.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}

/// The chain.
pub struct Net {
    pub devnet: Devnet,
    pub contracts: Addresses,
}

impl Net {
    pub async fn start() -> Self {
        let accounts = (1..=9).map(|n| (key(n).address(), U256::from(100 * ETHER))).collect();
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let devnet = Devnet::start(bind, Genesis { accounts, ..Genesis::default() }).await.unwrap();
        let contracts = deploy(&devnet.rpc_url(), key(9)).await.unwrap();
        Self { devnet, contracts }
    }

    /// A node with key `n` (1 to 8) and an empty folder.
    pub async fn node(&self, n: u8) -> Node {
        self.open(n, tempfile::tempdir().unwrap()).await
    }

    /// The node of the same key and folder after its process was killed.
    pub async fn again(&self, node: Node) -> Node {
        let n = node.n;
        self.open(n, node.killed()).await
    }

    async fn open(&self, n: u8, dir: TempDir) -> Node {
        let at = ChainOptions { confirmations: 2, ..ChainOptions::from(&self.devnet.rpc_url()) };
        self.open_at(n, dir, at).await
    }

    /// The same by other endpoints, or with another patience.
    pub async fn open_at(&self, n: u8, dir: TempDir, at: ChainOptions) -> Node {
        let account = Account::open("node", dir.path(), at, self.contracts, key(n)).await.unwrap();
        let identity = Identity::new(key(n), None).unwrap();
        let endpoint = Endpoint::bind(&identity, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Node { n, dir, account, endpoint }
    }
}

pub struct Node {
    n: u8,
    dir: TempDir,
    pub account: Account,
    endpoint: Endpoint,
}

impl Node {
    /// Its folder after its process was killed.
    pub fn killed(self) -> TempDir {
        self.dir
    }

    /// What is on disk, read past the node's own connections.
    pub async fn disk(&self) -> Store {
        Store::open(&self.dir.path().join(millrace_hop::account::DATABASE).to_string_lossy()).await.unwrap()
    }

    /// Connects to `worker`.
    pub async fn connect(&self, worker: &Node) -> Line {
        let expect = Expect { address: Some(worker.account.address()), ..Expect::default() };
        let to = worker.endpoint.local_addr().unwrap();
        let (up, down) = tokio::join!(self.endpoint.connect(to, expect), worker.endpoint.accept());
        Line { up: up.unwrap(), down: down.unwrap() }
    }

    /// Connects to `worker`, locks money for it, and takes its quote with its commits.
    pub async fn hire(&self, worker: &Node, terms: Terms) -> Line {
        let (us, them) = (self.account.address(), worker.account.address());
        let line = self.connect(worker).await;
        self.account.chain.fund(them, U256::from(LOCK)).await.unwrap();
        let commits = worker.account.till.commits(us, 16).await.unwrap();
        self.account.purse.open(them, terms, commits).await.unwrap();
        line
    }
}

/// A connection between an assigner and a worker.
pub struct Line {
    /// The worker, as the assigner has it.
    pub up: Peer,
    /// The assigner, as the worker has it.
    pub down: Peer,
}

impl Line {
    /// The next offer, at the worker.
    pub async fn job(&self) -> Result<Job, ServeError> {
        let channel = timeout(LIMIT, self.down.accept()).await.unwrap().unwrap();
        match arrive(channel, self.down.address(), |_| Ok(FRAMES)).await? {
            Arrival::Segment(job) => Ok(job),
            Arrival::Tickets(_) => panic!("tickets came where a segment was expected"),
        }
    }

    /// Runs one attempt; gives what came back beside its result.
    pub async fn attempt(
        &self,
        assigner: &Account,
        open: SegmentOpen,
        source: &Source,
        offer: &Offer,
    ) -> (Result<Delivered, AttemptError>, Vec<Output>) {
        let (outputs, mut came) = mpsc::channel(64);
        let result = attempt(&self.up, open, source, offer, &assigner.pen, &assigner.purse, &outputs).await;
        drop(outputs);
        let mut all = Vec::new();
        while let Some(output) = came.recv().await {
            all.push(output);
        }
        (result, all)
    }
}

pub fn part(index: u32) -> Bytes {
    Bytes::from(vec![index as u8; 40_000])
}

/// A segment that grows.
pub fn live_source() -> Source {
    Source::new(Bytes::from_static(b"ftyp moov"))
}

/// A segment of [`PARTS`] parts.
pub fn source() -> Source {
    let source = live_source();
    for index in 0..PARTS {
        source.push(index, part(index), FRAMES).unwrap();
    }
    source.end();
    source
}

pub fn open(seq: u64, attempt: u32) -> SegmentOpen {
    let profile = |name: &str, width, height| Profile {
        name: name.into(),
        width,
        height,
        bitrate: 500_000,
        codec: "h264".into(),
    };
    SegmentOpen {
        stream: STREAM,
        seq,
        attempt,
        discontinuity: false,
        profiles: vec![profile("360p", 640, 360), profile("180p", 320, 180)],
        source_init: live_source().init().clone(),
        megapixel_rate: 9,
        verify_before_publish: false,
        deadline_ms: 5_000,
    }
}

pub fn offer(terms: Terms) -> Offer {
    Offer { terms, sample_commit: B256::repeat_byte(0x5a), patience: LIMIT, prepaid: Vec::new() }
}

/// What a worker made.
pub struct Work {
    pub assignment: Signed<Assignment>,
    pub facts: Vec<RenditionFacts>,
    pub renditions: Vec<Rendition>,
    /// The source as it came.
    pub taken: Vec<Bytes>,
}

impl Work {
    pub fn made(&self) -> Made<'_> {
        let Self { assignment, facts, renditions, .. } = self;
        Made { assignment, facts: facts.clone(), renditions, duration: 180_000 }
    }

    /// The receipt that a worker would sign for this.
    pub fn receipt(&self, worker: &Account) -> SegmentReceipt {
        SegmentReceipt {
            assignmentHash: worker.pen.digest(&self.assignment.body),
            renditionRoot: rendition_root(&self.facts),
            hashRoot: parts_root(&self.renditions),
            pixels: FRAME_PIXELS * u64::from(FRAMES * PARTS),
            frames: 2 * FRAMES * PARTS,
            duration: 180_000,
            time: U40::from(millrace_hop::unix_now()),
        }
    }
}

/// Accepts a segment and makes every rendition's parts as the source's come.
pub async fn work(job: &mut Job, worker: &Account, terms: &Terms) -> Result<Work, ServeError> {
    job.accept().await?;
    let (source, profiles) = (job.source.clone(), job.open.profiles.clone());
    let mut renditions = vec![Rendition::default(); profiles.len()];
    for (rendition, (kept, profile)) in (0..).zip(renditions.iter_mut().zip(&profiles)) {
        kept.init = Bytes::from(format!("init of {}", profile.name));
        job.send(&Down::Init { rendition, bytes: kept.init.clone() }).await?;
    }
    let mut reader = source.reader();
    while let Next::Part { index, bytes } = timeout(LIMIT, reader.next()).await.unwrap() {
        for (rendition, (kept, profile)) in (0..).zip(renditions.iter_mut().zip(&profiles)) {
            let made = Bytes::from(format!("part {index} of {}, from {}", profile.name, keccak256(&bytes)));
            kept.parts.push(made.clone());
            job.send(&Down::Part { rendition, index, bytes: made }).await?;
        }
    }
    let assignment = job.assignment(terms, &worker.pen, &worker.till).await?;
    let facts = profiles.iter().zip(&renditions).map(|(profile, rendition)| RenditionFacts {
        name: profile.name.clone(),
        bytes_hash: rendition.hash(),
        length: rendition.len() as u64,
        width: profile.width,
        height: profile.height,
        codec: "avc1.64001f".into(),
        frames: source.frames(),
        first_pts: 0,
        last_pts: 177_000,
    });
    Ok(Work { assignment, facts: facts.collect(), taken: source.parts(), renditions })
}

/// Serves the line's next segment honestly, to its settlement.
pub async fn serve(line: &Line, worker: &Account, terms: &Terms) -> Result<Settled, ServeError> {
    let mut job = line.job().await?;
    let work = work(&mut job, worker, terms).await?;
    job.deliver(work.made(), terms, &worker.pen, &worker.till).await
}
