-- session_runs says when each session was monitored, by the clock of the database,
-- so that an event that waited in a spool goes to the session of its moment of
-- receipt. Triggers write it: every way in which a session starts or ends goes
-- through these two columns.
--
-- A session whose agent was asked to start, and has not answered, has a run of one
-- minute (models.StartGrace). A run that has not ended ends in the year 9999.
CREATE TRIGGER session_run_begins AFTER UPDATE OF is_active, starting_since ON sessions
WHEN NEW.agent_id IS NOT NULL AND NOT OLD.is_active AND CASE WHEN NEW.is_active THEN OLD.starting_since IS NULL
    ELSE NEW.starting_since IS NOT NULL AND NEW.starting_since IS NOT OLD.starting_since END
BEGIN
    INSERT INTO session_runs (session_id, agent_id, started_at, ended_at)
    VALUES (NEW.id, NEW.agent_id, CAST(unixepoch('subsec') * 1000000 AS INTEGER),
        CASE WHEN NEW.is_active THEN 253402214400000000 ELSE CAST(unixepoch('subsec') * 1000000 AS INTEGER) + 60000000 END);
END;

CREATE TRIGGER session_run_goes_on AFTER UPDATE OF is_active, starting_since ON sessions
WHEN NEW.agent_id IS NOT NULL AND NEW.is_active AND NOT OLD.is_active AND OLD.starting_since IS NOT NULL
BEGIN
    UPDATE session_runs SET ended_at = 253402214400000000
    WHERE id = (SELECT MAX(id) FROM session_runs WHERE session_id = NEW.id);
END;

CREATE TRIGGER session_run_ends AFTER UPDATE OF is_active, starting_since ON sessions
WHEN NOT NEW.is_active AND NEW.starting_since IS NULL AND (OLD.is_active OR OLD.starting_since IS NOT NULL)
BEGIN
    UPDATE session_runs SET ended_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
    WHERE session_id = NEW.id AND ended_at > CAST(unixepoch('subsec') * 1000000 AS INTEGER);
END;

INSERT INTO session_runs (session_id, agent_id, started_at, ended_at)
SELECT id, agent_id, COALESCE(starting_since, monitoring_started, created_at),
    CASE WHEN is_active THEN 253402214400000000 WHEN starting_since IS NOT NULL THEN starting_since + 60000000 ELSE monitoring_ended END
FROM sessions
WHERE agent_id IS NOT NULL AND (is_active OR starting_since IS NOT NULL OR monitoring_ended IS NOT NULL);
