-- Alert groups as they were last heard, and the outbox. Times are Unix milliseconds in UTC.

-- A number is never used again: a lease, a letter or a page may still name a row that is gone.
CREATE TABLE alert_groups (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver        TEXT NOT NULL,
    key             TEXT NOT NULL,
    -- Rises with each notification that is not a repetition.
    version         INTEGER NOT NULL,
    -- Of the last notification, as it came.
    digest          BLOB NOT NULL,
    heard_at        INTEGER NOT NULL,
    firing_info     INTEGER NOT NULL,
    firing_warning  INTEGER NOT NULL,
    firing_critical INTEGER NOT NULL,
    title           TEXT NOT NULL,
    -- JSON; last, because it may be long.
    state           TEXT NOT NULL,
    UNIQUE (receiver, key)
) STRICT;

-- What fires, without a look at the states.
CREATE INDEX alert_groups_firing ON alert_groups (receiver, firing_critical, firing_warning, firing_info, heard_at, title);
CREATE INDEX alert_groups_heard ON alert_groups (heard_at);

CREATE TABLE destinations (
    name            TEXT PRIMARY KEY,
    -- Kept with every commit, so that nobody has to count.
    pending         INTEGER NOT NULL DEFAULT 0,
    dead            INTEGER NOT NULL DEFAULT 0,
    -- The configuration that the rest is about.
    fingerprint     TEXT NOT NULL DEFAULT '',
    unusable        TEXT,
    no_credit_until INTEGER
) STRICT;

CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('group', 'escalation', 'notice', 'result')),
    -- What it is about; newer content of the same replaces older that still waits.
    subject     TEXT NOT NULL,
    group_seq   INTEGER,
    task_seq    INTEGER,
    state       TEXT NOT NULL CHECK (state IN ('ready', 'leased')),
    -- Since when the destination is behind.
    queued_at   INTEGER NOT NULL,
    -- When its newest content came.
    state_at    INTEGER NOT NULL,
    -- When it may be claimed; while it is leased, when the lease ends.
    due_at      INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    lease       INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    ambiguous   INTEGER NOT NULL DEFAULT 0,
    -- Whether people were told elsewhere that it does not arrive.
    escalated   INTEGER NOT NULL DEFAULT 0,
    last_error  TEXT,
    payload     TEXT,
    UNIQUE (destination, kind, subject)
) STRICT;

CREATE INDEX deliveries_due ON deliveries (destination, due_at);
CREATE INDEX deliveries_oldest ON deliveries (destination, queued_at);
CREATE INDEX deliveries_group ON deliveries (group_seq) WHERE group_seq IS NOT NULL;
CREATE INDEX deliveries_task ON deliveries (task_seq) WHERE task_seq IS NOT NULL;

-- What a destination knows of a group, in words of its own.
CREATE TABLE told (
    destination TEXT NOT NULL,
    group_seq   INTEGER NOT NULL,
    told        TEXT NOT NULL,
    PRIMARY KEY (destination, group_seq)
) STRICT;

CREATE TABLE calls (
    seq         INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    subject     TEXT NOT NULL,
    number      TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;

CREATE INDEX calls_recent ON calls (destination, at);

CREATE TABLE dead_letters (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    added_at   INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    last_error TEXT,
    kind       TEXT NOT NULL,
    -- What it is about, as in deliveries.
    subject    TEXT NOT NULL,
    group_seq  INTEGER,
    payload    TEXT NOT NULL
) STRICT;

CREATE INDEX dead_letters_oldest ON dead_letters (source, added_at);
CREATE UNIQUE INDEX dead_letters_subject ON dead_letters (source, reason, subject) WHERE kind <> 'pingback';
-- Pingbacks that contradict each other are worth a look, each of them.
CREATE UNIQUE INDEX dead_letters_pingback ON dead_letters (subject, reason, payload) WHERE kind = 'pingback';

CREATE TABLE watchdog (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    last_heard_at INTEGER,
    -- Since when people know that it is silent.
    alarmed_at    INTEGER
) STRICT;
