//! The sections of the configuration that every role has.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::http::Limits;
use crate::tls::{Certificate, Keys, TlsError};

/// More connections than one machine has ports and memory for are a slip.
const MOST_CONNECTIONS: usize = 1_000_000;
/// What the node's certificate is named by.
const TLS_KEYS: Keys = Keys { certificate: "node.tls_certificate", key: "node.tls_key", listener: "node.https_listen" };

/// `[node]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// A name for people.
    pub name: String,
    /// Where keys and the database are kept.
    pub data_dir: String,
    /// File of the passphrase of `identity.key`; empty: the key is plain, or MILLRACE_PASSPHRASE_FILE names it.
    pub passphrase_file: String,
    /// TCP address of API, console and metrics.
    pub http_listen: String,
    /// The same over TLS; empty: nowhere.
    pub https_listen: String,
    /// The certificate of HTTPS and RTMPS, a PEM file.
    pub tls_certificate: String,
    /// Its private key, a PEM file.
    pub tls_key: String,
    /// Connections of HTTP and HTTPS at once.
    pub http_connections: usize,
    /// Of them from one address; 0: any number.
    pub http_connections_per_address: usize,
    /// Ethereum addresses that may sign in, beside the node's own account.
    pub owners: Vec<String>,
    /// Names by which the node may be signed in to, beside its IP addresses.
    pub hosts: Vec<String>,
    /// Other nodes that the console shows.
    pub peers: Vec<PeerLink>,
}

/// Another node that the console shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerLink {
    /// `broadcaster`, `orchestrator` or `transcoder`.
    pub role: String,
    /// A name for people.
    pub name: String,
    /// The origin of its HTTP API.
    pub url: String,
}

/// Each key of `[node]` and what it does.
pub const NODE_DOCS: &[(&str, &str)] = &[
    ("name", "a name for people, shown in logs and the console"),
    ("data_dir", "folder of the node's keys and database; keep it private and back it up"),
    (
        "passphrase_file",
        "file whose first line is the passphrase of identity.key, readable by its owner alone; empty for what \
         MILLRACE_PASSPHRASE_FILE names, or for a plain key",
    ),
    ("http_listen", "TCP address of the API, the console and the metrics; port 0 takes a free one"),
    (
        "https_listen",
        "TCP address of the same over TLS, with HTTP/2 for players and browsers, such as 0.0.0.0:443; empty for none",
    ),
    (
        "tls_certificate",
        "PEM file with the certificate of https_listen and of a broadcaster's RTMPS, then its issuers'; read again within 30 s of \
         a change",
    ),
    ("tls_key", "PEM file with the private key of tls_certificate, without a passphrase"),
    ("http_connections", "connections of HTTP and HTTPS at once, 1 to 1000000; more are told 503"),
    (
        "http_connections_per_address",
        "of them from one address, or one /64 of IPv6; 0 for any number, as behind a proxy on another machine; not on loopback",
    ),
    (
        "owners",
        "Ethereum addresses, of people or contract wallets, that may sign in and operate the node, beside its own account and the payer \
         that it spends for: a list",
    ),
    (
        "hosts",
        "host names by which the node may be signed in to, such as node.example.com: a list; its IP addresses and localhost need none",
    ),
    ("peers", "other nodes that this node's console shows: a list of { role, name, url }"),
];

impl Default for NodeConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            name: "millrace".into(),
            data_dir: "data".into(),
            passphrase_file: String::new(),
            http_listen: "127.0.0.1:8080".into(),
            https_listen: String::new(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            http_connections: limits.connections,
            http_connections_per_address: limits.connections_per_address,
            owners: Vec::new(),
            hosts: Vec::new(),
            peers: Vec::new(),
        }
    }
}

/// A value of `[node]` that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("node.http_connections = {0} is not within 1 to {MOST_CONNECTIONS}")]
pub struct WrongLimit(usize);

impl NodeConfig {
    /// What clients of HTTP may have.
    pub fn http_limits(&self) -> Result<Limits, WrongLimit> {
        if !(1..=MOST_CONNECTIONS).contains(&self.http_connections) {
            return Err(WrongLimit(self.http_connections));
        }
        Ok(Limits {
            connections: self.http_connections,
            connections_per_address: self.http_connections_per_address,
            ..Limits::default()
        })
    }

    /// The certificate, where `https_listen` needs one or the files are named, as for RTMPS.
    pub fn certificate(&self) -> Result<Option<Arc<Certificate>>, TlsError> {
        if [&self.https_listen, &self.tls_certificate, &self.tls_key].iter().all(|value| value.is_empty()) {
            return Ok(None);
        }
        Certificate::load(TLS_KEYS, self.tls_certificate.as_ref(), self.tls_key.as_ref()).map(Some)
    }
}

/// `[chain]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// Ethereum JSON-RPC endpoint.
    pub rpc_url: String,
    /// More of them, for when the first fails.
    pub rpc_urls: Vec<String>,
    /// The endpoint that the console names to wallets.
    pub public_rpc_url: String,
    /// Blocks that follow a transaction before it is final.
    pub confirmations: u64,
    /// File that `millrace deploy` wrote; instead of the addresses.
    pub address_book: String,
    /// Address of the registry.
    pub registry: String,
    /// Address of the ticket broker.
    pub broker: String,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            rpc_url: String::new(),
            rpc_urls: Vec::new(),
            public_rpc_url: String::new(),
            confirmations: 12, // deeper than the reorganisations of public chains that are not attacks
            address_book: String::new(),
            registry: String::new(),
            broker: String::new(),
        }
    }
}

/// Each key of `[chain]` and what it does.
pub const CHAIN_DOCS: &[(&str, &str)] = &[
    ("rpc_url", "Ethereum JSON-RPC endpoint of the chain, http or https"),
    (
        "rpc_urls",
        "more endpoints of the same chain: the next one answers when one hangs, lies or falls behind, and transactions go \
         to all",
    ),
    (
        "public_rpc_url",
        "endpoint that the console gives wallets which do not know the chain; it is shown to everybody, so let it hold no key; \
         empty for none",
    ),
    ("confirmations", "blocks that follow a transaction before it is held to be final"),
    ("address_book", "file of all contracts' addresses, as millrace deploy wrote it; instead of registry and broker"),
    ("registry", "address of the registry contract on that chain, where there is no address_book"),
    ("broker", "address of the ticket broker contract on that chain, where there is no address_book"),
];

/// Providers' endpoints have keys in their addresses.
pub const CHAIN_SECRETS: &[&str] = &["rpc_url", "rpc_urls"];
