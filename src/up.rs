//! `millrace up`: the whole network on one machine. An embedded chain with the contracts lives in this process; each role is
//! a process of its own, as it would be elsewhere, and is started again if it dies. Ctrl-C drains them in the order in
//! which a stream flows.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::{Address, U256, utils::parse_ether};
use clap::builder::RangedU64ValueParser;
use millrace_contracts::bindings::MillraceToken;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{AddressBook, Chain, DeployPlan, Deployment, Step};
use millrace_node::shutdown::Shutdown;
use millrace_node::telemetry::{self, LogConfig};
use millrace_node::{files, keys};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Failure;
use crate::children::{Child, ChildError, Ready};
use crate::demo::{self, Source};

/// The embedded chain's id: what wallets know as a development chain.
const CHAIN_ID: u64 = 31_337;
/// The embedded chain's base fee, wei: low, so that face values may be small and the demo's tickets win every few seconds.
const BASE_FEE: u64 = 200_000;
/// The embedded chain makes a block this often even when nothing happens, so that confirmations can be counted.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// The first transcoder's own page, unless ports are chosen freely; the others' follow.
const FIRST_TRANSCODER_PORT: u16 = 8082;
/// So many have their ports before the embedded chain's, and more than a machine can run.
const MOST_TRANSCODERS: u64 = 400;
/// A child reports that it is ready within this.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The deployer and treasury of the embedded chain: play money under a key that everybody knows.
const DEPLOYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// MILL that the deployer sends each node: some bonds and delegations.
const NODE_TOKENS: &str = "10000";
/// The address book's name in the data folder.
const ADDRESS_BOOK: &str = "addresses.json";

/// The command line of `millrace up`.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArgs {
    /// Where keys, databases and logs are kept.
    #[arg(long, env = "MILLRACE_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// What is streamed: `demo` (a moving picture with a clock and a tone), `none`, or a media file to loop.
    #[arg(long, env = "MILLRACE_SOURCE", default_value = "demo")]
    pub source: Source,
    /// `default` for the usual ports, `auto` for free ones.
    #[arg(long, default_value = "default", value_parser = ["default", "auto"])]
    pub ports: String,
    /// How many transcoders.
    #[arg(long, default_value_t = 2, value_parser = RangedU64ValueParser::<usize>::new().range(..=MOST_TRANSCODERS))]
    pub transcoders: usize,
    /// Makes the first transcoder lie, to see it caught: `black` frames, or the `previous` segment again.
    #[arg(long, value_parser = ["black", "previous"])]
    pub liar: Option<String>,
    /// Nothing is shown before it is verified.
    #[arg(long)]
    pub verify_before_publish: bool,
    /// Writes where everything is to this file, once all is up.
    #[arg(long)]
    pub ready_json: Option<PathBuf>,
    /// Ends when standard input closes, for programs that start this one.
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
}

struct Ports {
    rpc: u16,
    rtmp: u16,
    srt: u16,
    console: u16,
    quic: u16,
    orchestrator: u16,
    transcoders: Vec<u16>,
}

impl Ports {
    /// Where things listen unless ports are chosen freely.
    fn usual(transcoders: usize) -> Self {
        let transcoders = (FIRST_TRANSCODER_PORT..).take(transcoders).collect();
        Self { rpc: 8545, rtmp: 1935, srt: 8890, console: 8080, quic: 4433, orchestrator: 8081, transcoders }
    }

    /// Ports that were free a moment ago: chosen here and not by the children, so that a child that is started again is found where it was.
    fn free(transcoders: usize) -> std::io::Result<Self> {
        // All are held until the last is chosen, so that no two are the same.
        let mut held = Vec::new();
        let mut port = || {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            std::io::Result::Ok(port)
        };
        Ok(Self {
            rpc: port()?,
            rtmp: port()?,
            srt: UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?.port(),
            console: port()?,
            quic: port()?,
            orchestrator: port()?,
            transcoders: (0..transcoders).map(|_| port()).collect::<Result<_, _>>()?,
        })
    }
}

/// Where everything is.
#[derive(Debug, Serialize)]
struct Where {
    rtmp_url: String,
    srt_url: String,
    stream_key: String,
    stream_name: String,
    hls_url: String,
    hls_https_url: Option<String>,
    console_url: String,
    rpc_url: String,
    broadcaster_api: String,
    orchestrator_api: String,
    transcoder_apis: Vec<String>,
    pids: Pids,
}

#[derive(Debug, Serialize)]
struct Pids {
    broadcaster: u32,
    orchestrator: u32,
    transcoders: Vec<u32>,
}

