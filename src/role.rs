//! `millrace broadcaster`, `orchestrator`, `transcoder`: one role, from its configuration to its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millrace_contracts::{AddressBook, Addresses, BookError, Chain, ChainOptions, find};
use millrace_hop::Account;
use millrace_hop::account::parse;
use millrace_hop::api::{About, router, topics};
use millrace_hop::rpc::{self, ChainFacts};
use millrace_node::config::{Config, ConfigError, Schema, Section, environment, view};
use millrace_node::events::Events;
use millrace_node::log::Lines;
use millrace_node::metrics::Metrics;
use millrace_node::role::Serving;
use millrace_node::sections::{CHAIN_DOCS, CHAIN_SECRETS, ChainConfig, NODE_DOCS, NodeConfig};
use millrace_node::shutdown::{EXIT_USAGE, Shutdown};
use millrace_node::telemetry::{self, LOG_DOCS, LogConfig};
use millrace_node::tls::Certificate;
use millrace_node::{events, files, http, keys, log, version};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use utoipa::openapi::OpenApi;

use crate::{Failure, door};

/// A role drains within this: its segments, then its HTTP connections.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(11);
/// A chain that is not there yet is waited for this long: everything may have been started at once.
const CHAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks for the chain.
const CHAIN_RETRY: Duration = Duration::from_millis(500);

/// A role as the command line knows it.
pub struct Role {
    /// The subcommand, and the section of the configuration.
    pub name: &'static str,
    about: &'static str,
    /// What its own calls are.
    pub calls: fn() -> OpenApi,
    section: fn() -> Result<Section, ConfigError>,
}

/// All roles.
pub const ROLES: &[Role] = &[
    Role {
        name: "broadcaster",
        about: "Take live streams in, have their ladders made, serve HLS",
        calls: millrace_broadcaster::api::calls,
        section: || {
            use millrace_broadcaster::config::{DOCS, SECRETS};
            let section = Section::of::<millrace_broadcaster::BroadcasterConfig>("broadcaster", DOCS)?;
            Ok(section.with_secrets(SECRETS))
        },
    },
    Role {
        name: "orchestrator",
        about: "Give segments to transcoders, verify what they make, pay them",
        calls: millrace_orchestrator::api::calls,
        section: || {
            Section::of::<millrace_orchestrator::OrchestratorConfig>(
                "orchestrator",
                millrace_orchestrator::config::DOCS,
            )
        },
    },
    Role {
        name: "transcoder",
        about: "Lend this machine's encoders to an orchestrator, and earn",
        calls: millrace_transcoder::api::calls,
        section: || {
            Section::of::<millrace_transcoder::TranscoderConfig>("transcoder", millrace_transcoder::config::DOCS)
        },
    },
];

impl Role {
    /// The sections that configure this role.
    pub fn schema(&self) -> Result<Schema, ConfigError> {
        Schema::new(vec![
            Section::of::<NodeConfig>("node", NODE_DOCS)?,
            Section::of::<ChainConfig>("chain", CHAIN_DOCS)?.with_secrets(CHAIN_SECRETS),
            Section::of::<LogConfig>("log", LOG_DOCS)?,
            (self.section)()?,
        ])
    }

    /// The description of all calls of a node of this role.
    pub fn openapi(&self) -> serde_json::Value {
        let mut calls = (self.calls)();
        calls.merge(millrace_hop::api::calls());
        for more in [rpc::calls(), http::calls(), events::calls(), log::calls(), view::calls()] {
            calls.merge(more);
        }
        http::openapi::document(calls, self.name)
    }

    /// What the file at `path` and the environment configure.
    fn config(&self, path: &Path) -> Result<Config, ConfigError> {
        let schema = self.schema()?;
        let flags = Command::new(self.name).args(schema.args());
        let flags = flags.get_matches_from([self.name.as_ref(), "--config".as_ref(), path.as_os_str()]);
        schema.load(&flags, environment())
    }

