-- Times are Unix milliseconds in UTC.

CREATE TABLE tasks (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'solved', 'failed')),
    registered      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    account         TEXT,
    captcha         TEXT NOT NULL,
    submitted_at    INTEGER,
    finished_at     INTEGER,
    source          TEXT CHECK (source IN ('pingback', 'poll')),
    -- Until the pingback is counted as expected: at its arrival or, when overdue, at this time.
    pingback_due_at INTEGER,
    error           TEXT,
    -- Last, because a long solution moves what follows it to other pages.
    code            TEXT
) STRICT;

-- The oldest pending task of an account.
CREATE INDEX tasks_pending ON tasks (account, submitted_at) WHERE status = 'pending';
-- Overdue pingbacks, without a look at the others.
CREATE INDEX tasks_pingback_due ON tasks (pingback_due_at) WHERE pingback_due_at IS NOT NULL;

CREATE TABLE accounts (
    name       TEXT PRIMARY KEY,
    -- Kept with every commit, so that nobody has to count.
    pending    INTEGER NOT NULL DEFAULT 0,
    usd        REAL,
    spend_usd  REAL,
    topups_usd REAL,
    read_at    INTEGER
) STRICT;

-- One row that is written to find out whether the store can be written again.
CREATE TABLE probe (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    written_at INTEGER NOT NULL
) STRICT;