/// Why the network is not up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// A file or folder.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The chain.
    #[error("the embedded chain did not come up: {0}")]
    Chain(String),
    /// A key file.
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    /// A child process.
    #[error(transparent)]
    Child(#[from] ChildError),
}

/// Runs `millrace up` until Ctrl-C.
pub fn main(args: UpArgs) -> Result<(), Failure> {
    telemetry::init(&LogConfig { filter: "warn,millrace=info".into(), ..LogConfig::default() })?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stop = Shutdown::on_signals()?.token();
        if args.exit_with_stdin {
            crate::role::stop_with_stdin(stop.clone());
        }
        Ok(run(args, stop).await?)
    })
}

/// Brings the network up, waits for `stop`, and takes it down again.
async fn run(args: UpArgs, stop: CancellationToken) -> Result<(), UpError> {
    let data = args.data_dir.clone();
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| UpError::Io { path, error }
    };
    std::fs::create_dir_all(data.join("logs")).map_err(io(&data))?;
    let ports = match args.ports.as_str() {
        "auto" => Ports::free(args.transcoders).map_err(io(&data))?,
        _ => Ports::usual(args.transcoders),
    };

    let names: Vec<String> = ["broadcaster".into(), "orchestrator".into()]
        .into_iter()
        .chain((1..=args.transcoders).map(|i| format!("transcoder-{i}")))
        .collect();
    let mut addresses = Vec::new();
    for name in &names {
        let folder = data.join(name);
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        // The embedded chain starts anew each time, so what was settled on the last one means nothing on this one.
        for leftover in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "ready.json"] {
            let _ = std::fs::remove_file(folder.join(leftover)); // it is usually not there
        }
        addresses.push(keys::load_or_create(&folder, None)?.address());
    }

    let book = data.join(ADDRESS_BOOK);
    let chain = start_chain(&addresses, ports.rpc, &book).await?;
    let rpc_url = chain.rpc_url().to_string();
    info!(rpc = %rpc_url, address_book = %book.display(), "embedded chain is up, contracts deployed");

    let config = Configs { data: &data, rpc_url: &rpc_url, book: &book, args: &args };
    let o_toml = config.orchestrator(ports.quic, ports.orchestrator).map_err(io(&data))?;
    let orchestrator = Child::start("orchestrator", &data, &o_toml).await?;
    let o_ready = orchestrator.ready(START_TIMEOUT, &stop).await?;

    let mut transcoders = Vec::new();
    let mut t_ready = Vec::new();
    for (i, &http) in (1..).zip(&ports.transcoders) {
        let toml = config.transcoder(i, addresses[1], http).map_err(io(&data))?;
        transcoders.push(Child::start(&format!("transcoder-{i}"), &data, &toml).await?);
    }
    for child in &transcoders {
        t_ready.push(child.ready(START_TIMEOUT, &stop).await?);
    }

    let key = config.stream_key().map_err(io(&data))?;
    let b_toml = config.broadcaster(&ports, addresses[1], &key, &o_ready, &t_ready).map_err(io(&data))?;
    let broadcaster = Child::start("broadcaster", &data, &b_toml).await?;
    let b_ready = broadcaster.ready(START_TIMEOUT, &stop).await?;

    let console = format!("http://{}", b_ready.http);
    let place = Where {
        rtmp_url: format!("rtmp://{}/live", b_ready.rtmp.clone().unwrap_or_default()),
        srt_url: format!("srt://{}", b_ready.srt.clone().unwrap_or_default()),
        stream_key: key.clone(),
        stream_name: STREAM_NAME.into(),
        hls_url: format!("{console}/live/{STREAM_NAME}/master.m3u8"),
        hls_https_url: b_ready.https.as_ref().map(|https| format!("https://{https}/live/{STREAM_NAME}/master.m3u8")),
        console_url: format!("{console}/"),
        rpc_url,
        broadcaster_api: console.clone(),
        orchestrator_api: format!("http://{}", o_ready.http),
        transcoder_apis: t_ready.iter().map(|r| format!("http://{}", r.http)).collect(),
        pids: Pids {
            broadcaster: broadcaster.pid(),
            orchestrator: orchestrator.pid(),
            transcoders: transcoders.iter().map(Child::pid).collect(),
        },
    };
    announce(&place, &args);
    if let Some(path) = &args.ready_json {
        files::write_atomically(path, &serde_json::to_vec_pretty(&place).unwrap_or_default()).map_err(io(path))?;
    }

    let demo = demo::start(&args.source, &place.rtmp_url, &key, &data);
    stop.cancelled().await;
    info!("draining: encoder, broadcaster, transcoders, orchestrator, chain");
    if let Some(demo) = demo {
        demo.stop().await;
    }
    broadcaster.stop().await;
    for child in transcoders {
        child.stop().await;
    }
    orchestrator.stop().await;
    chain.stop().await;
    Ok(())
}

