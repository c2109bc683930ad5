package database

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
)

// Tables that exist while a database of the existing backend is upgraded.
const (
	// numbersTable holds the session and the seq that each old event gets. An interrupted
	// upgrade continues from it.
	numbersTable = "upgrade_numbers"
	// SQLite: the old tables, renamed while their rows are copied.
	oldEvents   = "upgrade_events"
	oldSessions = "upgrade_sessions"
)

// unassigned is the session of events that name no session. It always exists, see
// 0001_init.sql.
const unassigned = "unassigned"

// Texts that an upgrade writes for users.
const (
	endedText     = "the session was active when the database was upgraded from the existing backend"
	recoveredName = "Recovered events"
	recoveredText = "The upgrade from the existing backend found events with this session ID, but no such session. It created this one for them."
	deletedTag    = "deleted-before-upgrade"
)

// upgrade changes a database of the existing backend (GORM's tables sessions and events
// of the specification) so that AutoMigrate and the numbered files can take it. It does
// not touch any other database. Each step is a transaction that finds out for itself
// what is left to do, so an interrupted upgrade continues at the next start. upgrade
// reports whether it changed anything.
func (db *DB) upgrade(conn *gorm.DB) (bool, error) {
	restore, err := db.dialect.prepareUpgrade(conn)
	if err != nil {
		return false, fmt.Errorf("upgrade the existing backend's database: %w", err)
	}
	u := &upgrade{log: db.log, began: time.Now()}
	for more := true; more && err == nil; {
		err = db.inTransaction(conn, func(tx *gorm.DB) (err error) {
			more, err = db.dialect.upgradeStep(tx, u)
			return err
		})
	}
	if err = errors.Join(err, restore()); err != nil {
		return false, fmt.Errorf("upgrade the existing backend's database: %w", err)
	}
	if u.hasWorked {
		db.log.Info("the database of the existing backend is upgraded; the backend fills in processes and search columns of its events in the background",
			"took", time.Since(u.began).Round(time.Millisecond).String())
	}
	return u.hasWorked, nil
}

// upgrade is the state of one program between the steps of an upgrade.
type upgrade struct {
	log       *slog.Logger
	began     time.Time
	hasWorked bool

	isCounted   bool  // whether the fields below are set
	total, done int64 // numbers of events
	last        int64 // ID of the last event that has its seq
	reported    time.Time
}

// announce logs once what is about to happen.
func (u *upgrade) announce(events int64) {
	if u.hasWorked {
		return
	}
	u.hasWorked = true
	u.log.Warn("a database of the existing backend is upgraded now. Keep the backup that you made before (pg_dump, or a copy of the file), and do not run the existing backend on this database again. "+
		"An interrupted upgrade continues at the next start. See docs/upgrade.md", "events", events)
}

// progressInterval is the time between two progress lines in the log.
const progressInterval = 3 * time.Second

// report logs how many events have their seq.
func (u *upgrade) report() {
	if u.done < u.total && time.Since(u.reported) < progressInterval {
		return
	}
	u.reported = time.Now()
	u.log.Info("upgrading", "events", u.done, "total", u.total, "percent", 100*u.done/max(u.total, 1))
}

// wantedColumns are the columns that every OS-Pulse table of this name has.
var wantedColumns = map[string][]string{ //nolint:gochecknoglobals // a constant
	"sessions": {"id", "file_name"},
	"events":   {"id", "session_id", "event_type", "timestamp", "source", "data"},
}

// checkOldColumns returns an error if the table belongs to another program. A table
// without columns does not exist.
func checkOldColumns[T any](table string, columns map[string]T) error {
	for _, name := range wantedColumns[table] {
		if _, ok := columns[name]; !ok && len(columns) > 0 {
			return fmt.Errorf("the table %s does not belong to OS-Pulse, because it has no column %s: use another database", table, name)
		}
	}
	return nil
}

// isUntouched reports whether the tables still have the existing backend's form, apart
// from added columns. A table without columns does not exist.
func isUntouched[T any](sessions, events map[string]T) bool {
	_, hasCount := sessions["event_count"]
	_, hasSource := events["timestamp_source"]
	return len(events) > 0 && !hasSource || len(sessions) > 0 && !hasCount
}

// renameForeign renames tables that have the names of this program's tables, in a
// database where this program has created none yet. They belong to somebody else.
func renameForeign(tx *gorm.DB, log *slog.Logger) error {
	if tx.Migrator().HasTable(&schemaMigration{}) {
		return nil
	}
	for _, model := range tables() {
		name := tableName(tx, model)
		if name == "sessions" || name == "events" || !tx.Migrator().HasTable(name) {
			continue
		}
		log.Warn("renaming a table of another program, because OS-Pulse needs its name", "table", name, "now", name+beforeUpgrade)
		if err := tx.Exec("ALTER TABLE ? RENAME TO ?", clause.Table{Name: name}, clause.Table{Name: name + beforeUpgrade}).Error; err != nil {
			return err
		}
	}
	return nil
}

// beforeUpgrade is appended to the names of tables and columns that are in the way.
const beforeUpgrade = "_before_upgrade"