    /// The subcommand.
    pub fn command(&self) -> Command {
        let command = Command::new(self.name).about(self.about).arg(
            Arg::new("exit-with-stdin")
                .long("exit-with-stdin")
                .action(ArgAction::SetTrue)
                .hide(true)
                .help("Ends when standard input closes, for programs that start this one"),
        );
        // A schema that contradicts itself shows again, with its reason, when it is loaded.
        self.schema().map_or(command.clone(), |schema| command.args(schema.args()))
    }
}

/// What a role says once it serves, for programs that start it.
#[derive(Serialize)]
struct Ready {
    http: SocketAddr,
    https: Option<SocketAddr>,
    rtmp: Option<SocketAddr>,
    rtmps: Option<SocketAddr>,
    srt: Option<SocketAddr>,
    quic: Option<SocketAddr>,
    pid: u32,
}

/// Runs the role called `name`.
pub fn main(name: &str, flags: &ArgMatches) -> Result<(), Failure> {
    let role = ROLES.iter().find(|r| r.name == name).ok_or_else(|| Failure::usage(format!("{name} is no command")))?;
    let config = role.schema().and_then(|schema| schema.load(flags, environment())).map_err(Failure::usage)?;
    let lines = telemetry::init(&config.section::<LogConfig>("log")?).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(role, config, lines, flags.get_flag("exit-with-stdin")))
}

async fn run(role: &Role, config: Config, lines: Lines, exit_with_stdin: bool) -> Result<(), Failure> {
    let shutdown = Shutdown::on_signals()?;
    let stop = shutdown.token();
    if exit_with_stdin {
        stop_with_stdin(stop.clone());
    }
    let node: NodeConfig = config.section("node")?;
    let data_dir = PathBuf::from(&node.data_dir);
    let identity = identity(&node, &data_dir)?;
    let _lock = files::Lock::take(&data_dir)?; // two nodes with one key would contradict each other
    let chain: ChainConfig = config.section("chain")?;
    let certificate = node.certificate().map_err(Failure::usage)?;
    let limits = node.http_limits().map_err(Failure::usage)?;
    let listener = listen("http", "node.http_listen", &node.http_listen)?;
    let http = listener.local_addr()?;
    let mut server = http::Server::new(listener, limits);
    let mut https = None;
    if let (Some(certificate), false) = (&certificate, node.https_listen.is_empty()) {
        let listener = listen("https", "node.https_listen", &node.https_listen)?;
        https = Some(listener.local_addr()?);
        server = server.with_https(listener, certificate.clone())?;
    }
    info!(role = role.name, address = %identity.address(), data_dir = %data_dir.display(), version = version::VERSION, "starting");

    let account = tokio::select! {
        account = account(&node, &chain, &data_dir, &identity) => account?,
        () = stop.cancelled() => return Ok(()),
    };
    let account = &Arc::new(paying(role, &config, account)?);
    let start = Start { config: &config, certificate, account, identity: &identity, stop: &stop };
    let serving = match role.name {
        "broadcaster" => start.broadcaster().await?,
        "orchestrator" => start.orchestrator().await?,
        _ => start.transcoder().await?,
    };
    let about = About { role: role.name, version: version::VERSION, peers: node.peers.clone(), stop: stop.clone() };
    let topics = serving.topics.into_iter().chain(topics(account)).collect();
    let events = Events::new(topics, lines.clone(), stop.clone());
    let telling = tokio::spawn(events.clone().run());
    let api = serving.api.merge(router(account.clone(), about)).merge(events.router()).merge(lines.router());
    let facts = chain_facts(&chain, &account.chain)?;
    let api = api.merge(rpc::router(account.chain.clone(), facts, http::visitor));
    let api = api.merge(view::router(config.settings().to_vec()));
    let access = door::open(&node, account).map_err(Failure::usage)?;
    let ready = serving.ready.clone();
    let router = http::router(role.name, api, &access, serving.rest, Metrics::new(), serving.ready);
    // Watching goes on while the streams end, so that players get the last segments.
    let hang_up = CancellationToken::new();
    let web = tokio::spawn(server.run(router, hang_up.clone()));
    let Serving { rtmp, rtmps, srt, quic, .. } = serving;
    info!(%http, ?https, ?rtmp, ?rtmps, ?srt, ?quic, "serving");
    let pid = std::process::id();
    let place = Ready { http, https, rtmp, rtmps, srt, quic, pid };
    files::write_atomically(&data_dir.join("ready.json"), &serde_json::to_vec_pretty(&place)?)?;

    stop.cancelled().await;
    ready.set(false);
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, serving.work).await;
    hang_up.cancel();
    if drained.is_err() {
        warn!("not everything was finished within {} s", DRAIN_TIMEOUT.as_secs());
    }
    web.await?;
    telling.await?;
    info!("drained");
    Ok(())
}

