//! Tickets, receipts and assignments: EIP-712 and the payer's and payee's state machines, pure.
