//! `millrace`: every role of the network in one program.
//!
//! | command | what |
//! | --- | --- |
//! | `up` | the whole network on this machine, with an embedded chain and a demo stream |
//! | `broadcaster`, `orchestrator`, `transcoder` | one role, by its section of the configuration |
//! | `wallet` | keys, coin, locks, winners, by hand |
//! | `key` | a broadcaster's stream keys |
//! | `token` | by which programs call a node's API |
//! | `clip` | a stretch of a recording as one MP4 |
//! | `stake` | bonds, delegations, sampling secrets, disputes, by hand |
//! | `deploy` | the contracts onto a chain |
//! | `bench` | the figures of the whole line, measured |
//! | `docs` | the reference pages, from the code |
//! | `worker` | a device's process; started by the transcoder |

#![allow(clippy::print_stderr, reason = "the command line speaks to a person")]
#![allow(unreachable_pub, reason = "a program has no outside: `pub` says what the other files use")]

mod bench;
mod children;
mod cli;
mod clip;
mod demo;
mod deploy;
mod docs;
mod door;
mod key;
mod role;
mod stake;
mod token;
mod up;
mod wallet;
mod worker;

use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};
use millrace_node::config::arguments;
use millrace_node::shutdown::{EXIT_FAILURE, EXIT_USAGE};
use millrace_node::version;
use rustix::process::{Resource, getrlimit, setrlimit};

/// What a command that failed says, and the code that it exits with.
struct Failure(String, u8);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string(), EXIT_FAILURE)
    }
}

impl Failure {
    /// The command line or the configuration is wrong.
    fn usage(error: impl std::fmt::Display) -> Self {
        Self(error.to_string(), EXIT_USAGE)
    }
}

fn main() -> ExitCode {
    // Two parts of the program bring a TLS provider; the first to be named is the one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("millrace: a tls provider was installed twice; going on with the first");
    }
    open_many_files();
    let matches = match arguments(command(), std::env::args_os()) {
        Ok(matches) => matches,
        Err(code) => return ExitCode::from(code),
    };
    let outcome = match matches.subcommand() {
        Some(("up", flags)) => up::UpArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(up::main),
        Some(("deploy", flags)) => {
            deploy::DeployArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(deploy::main)
        }
        Some(("wallet", flags)) => {
            wallet::WalletArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(wallet::main)
        }
        Some(("key", flags)) => key::KeyArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(key::main),
        Some(("token", flags)) => {
            token::TokenArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(token::main)
        }
        Some(("clip", flags)) => clip::ClipArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(clip::main),
        Some(("stake", flags)) => {
            stake::StakeArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(stake::main)
        }
        Some(("bench", flags)) => {
            bench::BenchArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(bench::main)
        }
        Some(("docs", flags)) => docs::DocsArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(docs::main),
        Some(("worker", flags)) => {
            worker::WorkerArgs::from_arg_matches(flags).map_err(Failure::usage).and_then(worker::main)
        }
        Some((name, flags)) => role::main(name, flags),
        None => Err(Failure::usage("no command was given: millrace --help lists them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason, code)) => {
            eprintln!("millrace: {reason}");
            ExitCode::from(code)
        }
    }
}

/// Lets this process have as many open files as the system allows it: each publisher and each viewer is a socket, and a shell's usual
/// 1,024 are fewer than a node's own limits. What it starts inherits that.
fn open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("millrace: this process keeps its limit of open files (ulimit -n): {error}");
    }
}

/// The whole command line.
fn command() -> Command {
    let top = Command::new("millrace")
        .about("A live video transcoding network: publish by RTMP, SRT or WebRTC, watch by HLS, pay and be paid by the segment")
        .version(version::long())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(up::UpArgs::augment_args(Command::new("up")).about("The whole network on this machine"))
        .subcommand(
            wallet::WalletArgs::augment_args(Command::new("wallet")).about("Keys, coin, locks and winners, by hand"),
        )
        .subcommand(
            key::KeyArgs::augment_args(Command::new("key"))
                .about("Who may publish: a broadcaster's stream keys, by hand"),
        )
        .subcommand(
            token::TokenArgs::augment_args(Command::new("token")).about("Which programs may call a node's API, by tokens"),
        )
        .subcommand(clip::ClipArgs::augment_args(Command::new("clip")).about("Cut a stretch of a recording out as one MP4"))
        .subcommand(
            stake::StakeArgs::augment_args(Command::new("stake"))
                .about("Bonds, delegations, sampling secrets and disputes, by hand"),
        )
        .subcommand(deploy::DeployArgs::augment_args(Command::new("deploy")).about("Put the contracts onto a chain"))
        .subcommand(bench::BenchArgs::augment_args(Command::new("bench")).about("Measure the whole line"))
        .subcommand(docs::DocsArgs::augment_args(Command::new("docs")).about("Write the reference pages"))
        .subcommand(worker::WorkerArgs::augment_args(Command::new("worker").hide(true)));
    role::ROLES.iter().fold(top, |command, role| command.subcommand(role.command()))
}
