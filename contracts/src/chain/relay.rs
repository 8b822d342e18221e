//! Requests of others, passed on to the chain as they are. What may be passed on is the caller's business.

use std::borrow::Cow;

use alloy::providers::Provider;
use serde_json::Value;

use super::Chain;

/// Why a request that was passed on has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RelayError {
    /// An endpoint refuses, in its own words.
    #[error("{message}")]
    Refused {
        /// Its JSON-RPC code; 3 where a contract reverted.
        code: i64,
        /// Why.
        message: String,
        /// What a contract reverted with, as hex.
        data: Option<Value>,
    },
    /// No endpoint answers. Why not is in the log and in [`Chain::endpoints`]: it is not for strangers.
    #[error("the node's chain endpoint does not answer")]
    Unreachable,
}

impl Chain {
    /// Passes one JSON-RPC request on to the first endpoint that is well; `params` is an array. Bounded in time as every call.
    pub async fn relay(&self, method: &'static str, params: Vec<Value>) -> Result<Value, RelayError> {
        let answer = self.sender.provider.raw_request::<_, Value>(Cow::Borrowed(method), params).await;
        answer.map_err(|error| match error.as_error_resp() {
            Some(refusal) => RelayError::Refused {
                code: refusal.code,
                message: refusal.message.to_string(),
                data: refusal.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok()),
            },
            None => {
                tracing::debug!(method, %error, "a request could not be passed on");
                RelayError::Unreachable
            }
        })
    }
}
