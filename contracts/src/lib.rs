//! The contracts' Rust bindings, the chain client and the embedded chain.
