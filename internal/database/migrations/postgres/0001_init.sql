-- Events by time over all sessions: they come in nearly in that order, so a
-- block range index does, at a thousandth of a B-tree's size and cost.
CREATE INDEX IF NOT EXISTS idx_events_time ON events USING brin ("timestamp");

-- Who gets an event that names no known session: the few sessions that are
-- live, and the last one that ended.
CREATE INDEX IF NOT EXISTS idx_sessions_live ON sessions (agent_id) WHERE is_active OR starting_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_sessions_ended ON sessions (agent_id, monitoring_ended DESC) WHERE monitoring_ended IS NOT NULL;

-- lz4 packs an HTTP flow several times faster than pglz. Only servers built with
-- it, from version 14 on, know it; the others keep their default. EXECUTE,
-- because a server that does not know the syntax would refuse the whole block
-- before its exception handler is there.
DO $$
BEGIN
    EXECUTE 'ALTER TABLE events ALTER COLUMN data SET COMPRESSION lz4';
    EXECUTE 'ALTER TABLE events ALTER COLUMN data_raw SET COMPRESSION lz4';
EXCEPTION
    WHEN syntax_error OR feature_not_supported OR invalid_parameter_value THEN NULL;
END
$$;

INSERT INTO sessions (id, file_name, created_at, updated_at)
VALUES ('unassigned', '', now(), now())
ON CONFLICT (id) DO NOTHING;
