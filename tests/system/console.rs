//! The console as people use it: with a wallet, and with eyes, hands and screens of several kinds.

use crate::network::Network;
use crate::process::output;
use std::process::Command;

/// Runs a script of `tests/browser` at the console of a network with this source, and says what it saw. Pictures go into the folder that
/// `MILLRACE_SHOTS` names.
fn at_the_console(script: &str, source: &str) -> String {
    let network = Network::start(&["--source", source]);
    let script = format!("{}/tests/browser/{script}", env!("CARGO_MANIFEST_DIR"));
    let told = output(Command::new("node").args([&script, &network.ready.console_url])).unwrap();
    network.assert_well();
    String::from_utf8_lossy(&told.stdout).into_owned()
}

#[test]
fn a_wallet_stakes_and_funds_and_is_told_what_goes_wrong() {
    println!("{}", at_the_console("stake.mjs", "none"));
}

#[test]
fn every_screen_can_be_read_and_reached_in_light_and_dark_wide_and_narrow() {
    println!("{}", at_the_console("looks.mjs", "demo"));
}
