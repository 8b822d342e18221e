//! What a browser may ask of the chain through a node: reading, of our contracts, within bounds. Pure.

use alloy::primitives::{Address, address};
use serde_json::Value;

use super::Refusal;

/// The same on every chain that has it: many reads of contracts in one call.
const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
/// Blocks that one search for events goes through: what public endpoints bound it to.
const MAX_LOG_BLOCKS: u64 = 10_000;
/// Blocks of one fee history, and percentiles of each: wallets ask for a dozen and three.
const MAX_FEES: (u64, usize) = (128, 10);
/// Gas that a simulated call may be given: a block's, on the smallest chains.
const MAX_GAS: u64 = 30_000_000;
/// Contracts that one search for events names: all of ours.
const MAX_ADDRESSES: usize = 8;

/// Each method, and what is looked at in its parameters.
const METHODS: [(&str, Check); 14] = [
    ("eth_blockNumber", anything),
    ("eth_call", call),
    ("eth_chainId", anything),
    ("eth_estimateGas", call),
    ("eth_feeHistory", fees),
    ("eth_gasPrice", anything),
    ("eth_getBalance", anything),
    ("eth_getBlockByNumber", header),
    ("eth_getCode", anything),
    ("eth_getLogs", logs),
    ("eth_getTransactionByHash", anything),
    ("eth_getTransactionCount", anything),
    ("eth_getTransactionReceipt", anything),
    ("eth_maxPriorityFeePerGas", anything),
];

type Check = fn(&[Value], &[Address]) -> Result<(), Refusal>;

/// The method's own name, if these parameters may be passed on; `ours` are the contracts.
pub(super) fn allowed(method: &str, params: &[Value], ours: &[Address]) -> Result<&'static str, Refusal> {
    let Some((name, check)) = METHODS.iter().find(|(name, _)| *name == method) else {
        let names = METHODS.map(|(name, _)| name).join(", ");
        let what = method.chars().take(64).collect::<String>();
        return Err(Refusal::method(format!(
            "this node passes {what:?} on to nobody, only {names}; for more, and to send, use an endpoint of your own"
        )));
    };
    check(params, ours)?;
    Ok(name)
}

fn anything(_: &[Value], _: &[Address]) -> Result<(), Refusal> {
    Ok(())
}

fn call(params: &[Value], ours: &[Address]) -> Result<(), Refusal> {
    let request = params.first().and_then(Value::as_object).ok_or_else(|| Refusal::params("parameter 0 is a call"))?;
    let to = request.get("to").and_then(address_of);
    if !to.is_some_and(|to| to == MULTICALL3 || ours.contains(&to)) {
        return Err(Refusal::params(format!(
            "calls go to the contracts of this network ({}) or to Multicall3 ({MULTICALL3})",
            ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )));
    }
    if params.get(2).is_some_and(|value| !value.is_null()) {
        return Err(Refusal::params("the state of the chain is asked as it is: no overrides"));
    }
    if request.get("gas").is_some_and(|gas| number(gas).is_none_or(|gas| gas > MAX_GAS)) {
        return Err(Refusal::params(format!("a call gets at most {MAX_GAS} gas")));
    }
    Ok(())
}

fn fees(params: &[Value], _: &[Address]) -> Result<(), Refusal> {
    let (blocks, percentiles) = MAX_FEES;
    let few = params.first().and_then(number).is_some_and(|asked| asked <= blocks);
    let short = params.get(2).and_then(Value::as_array).is_none_or(|asked| asked.len() <= percentiles);
    if few && short {
        return Ok(());
    }
    Err(Refusal::params(format!("a fee history has at most {blocks} blocks and {percentiles} percentiles")))
}

fn header(params: &[Value], _: &[Address]) -> Result<(), Refusal> {
    match params.get(1) {
        None | Some(Value::Null | Value::Bool(false)) => Ok(()),
        Some(_) => Err(Refusal::params("blocks are given with the hashes of their transactions: parameter 1 is false")),
    }
}

