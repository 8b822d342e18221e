-- Payee's side: work that a receipt was signed for, or that is to be prepaid, and whose ticket is not here. Written before the
-- receipt is sent, and gone with the ticket: a ticket that comes late, by itself, is told by this what it pays.
CREATE TABLE unpaid (
    payer               BYTEA   NOT NULL,
    payee               BYTEA   NOT NULL,
    work_hash           BYTEA   NOT NULL,
    stream              BYTEA   NOT NULL,
    delivered           BOOLEAN NOT NULL, -- a receipt was signed; else it is a prepayment
    price               BYTEA   NOT NULL, -- wei
    price_per_megapixel BYTEA   NOT NULL, -- and the terms that were quoted
    face_value          BYTEA   NOT NULL,
    win_prob            BYTEA   NOT NULL,
    at                  BIGINT  NOT NULL,
    PRIMARY KEY (payer, payee, work_hash)
);
CREATE INDEX unpaid_at ON unpaid (payer, payee, at);

-- Payer's side: why the payee will never take the ticket, so that it is not sent again.
ALTER TABLE tickets_sent ADD COLUMN refused TEXT;
