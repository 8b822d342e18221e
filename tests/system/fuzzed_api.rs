//! What each node answers to requests made after its own description, right ones and wrong ones: never a fault of its own, and nothing that is
//! not described. By Schemathesis, which `scripts/bootstrap test` installs.

use crate::api::{ELSEWHERE, command};
use crate::media::{Publisher, cuts};
use crate::network::Network;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A failed run says with it how to have it again; `MILLRACE_FUZZ_SEED` names another.
const SEED: &str = "20261122";
/// Requests of each call by chance, besides those at the edges of its description; `MILLRACE_FUZZ_EXAMPLES` names more.
const EXAMPLES: &str = "8";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection";
/// A stream of events has no end, and `events_tell_what_changes_and_go_on_where_a_listener_was` reads it. Drained is a node at the very end.
const ASIDE: &str = "^/v1/(events|drain)$";

/// The program that `MILLRACE_SCHEMATHESIS` names. `None` and a line that says so where there is none.
fn schemathesis() -> Option<PathBuf> {
    let named = std::env::var_os("MILLRACE_SCHEMATHESIS").map(PathBuf::from);
    if named.is_none() {
        let _ = writeln!(std::io::stderr(), "\nskipped: no fuzzer of the API: MILLRACE_SCHEMATHESIS may name one");
    }
    named
}

fn chosen(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.to_owned())
}

/// Sends requests after the description of the node at `node`, as whoever these headers say.
fn fuzz(program: &Path, node: &str, who: &[(&str, &str)], args: &[&str]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Command::new(program);
    run.current_dir(dir.path()).args([
        "run",
        &format!("{node}/api/v1/openapi.json"),
        "--no-color",
        "--warnings",
        "off",
    ]);
    run.args(["--seed", &chosen("MILLRACE_FUZZ_SEED", SEED), "--checks", CHECKS, "--request-timeout", "20"]);
    for (name, value) in who {
        run.args(["--header", &format!("{name}: {value}")]);
    }
    let told = run.args(args).output().unwrap();
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    let cases = said.lines().find(|line| line.contains(" generated")).unwrap_or("").trim().to_owned();
    println!("{node} {args:?}: {cases}");
    if told.status.success() && !cases.is_empty() {
        return Ok(());
    }
    Err(format!("{node} {args:?}: {}\n{said}{}", told.status, String::from_utf8_lossy(&told.stderr)))
}

#[test]
fn requests_made_after_its_description_find_no_fault_in_a_node() {
    let Some(program) = schemathesis() else { return };
    let recorded = tempfile::tempdir().unwrap();
    let recording = ("MILLRACE_BROADCASTER_RECORDING", recorded.path().to_str().unwrap());
    let network = Network::start_with(&["--source", "none"], &[recording]);
    let _publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    network.until_stream_is(&network.live.name, "live");
    let ready = &network.ready;
    let nodes = [
        ("broadcaster", &ready.broadcaster_api),
        ("orchestrator", &ready.orchestrator_api),
        ("transcoder-1", &ready.transcoder_apis[0]),
    ];
    println!("seed {}", chosen("MILLRACE_FUZZ_SEED", SEED));
    let examples = chosen("MILLRACE_FUZZ_EXAMPLES", EXAMPLES);
    let most = ["--phases", "coverage,fuzzing", "--max-examples", &examples, "--exclude-path-regex", ASIDE];
    let mut faults = Vec::new();
    let mut bearers = Vec::new();
    for (name, node) in nodes {
        let token = command(&network, name, &["token", "new", "fuzzer", "--role", "operate"]);
        let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
        faults.extend(fuzz(&program, node, &[ELSEWHERE], &most).err());
        faults.extend(fuzz(&program, node, &[ELSEWHERE, ("authorization", &bearer)], &most).err());
        bearers.push(bearer);
    }
    network.assert_well();
    let last = ["--phases", "fuzzing", "--max-examples", "1", "--mode", "positive", "--include-path", "/v1/drain"];
    for ((_, node), bearer) in nodes.iter().zip(&bearers) {
        faults.extend(fuzz(&program, node, &[ELSEWHERE, ("authorization", bearer)], &last).err());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(!network.logs().contains("panicked"), "a node panicked");
}
