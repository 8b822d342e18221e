//! `make run` as a visitor sees it.

use crate::network::Network;
use crate::process::{output, wait_for};
use std::process::Command;
use std::time::Duration;

#[test]
fn the_demo_plays_and_pays() {
    let network = Network::start(&["--source", "demo"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/console.mjs");
    let mut viewer = Command::new("node");
    viewer.args([script, &network.ready.console_url, "360p"]).args(std::env::var_os("MILLRACE_SCREENSHOT"));
    let told = output(&mut viewer).unwrap();
    println!("{}", String::from_utf8_lossy(&told.stdout));

    let (status, left) = network.interrupt();
    assert_eq!(status.code(), Some(0), "Ctrl-C ends in {status}");
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn both_hops_are_paid_and_winners_end_on_the_chain() {
    let network = Network::start(&["--source", "demo"]);
    let nodes = [network.ready.orchestrator_api.clone()].into_iter().chain(network.ready.transcoder_apis.clone());
    let redeemed = |api: &str| -> Result<u128, String> {
        let tickets = crate::http::get_json(&format!("{api}/api/v1/tickets"))?;
        let wei = tickets["received"]["redeemed_wei"].as_str().and_then(|wei| wei.parse().ok());
        wei.ok_or_else(|| tickets.to_string())
    };
    let nodes: Vec<_> = nodes.collect();
    wait_for("the orchestrator and a transcoder have redeemed a ticket", Duration::from_secs(120), || {
        let wei = nodes.iter().map(|api| redeemed(api)).collect::<Result<Vec<_>, _>>()?;
        if wei[0] > 0 && wei[1..].iter().any(|&wei| wei > 0) { Ok(()) } else { Err(format!("redeemed, wei: {wei:?}")) }
    });
}
