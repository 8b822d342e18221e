//! Plain HTTP reads for tests that are not async.

use serde_json::{Value, json};
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

/// Every read is on loopback.
const TIMEOUT: Duration = Duration::from_secs(5);

static CLIENT: LazyLock<(tokio::runtime::Runtime, reqwest::Client)> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    (runtime, reqwest::Client::builder().timeout(TIMEOUT).build().unwrap())
});

/// Runs what is async to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    CLIENT.0.block_on(future)
}

/// The client of all reads.
pub(crate) fn client() -> reqwest::Client {
    CLIENT.1.clone()
}

/// Calls a method of an Ethereum JSON-RPC endpoint.
pub(crate) fn rpc(url: &str, method: &str, params: &Value) -> Result<Value, String> {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer: Value = block_on(async { CLIENT.1.post(url).json(&call).send().await?.json().await })
        .map_err(|error: reqwest::Error| format!("{url}: {method}: {error:?}"))?;
    if answer["error"].is_null() { Ok(answer["result"].clone()) } else { Err(format!("{method}: {answer}")) }
}

/// The body of a successful answer.
pub(crate) fn get(url: &str) -> Result<Vec<u8>, String> {
    block_on(async {
        let answer = CLIENT.1.get(url).send().await.map_err(|error| format!("{url}: {error:?}"))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| format!("{url}: {error:?}"))?;
        if status.is_success() {
            Ok(body.to_vec())
        } else {
            Err(format!("{url}: HTTP {status}: {}", String::from_utf8_lossy(&body)))
        }
    })
}

/// Publishes an offer by WHIP: the answer, and the URL of the session.
pub(crate) fn whip(url: &str, offer: String) -> (String, String) {
    block_on(async {
        let answer = CLIENT.1.post(url).header("content-type", "application/sdp").body(offer).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{answer:?}");
        let session = answer.url().join(answer.headers()["location"].to_str().unwrap()).unwrap();
        (answer.text().await.unwrap(), session.into())
    })
}

/// Ends the session.
pub(crate) fn hang_up(session: &str) {
    let answer = block_on(async { CLIENT.1.delete(session).send().await.unwrap() });
    assert_eq!(answer.status(), 200, "{answer:?}");
}

/// The same, read as JSON.
pub(crate) fn get_json(url: &str) -> Result<Value, String> {
    serde_json::from_slice(&get(url)?).map_err(|error| format!("{url}: {error}"))
}
