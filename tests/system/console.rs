//! The console as people use it: with a wallet, and with eyes, hands and screens of several kinds.

use crate::network::{Network, certificate};
use crate::process::output;
use std::process::Command;

/// Runs a script of `tests/browser` with these arguments, and says what it saw. Pictures go into the folder that `MILLRACE_SHOTS` names.
fn run(script: &str, args: &[&str]) -> String {
    let script = format!("{}/tests/browser/{script}", env!("CARGO_MANIFEST_DIR"));
    let told = output(Command::new("node").arg(&script).args(args)).unwrap();
    String::from_utf8_lossy(&told.stdout).into_owned()
}

/// Runs a script at the console of a network started with these flags.
fn at_the_console(script: &str, flags: &[&str]) -> String {
    let network = Network::start(flags);
    let saw = run(script, &[&network.ready.console_url, env!("CARGO_BIN_EXE_millrace")]);
    network.assert_well();
    saw
}

#[test]
fn a_wallet_stakes_and_funds_and_is_told_what_goes_wrong() {
    println!("{}", at_the_console("stake.mjs", &["--source", "none"]));
}

#[test]
fn every_screen_can_be_read_and_reached_in_light_and_dark_wide_and_narrow() {
    println!("{}", at_the_console("looks.mjs", &["--source", "demo"]));
}

#[test]
fn each_guide_leads_from_nothing_to_finished_by_what_its_screen_says() {
    // The transcoder that a guide leads to has all the work, so that its first segment comes soon.
    println!("{}", at_the_console("start.mjs", &["--source", "none", "--transcoders", "0"]));
}

#[test]
fn an_owner_signs_in_and_operates_the_node() {
    let (recorded, issued) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [certificate, secret] = certificate(issued.path());
    let variables = [
        ("MILLRACE_BROADCASTER_RECORDING", recorded.path().to_str().unwrap()),
        ("MILLRACE_NODE_HTTPS_LISTEN", "127.0.0.1:0"),
        ("MILLRACE_NODE_TLS_CERTIFICATE", &certificate),
        ("MILLRACE_NODE_TLS_KEY", &secret),
    ];
    let network = Network::start_with(&["--source", "demo"], &variables);
    let key = |node: &str| network.config(node).with_extension("").join("identity.key").to_str().unwrap().to_owned();
    let (ready, own, worker) = (&network.ready, key("broadcaster"), key("transcoder-1"));
    let secure = ready.hls_https_url.as_deref().unwrap();
    println!("{}", run("operator.mjs", &[&ready.console_url, &own, &ready.transcoder_apis[0], &worker, secure]));
    network.assert_well();
}

#[test]
fn the_first_page_is_light_and_says_something_soon() {
    println!("{}", at_the_console("weight.mjs", &["--source", "demo"]));
}

/// Runs a script that stands between the console and a network whose transcoders are paid.
fn in_front(script: &str) {
    let network = Network::start(&["--source", "demo"]);
    println!("{}", run(script, &[&network.ready.console_url, &network.ready.orchestrator_api]));
    network.assert_well();
}

#[test]
fn a_thousand_streams_and_ten_thousand_tickets_are_found_and_drawn() {
    in_front("large.mjs");
}

/// For a minute, or as many as `MILLRACE_OPEN_MINUTES` says.
#[test]
fn a_console_left_open_does_not_grow() {
    in_front("left-open.mjs");
}

#[test]
fn what_a_liar_returned_is_shown_beside_what_it_was_given() {
    println!("{}", at_the_console("verification.mjs", &["--source", "demo", "--liar", "black"]));
}
