-- A broadcaster's stream keys. Only the hash is kept: the key itself was shown once, when it was made.
CREATE TABLE stream_keys (
    hash    BYTEA  NOT NULL PRIMARY KEY, -- SHA-256 of the key
    name    TEXT   NOT NULL,             -- public name of the stream; several keys may have one name
    created BIGINT NOT NULL,
    used    BIGINT,                      -- the last publication that it let in
    revoked BIGINT
);
