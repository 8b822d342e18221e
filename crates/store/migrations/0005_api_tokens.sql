-- Tokens by which programs call the node's API. Only the hash is kept: the token itself was shown once, when it was made.
CREATE TABLE api_tokens (
    hash    BYTEA  NOT NULL PRIMARY KEY, -- keccak256 of the token
    name    TEXT   NOT NULL,             -- for people
    role    TEXT   NOT NULL,             -- 'read' or 'operate'
    created BIGINT NOT NULL,
    used    BIGINT,                      -- the last call that it let in, to the minute
    revoked BIGINT
);