/// Encoders share these cores with the browser that watches, so one of them may be late without being broken. Twice the
/// usual patience turns a busy moment into a delay instead of a gap.
const ATTEMPT_MS: i64 = 6_000;
/// Megapixels a second that each transcoder takes on: two streams of three renditions from 720p30.
const CAPACITY: i64 = 100;
/// The embedded chain is never reorganised; two blocks let one see a redemption go from mined to final.
const CONFIRMATIONS: i64 = 2;
/// The public name of the demo's stream.
const STREAM_NAME: &str = "demo";
/// The public name of a second stream, for one's own encoder beside the demo.
const SECOND_NAME: &str = "second";

fn second_key(key: &str) -> String {
    format!("{key}-2")
}

/// The embedded chain with all contracts, the address book in `book`, and tokens for `nodes`.
async fn start_chain(nodes: &[Address], port: u16, book: &Path) -> Result<Devnet, UpError> {
    let chain = |e: &dyn std::fmt::Display| UpError::Chain(e.to_string());
    let deployer: alloy::signers::local::PrivateKeySigner = DEPLOYER.parse().map_err(|e| chain(&e))?;
    let ether = |amount: &str| parse_ether(amount).unwrap_or(U256::ZERO);
    let mut accounts = vec![(deployer.address(), ether("10000"))];
    accounts.extend(nodes.iter().map(|&node| (node, ether("100"))));
    let genesis = Genesis { accounts, base_fee: BASE_FEE, chain_id: CHAIN_ID, block_time: Some(BLOCK_TIME) };
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let devnet = Devnet::start(listen, genesis).await.map_err(|e| chain(&e))?;
    let (rpc_url, plan) = (devnet.rpc_url(), DeployPlan::of_one(deployer.address()));
    let mut deployment = Deployment::plan(&rpc_url, deployer.clone(), &plan, None).await.map_err(|e| chain(&e))?;
    let save = |deployed: &AddressBook| {
        files::write_atomically(book, &serde_json::to_vec_pretty(deployed).map_err(std::io::Error::other)?)
    };
    deployment.run(save).await.map_err(|e| chain(&e))?;
    // The deployer holds the supply.
    let contracts = deployment.book().addresses().map_err(|e| chain(&e))?;
    let treasury = Chain::connect(&rpc_url, contracts, deployer).await.map_err(|e| chain(&e))?;
    for &to in nodes {
        let call = MillraceToken::transferCall { to, value: ether(NODE_TOKENS) };
        treasury.make(&Step::call("send MILL", contracts.token, &call)).await.map_err(|e| chain(&e))?;
    }
    Ok(devnet)
}

struct Configs<'a> {
    data: &'a Path,
    rpc_url: &'a str,
    book: &'a Path,
    args: &'a UpArgs,
}

