//! What every role shares: configuration, keys, telemetry, shutdown.
//!
//! A role's start is the same story everywhere: [`config`] reads the file, the environment and the flags before anything
//! binds; [`telemetry`] begins to log; [`keys`] loads the identity; [`http`] serves health, metrics, the role's API with [`events`] and the last [`log`]
//! lines, and the [`console`]; [`shutdown`] ends it all in order. Nothing here knows media, money or peers.

pub mod config;
pub mod console;
pub mod events;
pub mod files;
pub mod http;
pub mod keys;
pub mod keystore;
pub mod log;
pub mod metrics;
pub mod role;
pub mod sections;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod version;