/// A TCP listener on the address that `key` of the configuration has.
fn listen(protocol: &str, key: &'static str, address: &str) -> Result<TcpListener, Failure> {
    let address: SocketAddr = parse(key, address).map_err(Failure::usage)?;
    let failed =
        |e| Failure::usage(format!("cannot listen for {protocol} on {address}: {e}; {key} sets another address"));
    http::listen(address).map_err(failed)
}

/// The node's identity; its key's passphrase is in the file that the configuration or the environment names.
fn identity(node: &NodeConfig, data_dir: &Path) -> Result<millrace_wire::Identity, Failure> {
    let configured = Some(PathBuf::from(&node.passphrase_file)).filter(|path| !path.as_os_str().is_empty());
    let file = configured.or_else(|| std::env::var_os(keys::PASSPHRASE_VARIABLE).map(PathBuf::from));
    let passphrase = file.as_deref().map(keys::read_passphrase).transpose().map_err(Failure::usage)?;
    let identity = keys::load_or_create(data_dir, passphrase.as_ref())?;
    let path = data_dir.join(keys::IDENTITY_FILE);
    if keys::stated_address(&path)?.is_none() {
        warn!(path = %path.display(), "the key is not encrypted: `millrace wallet encrypt` does it");
    }
    Ok(identity)
}

/// What a role is started with.
struct Start<'a> {
    config: &'a Config,
    certificate: Option<Arc<Certificate>>,
    account: &'a Arc<Account>,
    identity: &'a millrace_wire::Identity,
    stop: &'a CancellationToken,
}

impl Start<'_> {
    async fn broadcaster(&self) -> Result<Serving, Failure> {
        let config = self.config.section("broadcaster").map_err(Failure::usage)?;
        millrace_broadcaster::start(
            config,
            self.certificate.clone(),
            self.account.clone(),
            self.identity,
            self.stop.clone(),
        )
        .await
        .map_err(|e| if e.is_config() { Failure::usage(e) } else { e.into() })
    }

    async fn orchestrator(&self) -> Result<Serving, Failure> {
        let config = self.config.section("orchestrator").map_err(Failure::usage)?;
        millrace_orchestrator::start(config, self.account.clone(), self.identity, self.stop.clone()).await.map_err(
            |e| {
                let config = matches!(&e, millrace_orchestrator::OrchestratorError::Account(a) if a.is_config());
                if config { Failure::usage(e) } else { e.into() }
            },
        )
    }

    async fn transcoder(&self) -> Result<Serving, Failure> {
        let config = self.config.section("transcoder").map_err(Failure::usage)?;
        let worker = ["worker", "--device"];
        let (account, stop) = (self.account.clone(), self.stop.clone());
        millrace_transcoder::start(config, account, self.identity, &worker, stop).await.map_err(|e| {
            let config = matches!(&e, millrace_transcoder::TranscoderError::Account(a) if a.is_config());
            if config { Failure::usage(e) } else { e.into() }
        })
    }
}

/// The chain and the folder of a node, from its configuration file, whatever its role is.
pub fn node_and_chain(path: &Path) -> Result<(NodeConfig, ChainConfig), ConfigError> {
    let text = std::fs::read_to_string(path).unwrap_or_default(); // a file that cannot be read is named below
    let table: toml::Table = toml::from_str(&text).unwrap_or_default();
    let role = ROLES.iter().find(|role| table.contains_key(role.name)).unwrap_or(&ROLES[0]);
    let config = role.config(path)?;
    Ok((config.section("node")?, config.section("chain")?))
}