impl Configs<'_> {
    fn write(
        &self,
        name: &str,
        http: u16,
        peers: toml::Table,
        section: &str,
        role: toml::Table,
    ) -> std::io::Result<PathBuf> {
        let mut node = toml::Table::new();
        node.insert("name".into(), name.into());
        node.insert("data_dir".into(), self.data.join(name).to_string_lossy().into_owned().into());
        node.insert("http_listen".into(), format!("127.0.0.1:{http}").into());
        node.extend(peers);
        let mut chain = toml::Table::new();
        chain.insert("rpc_url".into(), self.rpc_url.into());
        chain.insert("public_rpc_url".into(), self.rpc_url.into());
        chain.insert("confirmations".into(), CONFIRMATIONS.into());
        chain.insert("address_book".into(), self.book.to_string_lossy().into_owned().into());
        let mut all = toml::Table::new();
        all.insert("node".into(), node.into());
        all.insert("chain".into(), chain.into());
        all.insert(section.into(), role.into());
        let path = self.data.join(format!("{name}.toml"));
        std::fs::write(&path, all.to_string())?;
        Ok(path)
    }

    fn orchestrator(&self, quic: u16, http: u16) -> std::io::Result<PathBuf> {
        let mut role = toml::Table::new();
        role.insert("listen".into(), format!("127.0.0.1:{quic}").into());
        // Small face values, redeemed one by one as they come: the demo is there to show money moving.
        role.insert("face_value_wei".into(), FACE_VALUE.into());
        role.insert("redeem_batch".into(), 2.into());
        role.insert("redeem_after_s".into(), 5.into());
        role.insert("attempt_ms".into(), ATTEMPT_MS.into());
        self.write("orchestrator", http, toml::Table::new(), "orchestrator", role)
    }

    fn transcoder(&self, i: usize, orchestrator: Address, http: u16) -> std::io::Result<PathBuf> {
        let mut role = toml::Table::new();
        role.insert("orchestrator".into(), orchestrator.to_string().into());
        role.insert("face_value_wei".into(), FACE_VALUE.into());
        role.insert("redeem_batch".into(), 2.into());
        role.insert("redeem_after_s".into(), 5.into());
        // They share their cores with each other and everything else here, so what they would measure is the noise.
        role.insert("capacity".into(), CAPACITY.into());
        if let (1, Some(lie)) = (i, &self.args.liar) {
            // It has to get work to be caught, and the cheaper one gets it.
            role.insert("lie".into(), lie.clone().into());
            role.insert("price_per_megapixel".into(), 900_000_000.into());
        }
        self.write(&format!("transcoder-{i}"), http, toml::Table::new(), "transcoder", role)
    }

    fn broadcaster(
        &self,
        ports: &Ports,
        orchestrator: Address,
        key: &str,
        o: &Ready,
        t: &[Ready],
    ) -> std::io::Result<PathBuf> {
        let mut role = toml::Table::new();
        role.insert("rtmp_listen".into(), format!("127.0.0.1:{}", ports.rtmp).into());
        role.insert("srt_listen".into(), format!("127.0.0.1:{}", ports.srt).into());
        role.insert("orchestrators".into(), vec![orchestrator.to_string()].into());
        role.insert("verify_before_publish".into(), self.args.verify_before_publish.into());
        role.insert("ladder_ms".into(), (4 * ATTEMPT_MS).into());
        let mut stream_key = toml::Table::new();
        stream_key.insert("name".into(), STREAM_NAME.into());
        stream_key.insert("key".into(), key.into());
        let mut second = toml::Table::new();
        second.insert("name".into(), SECOND_NAME.into());
        second.insert("key".into(), second_key(key).into());
        role.insert("keys".into(), vec![stream_key, second].into());
        let link = |role: &str, name: String, http: &str| {
            let mut link = toml::Table::new();
            link.insert("role".into(), role.into());
            link.insert("name".into(), name.into());
            link.insert("url".into(), format!("http://{http}").into());
            link
        };
        let mut links = vec![link("orchestrator", "orchestrator".into(), &o.http)];
        links.extend(t.iter().enumerate().map(|(i, r)| link("transcoder", format!("transcoder-{}", i + 1), &r.http)));
        let mut peers = toml::Table::new();
        peers.insert("peers".into(), links.into());
        self.write("broadcaster", ports.console, peers, "broadcaster", role)
    }

    /// The demo's stream key: made once, kept in the data folder.
    fn stream_key(&self) -> std::io::Result<String> {
        let path = self.data.join("stream.key");
        if let Ok(key) = std::fs::read_to_string(&path) {
            return Ok(key.trim().to_owned());
        }
        let key = alloy::hex::encode(&alloy::signers::local::PrivateKeySigner::random().to_bytes()[..12]);
        std::fs::write(&path, &key)?;
        Ok(key)
    }
}

/// 50 redemptions of 46,000 gas at [`BASE_FEE`] are 4.6e11 wei. A 2 s segment of the demo costs some 1e11, so one ticket in ten
/// wins, and a segment of ten seconds is still worth less than one ticket.
const FACE_VALUE: &str = "1000000000000";

#[allow(clippy::print_stdout, reason = "this is what the command is for")]
fn announce(place: &Where, args: &UpArgs) {
    println!();
    println!("Millrace is up.");
    println!("  console   {}", place.console_url);
    println!("  watch     {}", place.hls_url);
    if let Some(https) = &place.hls_https_url {
        println!("  by https  {https}");
    }
    println!("  chain     {} (id {CHAIN_ID})", place.rpc_url);
    println!("  logs      {}", args.data_dir.join("logs").display());
    let (key, name) = match &args.source {
        Source::None => (place.stream_key.clone(), STREAM_NAME),
        Source::Demo | Source::File(_) => (second_key(&place.stream_key), SECOND_NAME),
    };
    match &args.source {
        Source::None => println!("Waiting for your encoder:"),
        Source::Demo => println!("A demo stream is on its way. Your own beside it:"),
        Source::File(path) => println!("{} is on its way, in a loop. Your own stream beside it:", path.display()),
    }
    println!("  publish   {}/{key}", place.rtmp_url);
    println!("            ffmpeg -re -i FILE -c:v libx264 -g 60 -c:a aac -f flv {}/{key}", place.rtmp_url);
    println!("  or by srt {}?streamid={key}", place.srt_url);
    println!("  watch     {}live/{name}/master.m3u8", place.console_url);
    println!("Ctrl-C drains everything.");
}
