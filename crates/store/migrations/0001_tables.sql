-- Portable SQL: SQLite now, PostgreSQL later. Hashes, addresses and 256-bit amounts (big endian) are BYTEA, times are
-- unix milliseconds in BIGINT unless named otherwise. Keys are natural: what must happen once is a unique key.

CREATE TABLE settings (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

-- What was signed, written before it was signed. scope: what may be signed for only once.
CREATE TABLE signing_log (
    kind  TEXT   NOT NULL,
    scope BYTEA  NOT NULL,
    body  BYTEA  NOT NULL,
    at    BIGINT NOT NULL,
    PRIMARY KEY (kind, scope)
);
CREATE INDEX signing_log_at ON signing_log (at);

-- Payer's side. expected_x64: sum of face value * win probability * 2^64, so that no ticket's fraction is lost.
CREATE TABLE payer_pairs (
    payer        BYTEA  NOT NULL,
    payee        BYTEA  NOT NULL,
    last_nonce   BIGINT NOT NULL,
    tickets      BIGINT NOT NULL,
    expected_x64 BYTEA  NOT NULL,
    PRIMARY KEY (payer, payee)
);

CREATE TABLE tickets_sent (
    payer        BYTEA   NOT NULL,
    payee        BYTEA   NOT NULL,
    work_hash    BYTEA   NOT NULL,
    payee_commit BYTEA   NOT NULL,
    nonce        BIGINT  NOT NULL,
    body         BYTEA   NOT NULL, -- ABI encoding
    expiry       BIGINT  NOT NULL, -- unix seconds
    acked        BOOLEAN NOT NULL,
    at           BIGINT  NOT NULL,
    PRIMARY KEY (payer, payee, work_hash),
    UNIQUE (payer, payee, payee_commit),
    UNIQUE (payer, payee, nonce)
);
CREATE INDEX tickets_sent_at ON tickets_sent (at);
CREATE INDEX tickets_sent_expiry ON tickets_sent (expiry);

-- Payee's side. redeemed_nonce: the highest nonce handed to redemption.
CREATE TABLE payee_pairs (
    payer          BYTEA  NOT NULL,
    payee          BYTEA  NOT NULL,
    next_index     BIGINT NOT NULL,
    redeemed_nonce BIGINT NOT NULL,
    tickets        BIGINT NOT NULL,
    winners        BIGINT NOT NULL,
    dropped        BIGINT NOT NULL,
    expected_x64   BYTEA  NOT NULL,
    redeemed       BYTEA  NOT NULL, -- wei, of final winners
    PRIMARY KEY (payer, payee)
);

CREATE TABLE tickets_received (
    digest       BYTEA   NOT NULL PRIMARY KEY,
    payer        BYTEA   NOT NULL,
    payee        BYTEA   NOT NULL,
    work_hash    BYTEA   NOT NULL,
    commit_index BIGINT  NOT NULL,
    nonce        BIGINT  NOT NULL,
    body         BYTEA   NOT NULL, -- ABI encoding
    signature    BYTEA   NOT NULL,
    expiry       BIGINT  NOT NULL, -- unix seconds
    winner       BOOLEAN NOT NULL,
    at           BIGINT  NOT NULL,
    UNIQUE (payer, payee, work_hash),
    UNIQUE (payer, payee, commit_index),
    UNIQUE (payer, payee, nonce)
);
CREATE INDEX tickets_received_at ON tickets_received (at);
CREATE INDEX tickets_received_expiry ON tickets_received (expiry);

-- state: queued -> sent -> mined -> final, or dropped with a reason.
CREATE TABLE winners (
    digest     BYTEA  NOT NULL PRIMARY KEY REFERENCES tickets_received (digest),
    payer      BYTEA  NOT NULL,
    payee      BYTEA  NOT NULL,
    nonce      BIGINT NOT NULL,
    face_value BYTEA  NOT NULL, -- wei
    payee_rand BYTEA  NOT NULL,
    expiry     BIGINT NOT NULL, -- unix seconds
    state      TEXT   NOT NULL,
    tx         BYTEA,
    block      BIGINT,
    attempts   BIGINT NOT NULL,
    reason     TEXT,
    at         BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX winners_state ON winners (state, payer, payee, nonce);

-- What became of segments, for people: the last 10,000.
CREATE TABLE segments (
    stream      BYTEA  NOT NULL,
    seq         BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    worker      BYTEA  NOT NULL,
    worker_name TEXT   NOT NULL,
    result      TEXT   NOT NULL, -- pass, fail, lost, refused
    fault       TEXT,
    latency_ms  BIGINT NOT NULL,
    paid        BYTEA  NOT NULL, -- wei
    payer       BYTEA  NOT NULL,
    payee       BYTEA  NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (stream, seq, attempt, worker)
);
CREATE INDEX segments_at ON segments (at);

CREATE TABLE suspensions (
    worker BYTEA  NOT NULL PRIMARY KEY,
    reason TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    until  BIGINT NOT NULL
);
