//! A payee's process is killed while it accepts tickets: what it acknowledged is on disk.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use alloy::primitives::U256;
use tempfile::TempDir;

use crate::{NOW_MS, due, open_payee, open_payer, random};

const DIR: &str = "MILLRACE_TEST_KILLED_DIR";
const FIRST: &str = "MILLRACE_TEST_KILLED_FIRST";

/// The process that dies: does nothing unless the test below starts it. Pays itself and prints each acknowledgement.
#[tokio::test]
async fn child_that_accepts_until_it_is_killed() {
    let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) else { return };
    let (_, mut payer) = open_payer(dir.as_ref()).await;
    let (_, mut payee) = open_payee(dir.as_ref()).await;
    payer.offer_commits(payee.commits(16).await.unwrap());
    for n in first.parse().unwrap()..100_000 {
        let ticket = payer.issue(NOW_MS, &due(n), random(n)).await.unwrap();
        let (_, commits) = payee.accept(NOW_MS, &ticket, &due(n), U256::MAX).await.unwrap();
        println!("acked {n}");
        payer.offer_commits(commits);
    }
}

#[tokio::test]
async fn what_a_killed_payee_acknowledged_is_on_disk_and_counted_once() {
    let dir = TempDir::new().unwrap();
    let mut acked: Vec<u64> = vec![];
    for until in [1, 12, 40] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child_that_accepts_until_it_is_killed", "--nocapture"])
            .env(DIR, dir.path())
            .env(FIRST, acked.len().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        for _ in 0..until {
            let n = lines.find_map(|line| line.split_once("acked ")?.1.parse().ok());
            acked.push(n.expect("the child acknowledges until it is killed"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it printed between our last look and its death was acknowledged too.
        acked.extend(lines.filter_map(|line| line.split_once("acked ")?.1.parse::<u64>().ok()));
    }
    let (_, mut payer) = open_payer(dir.path()).await;
    let (store, mut payee) = open_payee(dir.path()).await;
    let stored = store.totals().await.unwrap().received;
    assert!(stored >= acked.len() as u64, "{} acknowledged, {stored} stored", acked.len());
    // One ticket may be on disk of which the acknowledgement was not printed, each time.
    assert!(stored <= acked.len() as u64 + 3, "{} acknowledged, {stored} stored", acked.len());
    let winners = store.replay().await.unwrap().len() as u64;
    assert_eq!(winners, store.totals().await.unwrap().winners);
    for n in acked.iter().rev().take(32) {
        let ticket = payer.issue(NOW_MS, &due(*n), random(n + 5000)).await.unwrap();
        assert!(payee.accept(NOW_MS, &ticket, &due(*n), U256::MAX).await.unwrap().0.again, "work {n}");
    }
    assert_eq!(store.totals().await.unwrap().received, stored);
}
