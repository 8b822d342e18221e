//! The database of a node: tickets, winners, receipts, signing log.
