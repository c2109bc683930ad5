-- Segments replace the indexes of events by type, process, pid and time, and claims that of
-- unsent events. Older programs do not know claims, so they must not use this schema.
WITH RECURSIVE complete (session_id, number, total) AS (
    SELECT id, CAST(0 AS bigint), event_count / 4096 FROM sessions
    WHERE event_count >= 4096
        AND NOT EXISTS (SELECT 1 FROM events WHERE session_id = sessions.id AND NOT is_sent)
        AND NOT EXISTS (SELECT 1 FROM segments WHERE session_id = sessions.id AND is_sealed)
    UNION ALL
    SELECT session_id, number + 1, total FROM complete WHERE number + 1 < total
)
INSERT INTO claims (session_id, number) SELECT session_id, number FROM complete;

UPDATE sessions SET claims_in_rows = event_count WHERE event_count > 0;

DROP INDEX IF EXISTS idx_events_type;
DROP INDEX IF EXISTS idx_events_process;
DROP INDEX IF EXISTS idx_events_pid;
DROP INDEX IF EXISTS idx_events_session_time;
DROP INDEX IF EXISTS idx_events_unsent;