// nameEmptyID gives a session with an empty ID another ID, by which clients can ask for
// it, and moves the events with an empty session ID to it. Without such a session these
// events belong to unassigned.
func nameEmptyID(tx *gorm.DB, sessions, events string) error {
	done := tx.Exec("UPDATE " + sessions + " SET id = 'session-without-id' WHERE id = ''")
	if done.Error != nil || done.RowsAffected == 0 {
		return done.Error
	}
	return tx.Exec("UPDATE " + events + " SET session_id = 'session-without-id' WHERE session_id = ''").Error
}

// totalsTable creates a table with, for each session, its last seq and the times at
// which its first and its last event were stored.
const totalsTable = "CREATE TABLE upgrade_totals AS SELECT session_id, MAX(seq) AS upgrade_last, MIN(created_at) AS upgrade_first_at, MAX(created_at) AS upgrade_last_at FROM events GROUP BY session_id"

// finishSessions returns the statements that make sessions fit the events in
// upgrade_totals. They end active sessions, set event_count, mark all events for the
// backfill and for the polls, and create sessions for events that have none. now, least and greatest are
// SQL expressions. within returns an expression that is NULL if a time column holds a
// time that this program cannot use.
func finishSessions(now, least, greatest string, within func(column string) string) []string {
	// Some versions store Go's zero time in sessions that were never started.
	known := func(column string) string {
		return "CASE WHEN " + within(column) + " >= " + zeroTimeEnds(now) + " THEN " + column + " END"
	}
	created := "COALESCE(" + known("t.created_at") + ", " + known("t.monitoring_started") + ", " + known("t.upgrade_first_at") + ", " + known("t.updated_at") + ", " + now + ")"
	started := "COALESCE(" + known("t.monitoring_started") + ", " + created + ")"
	ended := greatest + "(" + started + ", " + least + "(COALESCE(" + known("t.upgrade_last_at") + ", " + started + "), " + now + "))"
	isOpen := "(t.was_active OR " + known("t.monitoring_started") + " IS NOT NULL AND " + known("t.monitoring_ended") + " IS NULL)"
	hasMore := "t.upgrade_last > t.event_count"
	return []string{
		totalsTable,
		`UPDATE sessions SET
			file_name = COALESCE(t.file_name, ''), created_at = ` + created + `, updated_at = COALESCE(` + known("t.updated_at") + ", " + created + `),
			monitoring_started = CASE WHEN t.was_active THEN ` + started + ` ELSE ` + known("t.monitoring_started") + ` END,
			monitoring_ended = CASE WHEN ` + isOpen + ` THEN ` + ended + ` ELSE ` + known("t.monitoring_ended") + ` END,
			end_reason = CASE WHEN t.was_active THEN '` + string(models.EndAgentLost) + `' ELSE t.end_reason END,
			end_text = CASE WHEN t.was_active THEN '` + endedText + `' ELSE t.end_text END, is_active = false,
			backfilled_seq = CASE WHEN ` + hasMore + ` AND t.backfilled_seq >= t.backfill_up_to THEN t.event_count ELSE t.backfilled_seq END,
			backfill_up_to = CASE WHEN ` + hasMore + ` THEN t.upgrade_last ELSE t.backfill_up_to END,
			claims_in_rows = CASE WHEN ` + hasMore + ` THEN t.upgrade_last ELSE t.claims_in_rows END,
			event_count = CASE WHEN ` + hasMore + ` THEN t.upgrade_last ELSE t.event_count END
		FROM (SELECT sessions.*, COALESCE(is_active, false) AS was_active, upgrade_last, upgrade_first_at, upgrade_last_at FROM sessions LEFT JOIN upgrade_totals ON session_id = id) AS t WHERE t.id = sessions.id`,
		`INSERT INTO sessions (id, file_name, created_at, updated_at, monitoring_started, monitoring_ended, is_active, event_count, backfill_up_to, claims_in_rows, name, notes, tags)
		SELECT session_id, '', ` + now + ", " + now + `, NULL, NULL, false, upgrade_last, upgrade_last, upgrade_last, '', '', NULL FROM upgrade_totals WHERE session_id = '` + unassigned + `' AND session_id NOT IN (SELECT id FROM sessions)`,
		`INSERT INTO sessions (id, file_name, created_at, updated_at, monitoring_started, monitoring_ended, is_active, event_count, backfill_up_to, claims_in_rows, name, notes, tags)
		SELECT session_id, '', COALESCE(` + known("t.upgrade_first_at") + ", " + now + "), COALESCE(" + known("t.upgrade_last_at") + ", " + now + "), " + known("t.upgrade_first_at") + ", " + known("t.upgrade_last_at") + `,
			false, upgrade_last, upgrade_last, upgrade_last, '` + recoveredName + `', '` + recoveredText + `', '["recovered"]' FROM upgrade_totals AS t WHERE session_id NOT IN (SELECT id FROM sessions)`,
		"DROP TABLE upgrade_totals",
	}
}

// zeroTimeEnds returns a time as SQL. An earlier time can only be Go's zero time, in
// some zone.
func zeroTimeEnds(now string) string {
	if now == "now()" {
		return "'0001-01-03 00:00:00+00'"
	}
	return strconv.FormatInt(time.Date(1, 1, 3, 0, 0, 0, 0, time.UTC).UnixMicro(), 10)
}

// tagDeleted marks the sessions that the existing backend had deleted softly.
const tagDeleted = `UPDATE sessions SET tags = '["` + deletedTag + `"]' WHERE deleted_at IS NOT NULL AND tags IS NULL`

// copyStep is the number of events that one transaction of an upgrade numbers.
const copyStep = 10_000
