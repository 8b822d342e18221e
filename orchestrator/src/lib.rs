//! The orchestrator: sessions, the pool of transcoders, verification, settlement.
