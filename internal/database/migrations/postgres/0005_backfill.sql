-- compatible: 4
-- The sessions whose events still lack processes and search columns.
CREATE INDEX IF NOT EXISTS idx_sessions_backfill ON sessions (created_at, id) WHERE backfilled_seq < backfill_up_to;

-- Programs of schema 1 at first did not store processes. The known processes of sessions
-- from that time stay, and the backfill counts all events anew. Imported sessions have
-- no agent; their bundles contained their processes.
UPDATE sessions SET backfill_up_to = event_count
WHERE (agent_id IS NOT NULL OR id = 'unassigned')
    AND (SELECT created_at FROM events WHERE session_id = sessions.id AND seq = 1) < (SELECT applied_at FROM schema_migrations WHERE version = 2);

UPDATE processes SET event_counts = '{}'
WHERE session_id IN (SELECT id FROM sessions WHERE backfilled_seq < backfill_up_to);
