-- Transactions on their way: a row for each version that was signed, written before it was sent. All versions of a nonce go
-- once one of them, or another's transaction with that nonce, can no longer leave the chain.
CREATE TABLE outbox (
    hash    BYTEA  NOT NULL PRIMARY KEY,
    signer  BYTEA  NOT NULL,
    nonce   BIGINT NOT NULL,
    what    TEXT   NOT NULL, -- for people
    raw     BYTEA  NOT NULL, -- EIP-2718, as it is sent
    fee_cap BYTEA  NOT NULL, -- wei per gas that no version exceeds
    at      BIGINT NOT NULL
);
CREATE INDEX outbox_nonce ON outbox (signer, nonce, at);
CREATE INDEX winners_tx ON winners (tx);
