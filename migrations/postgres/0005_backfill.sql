-- compatible: 4
-- The sessions of which events are still to be looked at, to note their processes and
-- what is filtered by.
CREATE INDEX IF NOT EXISTS idx_sessions_backfill ON sessions (created_at, id) WHERE backfilled_seq < backfill_up_to;

-- Programs of schema 1 noted no processes at first. Of sessions from that time the
-- processes that are known stay, and all events are counted anew. Imported sessions,
-- which have no agent, brought their processes with them.
UPDATE sessions SET backfill_up_to = event_count
WHERE (agent_id IS NOT NULL OR id = 'unassigned')
    AND (SELECT created_at FROM events WHERE session_id = sessions.id AND seq = 1) < (SELECT applied_at FROM schema_migrations WHERE version = 2);

UPDATE processes SET event_counts = '{}'
WHERE session_id IN (SELECT id FROM sessions WHERE backfilled_seq < backfill_up_to);
