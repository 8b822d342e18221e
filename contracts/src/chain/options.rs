//! How a chain is reached, and what is waited for how long.

use std::time::Duration;

/// Blocks that follow a transaction before it is held to be final: a few times the deepest reorganisation that was ever seen
/// on a public chain without a fault of consensus.
pub const DEFAULT_CONFIRMATIONS: u64 = 12;

/// Where a chain answers, and how far it is trusted. From a URL: that endpoint alone, and the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainOptions {
    /// JSON-RPC endpoints, http or https, at least one. A call goes to the first that is well, a transaction to all.
    pub rpc_urls: Vec<String>,
    /// EIP-155 id that every endpoint must have; `None`: what the first that answers has.
    pub chain_id: Option<u64>,
    /// Blocks that follow a transaction before it is final. 12 by default.
    pub confirmations: u64,
    /// Bound on one call to one endpoint. 5 s by default: public ones answer within two, or not at all.
    pub call_timeout: Duration,
    /// How long an endpoint that failed is not asked, while another is well. One minute by default.
    pub set_aside: Duration,
    /// An endpoint that is further behind the best, in blocks, is set aside. 8 by default: 16 s of a chain of 2 s blocks,
    /// more than a pool of machines behind one name drifts apart, less than a stuck one.
    pub max_lag: u64,
    /// A transaction that is next and in no block after this long is replaced with higher fees. One minute by default:
    /// five blocks of the slowest chain.
    pub stuck_after: Duration,
}

impl From<&str> for ChainOptions {
    fn from(rpc_url: &str) -> Self {
        Self {
            rpc_urls: vec![rpc_url.to_owned()],
            chain_id: None,
            confirmations: DEFAULT_CONFIRMATIONS,
            call_timeout: Duration::from_secs(5),
            set_aside: Duration::from_secs(60),
            max_lag: 8,
            stuck_after: Duration::from_secs(60),
        }
    }
}

impl From<&String> for ChainOptions {
    fn from(rpc_url: &String) -> Self {
        rpc_url.as_str().into()
    }
}
