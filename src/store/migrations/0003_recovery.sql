-- Tasks that are asked for because no pingback came, and results that are not confirmed yet. Times are Unix
-- milliseconds in UTC.

-- When the API is asked for the task; nothing when it is not.
ALTER TABLE tasks ADD COLUMN poll_at INTEGER;
ALTER TABLE tasks ADD COLUMN polls INTEGER NOT NULL DEFAULT 0;

CREATE INDEX tasks_poll ON tasks (account, poll_at) WHERE poll_at IS NOT NULL;

-- What waits already, two minutes after its submission.
UPDATE tasks SET poll_at = submitted_at + 120000 WHERE status = 'pending';

-- What tells a repeated event of a Marzban panel from a new one.
CREATE TABLE marzban_events (
    seq         INTEGER PRIMARY KEY,
    digest      BLOB NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

CREATE INDEX marzban_events_digest ON marzban_events (digest);
