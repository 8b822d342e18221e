//! Messages and the QUIC transport between nodes, identity bound to the key.