fn logs(params: &[Value], ours: &[Address]) -> Result<(), Refusal> {
    let filter = params.first().and_then(Value::as_object).ok_or_else(|| Refusal::params("parameter 0 is a filter"))?;
    let addresses = match filter.get("address") {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let is_ours = |value: &&Value| address_of(value).is_some_and(|address| ours.contains(&address));
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES || !addresses.iter().all(is_ours) {
        return Err(Refusal::params("events are those of the contracts of this network: name them in address"));
    }
    if filter.get("blockHash").is_some_and(|hash| !hash.is_null()) {
        return Ok(());
    }
    let end = |key: &str| filter.get(key).and_then(number);
    match (end("fromBlock"), end("toBlock")) {
        (Some(from), Some(to)) if to.saturating_sub(from) < MAX_LOG_BLOCKS => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::limit(format!("more than {MAX_LOG_BLOCKS} blocks: ask for fewer at once"))),
        _ => Err(Refusal::params("fromBlock and toBlock are numbers, such as \"0x1f\"")),
    }
}

/// A quantity as JSON-RPC writes it, or as a number.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => u64::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
        value => value.as_u64(),
    }
}

fn address_of(value: &Value) -> Option<Address> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: [Address; 2] = [Address::repeat_byte(1), Address::repeat_byte(2)];

    fn ask(method: &str, params: Value) -> Result<&'static str, Refusal> {
        allowed(method, params.as_array().unwrap(), &OURS)
    }

    #[test]
    fn calls_go_to_our_contracts_and_to_multicall3_alone() {
        for to in [OURS[0], OURS[1], MULTICALL3] {
            for method in ["eth_call", "eth_estimateGas"] {
                ask(method, json!([{ "to": to, "data": "0x" }, "latest"])).unwrap();
            }
        }
        let stranger = Address::repeat_byte(3);
        for call in [json!({ "to": stranger }), json!({ "data": "0x60" }), json!({ "to": null }), json!("x")] {
            ask("eth_call", json!([call])).unwrap_err();
        }
        ask("eth_call", json!([{ "to": OURS[0] }, "latest", { "0x00": {} }])).unwrap_err();
        ask("eth_call", json!([{ "to": OURS[0], "gas": "0x1c9c380" }])).unwrap();
        for gas in [json!("0x1c9c381"), json!("much"), json!("0xfffffffffffffffff")] {
            ask("eth_call", json!([{ "to": OURS[0], "gas": gas }])).unwrap_err();
        }
    }

    #[test]
    fn what_sends_signs_or_manages_is_refused_with_what_is_not() {
        for method in
            ["eth_sendRawTransaction", "eth_sign", "evm_mine", "debug_traceCall", "personal_unlockAccount", ""]
        {
            let refusal = ask(method, json!([])).unwrap_err();
            assert_eq!(refusal.code, -32601, "{method}");
            assert!(refusal.message.contains("eth_getLogs"), "{}", refusal.message);
        }
    }

    #[test]
    fn events_are_ours_and_of_a_bounded_range() {
        let filter = |address: Value, from: Value, to: Value| {
            ask("eth_getLogs", json!([{ "address": address, "fromBlock": from, "toBlock": to, "topics": [] }]))
        };
        filter(json!(OURS[0]), json!("0x0"), json!("0x270f")).unwrap();
        filter(json!(OURS), json!("0x5"), json!("0x4")).unwrap(); // empty, as the endpoint will say
        filter(json!(OURS[0]), json!("0x0"), json!("0x2710")).unwrap_err();
        filter(json!(OURS[0]), json!("0x0"), json!("latest")).unwrap_err();
        filter(json!([OURS[0], Address::repeat_byte(3)]), json!("0x0"), json!("0x1")).unwrap_err();
        filter(json!([]), json!("0x0"), json!("0x1")).unwrap_err();
        ask("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "0x1" }])).unwrap_err();
        ask("eth_getLogs", json!([{ "address": OURS[0], "blockHash": alloy::primitives::B256::ZERO }])).unwrap();
    }

    #[test]
    fn blocks_come_without_transactions_and_fee_histories_are_short() {
        ask("eth_getBlockByNumber", json!(["latest", false])).unwrap();
        ask("eth_getBlockByNumber", json!(["latest", true])).unwrap_err();
        ask("eth_feeHistory", json!(["0x80", "latest", [10, 50]])).unwrap();
        ask("eth_feeHistory", json!(["0x81", "latest", []])).unwrap_err();
        ask("eth_feeHistory", json!([1, "latest", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])).unwrap_err();
    }
}
