-- session_runs says when each session was monitored, by the clock of the database,
-- so that an event that waited in a spool goes to the session of its moment of
-- receipt. A trigger writes it: every way in which a session starts or ends goes
-- through these two columns, also in older versions that use the same database.
--
-- A session whose agent was asked to start, and has not answered, has a run of one
-- minute (models.StartGrace). A run that has not ended ends in the year 9999.
CREATE FUNCTION note_session_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    at_now timestamptz := clock_timestamp();
BEGIN
    IF NOT NEW.is_active AND NEW.starting_since IS NULL THEN
        UPDATE session_runs SET ended_at = at_now WHERE session_id = NEW.id AND ended_at > at_now;
    ELSIF NEW.is_active AND NOT OLD.is_active AND OLD.starting_since IS NOT NULL THEN
        UPDATE session_runs SET ended_at = '9999-12-31 00:00:00+00'
        WHERE id = (SELECT MAX(id) FROM session_runs WHERE session_id = NEW.id);
    ELSIF NOT OLD.is_active THEN
        INSERT INTO session_runs (session_id, agent_id, started_at, ended_at)
        VALUES (NEW.id, NEW.agent_id, at_now, CASE WHEN NEW.is_active THEN '9999-12-31 00:00:00+00' ELSE at_now + interval '1 minute' END);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_session_run AFTER UPDATE OF is_active, starting_since ON sessions FOR EACH ROW
WHEN (NEW.agent_id IS NOT NULL AND (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.starting_since IS DISTINCT FROM NEW.starting_since))
EXECUTE FUNCTION note_session_run();

INSERT INTO session_runs (session_id, agent_id, started_at, ended_at)
SELECT id, agent_id, COALESCE(starting_since, monitoring_started, created_at),
    CASE WHEN is_active THEN '9999-12-31 00:00:00+00' WHEN starting_since IS NOT NULL THEN starting_since + interval '1 minute' ELSE monitoring_ended END
FROM sessions
WHERE agent_id IS NOT NULL AND (is_active OR starting_since IS NOT NULL OR monitoring_ended IS NOT NULL);
