//! The sections of the configuration that every role has.

use serde::{Deserialize, Serialize};

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
    /// Other nodes that the console shows.
    pub peers: Vec<PeerLink>,
}

/// Another node that the console shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    ("peers", "other nodes that this node's console shows: a list of { role, name, url }"),
];

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "millrace".into(),
            data_dir: "data".into(),
            passphrase_file: String::new(),
            http_listen: "127.0.0.1:8080".into(),
            peers: Vec::new(),
        }
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
    ("confirmations", "blocks that follow a transaction before it is held to be final"),
    ("address_book", "file of all contracts' addresses, as millrace deploy wrote it; instead of registry and broker"),
    ("registry", "address of the registry contract on that chain, where there is no address_book"),
    ("broker", "address of the ticket broker contract on that chain, where there is no address_book"),
];
