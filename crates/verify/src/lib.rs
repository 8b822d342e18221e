//! Hashes, grids, probes and sampling: pure and integer-only.