/// The folder and the section of a broadcaster, from its configuration file.
pub fn broadcaster(path: &Path) -> Result<(NodeConfig, millrace_broadcaster::BroadcasterConfig), ConfigError> {
    let config = ROLES[0].config(path)?;
    Ok((config.section("node")?, config.section("broadcaster")?))
}

/// How the chain is reached.
pub fn chain_options(chain: &ChainConfig) -> ChainOptions {
    ChainOptions {
        rpc_urls: std::iter::once(&chain.rpc_url).chain(&chain.rpc_urls).cloned().collect(),
        confirmations: chain.confirmations,
        ..ChainOptions::from("")
    }
}

/// Where the contracts are: by the address book, which the chain is compared with, or by two addresses.
pub async fn contracts(chain: &ChainConfig) -> Result<Addresses, Failure> {
    if !chain.address_book.is_empty() {
        let book = AddressBook::load(Path::new(&chain.address_book)).map_err(Failure::usage)?;
        return book.check(chain_options(chain)).await.map_err(|error| match error {
            BookError::Chain(error) => error.into(),
            error => Failure::usage(error),
        });
    }
    let registry = parse("chain.registry", &chain.registry).map_err(Failure::usage)?;
    let broker = parse("chain.broker", &chain.broker).map_err(Failure::usage)?;
    Ok(find(chain_options(chain), registry, broker).await?)
}

/// What the console's page is told of the chain.
fn chain_facts(config: &ChainConfig, chain: &Chain) -> Result<ChainFacts, Failure> {
    let book = match config.address_book.as_str() {
        "" => None,
        path => Some(AddressBook::load(Path::new(path)).map_err(Failure::usage)?),
    };
    Ok(ChainFacts {
        id: chain.chain_id(),
        name: book.as_ref().map_or_else(|| format!("chain {}", chain.chain_id()), |book| book.name.clone()),
        contracts: chain.contracts(),
        first_block: book.map_or(0, |book| book.first_block()),
        confirmations: config.confirmations,
        rpc_url: Some(config.public_rpc_url.clone()).filter(|url| !url.is_empty()),
    })
}

/// Opens the account, waiting a while for a chain that is still starting.
async fn account(
    node: &NodeConfig,
    chain: &ChainConfig,
    data_dir: &Path,
    identity: &millrace_wire::Identity,
) -> Result<Account, Failure> {
    let waiting = tokio::time::Instant::now();
    loop {
        let opened = async {
            let contracts = contracts(chain).await?;
            let signer = identity.signer().clone();
            Ok(Account::open(&node.name, data_dir, chain_options(chain), contracts, signer).await?)
        };
        match opened.await {
            Ok(account) => return Ok(account),
            Err(error @ Failure(_, EXIT_USAGE)) => return Err(error),
            Err(error) if waiting.elapsed() >= CHAIN_TIMEOUT => return Err(error),
            Err(Failure(error, _)) => warn!(%error, "waiting for the chain"),
        }
        tokio::time::sleep(CHAIN_RETRY).await;
    }
}

/// The account, spending for the payer that a broadcaster's configuration names. Other roles sign both verdicts and tickets with the
/// one key that they are bonded with, so that a contradiction can be proved.
fn paying(role: &Role, config: &Config, mut account: Account) -> Result<Account, Failure> {
    if role.name == "broadcaster" {
        let config: millrace_broadcaster::BroadcasterConfig = config.section("broadcaster").map_err(Failure::usage)?;
        if !config.payer.is_empty() {
            account.purse.spend_for(parse("broadcaster.payer", &config.payer).map_err(Failure::usage)?);
        }
    }
    Ok(account)
}

/// Cancels `stop` when standard input closes. A thread, because a read from it cannot be given up.
pub fn stop_with_stdin(stop: CancellationToken) {
    std::thread::spawn(move || {
        // What is written there means nothing; its end, or its failure, does.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        stop.cancel();
    });
}
