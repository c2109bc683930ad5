package database

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// init registers the SQL functions that an upgrade uses. The driver takes functions only
// before a database is opened.
func init() {
	for name, fn := range map[string]func(driver.Value) driver.Value{
		"upgrade_micros": func(v driver.Value) driver.Value {
			if t, ok := readTime(v); ok {
				return t.UnixMicro()
			}
			return nil
		},
		"upgrade_json": readJSON,
	} {
		modernc.MustRegisterFunction(name, &modernc.FunctionImpl{
			NArgs: 1, Deterministic: true,
			Scalar: func(_ *modernc.FunctionContext, args []driver.Value) (driver.Value, error) { return fn(args[0]), nil },
		})
	}
}

// timeLayouts are the layouts in which SQLite and its Go drivers write times. time.Parse
// accepts a fraction that is not in the layout.
var timeLayouts = []string{ //nolint:gochecknoglobals // a constant
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700 MST", "2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05",
	"2006-01-02 15:04Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02",
}

// readTime parses a time as the existing backend may have stored it. A text without a
// zone is UTC. A number counts seconds, milliseconds or microseconds since 1970.
func readTime(v driver.Value) (time.Time, bool) {
	var t time.Time
	switch v := v.(type) {
	case time.Time:
		t = v
	case []byte:
		return readTime(string(v))
	case string:
		text, _, _ := strings.Cut(v, " m=") // Go's monotonic clock
		for _, layout := range timeLayouts {
			parsed, err := time.Parse(layout, text)
			if err == nil {
				t = parsed.UTC()
				return t, t.Year() >= 1 && t.Year() <= 9999
			}
		}
		return t, false
	case float64:
		if v > -1e18 && v < 1e18 {
			t = time.UnixMicro(int64(v * 1e6))
			if v >= 1e11 || v <= -1e11 {
				return readTime(int64(v))
			}
		}
	case int64:
		switch size := max(v, -v); {
		case size < 1e11:
			t = time.Unix(v, 0)
		case size < 1e14:
			t = time.UnixMilli(v)
		default:
			t = time.UnixMicro(v)
		}
	default:
		return t, false
	}
	t = t.UTC()
	return t, t.Year() >= 1 && t.Year() <= 9999
}

// readJSON returns a value as JSON text. The value is a number if a column of the type
// JSON holds the text of one. A text that is not JSON becomes a JSON string.
func readJSON(v driver.Value) driver.Value {
	switch v := v.(type) {
	case nil:
		return "null"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []byte:
		return readJSON(string(v))
	case string:
		if _, err := jsonscan.Check([]byte(v)); err == nil {
			return v
		}
		quoted, _ := json.Marshal(v) // cannot fail
		return string(quoted)
	}
	return "null"
}

// prepareUpgrade makes foreign keys keep the name of their table when that is renamed,
// so that they refer to the table that replaces it.
func (*sqliteDialect) prepareUpgrade(conn *gorm.DB) (func() error, error) {
	set := func(foreignKeys, legacy string) error {
		return errors.Join(conn.Exec("PRAGMA foreign_keys = "+foreignKeys).Error, conn.Exec("PRAGMA legacy_alter_table = "+legacy).Error)
	}
	return func() error { return set("ON", "OFF") }, set("OFF", "ON")
}

func (*sqliteDialect) isBusy(err error) bool {
	e, ok := errors.AsType[*modernc.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// upgradeStep copies the old tables into new ones, because SQLite cannot change the type
// or the constraints of an existing column. The last step drops the old tables.
func (d *sqliteDialect) upgradeStep(tx *gorm.DB, u *upgrade) (more bool, err error) {
	switch has := tx.Migrator().HasTable; {
	case has(numbersTable):
		if !u.isCounted {
			err := countNumbers(tx, u, "SELECT count(*) FROM "+numbersTable+" WHERE id > (SELECT COALESCE(MAX(id), 0) FROM events)", "SELECT MAX(id) FROM events")
			if err != nil {
				return false, err
			}
		}
		copied, err := copyEvents(tx, u)
		if err == nil && !copied {
			err = finishCopy(tx)
		}
		return true, err
	case !has("events") && !has("sessions"):
		return false, nil
	}
	sessions, err := columnsOf(tx, "sessions")
	if err != nil {
		return false, err
	}
	events, err := columnsOf(tx, "events")
	if err != nil {
		return false, err
	}
	if !isUntouched(sessions, events) {
		return false, nil
	}
	return true, beginCopy(tx, u, sessions, events)
}

// columnsOf returns the declared types of a table's columns, by name.
func columnsOf(tx *gorm.DB, table string) (map[string]string, error) {
	var found []struct{ Name, Type string }
	err := tx.Raw("SELECT name, type FROM pragma_table_info(?)", table).Scan(&found).Error
	columns := make(map[string]string, len(found))
	for _, c := range found {
		columns[c.Name] = c.Type
	}
	return columns, err
}

// beginCopy renames the old tables, creates new ones, copies the sessions, and chooses
// the seq of each event.
func beginCopy(tx *gorm.DB, u *upgrade, sessions, events map[string]string) error {
	var count int64
	if len(events) > 0 {
		if err := tx.Raw("SELECT count(*) FROM events").Scan(&count).Error; err != nil {
			return err
		}
	}
	u.announce(count)
	if err := errors.Join(checkOldColumns("sessions", sessions), checkOldColumns("events", events), renameForeign(tx, u.log)); err != nil {
		return err
	}
	for table, columns := range map[string]map[string]string{oldSessions: sessions, oldEvents: events} {
		statement := "ALTER TABLE " + strings.TrimPrefix(table, "upgrade_") + " RENAME TO " + table
		if len(columns) == 0 {
			statement = "CREATE TABLE " + table + " (" + strings.Join(wantedColumns[strings.TrimPrefix(table, "upgrade_")], ", ") + ")"
		}
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	// The indexes of the new tables have these names.
	for _, statement := range []string{"DROP INDEX IF EXISTS idx_events_session_id", "DROP INDEX IF EXISTS idx_events_timestamp", "DROP INDEX IF EXISTS idx_events_is_sent"} {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	if err := tx.AutoMigrate(tables()...); err != nil {
		return err
	}
	if err := nameEmptyID(tx, oldSessions, oldEvents); err != nil {
		return err
	}
	if err := copySessions(tx); err != nil {
		return err
	}
	at, _, _ := times(events)
	for _, statement := range []string{
		"CREATE TABLE " + numbersTable + " (id INTEGER PRIMARY KEY, session_id TEXT NOT NULL, seq INTEGER NOT NULL)",
		"INSERT INTO " + numbersTable + ` SELECT id, session_id, row_number() OVER (PARTITION BY session_id ORDER BY at, id)
			FROM (SELECT e.id, COALESCE(NULLIF(CAST(e.session_id AS TEXT), ''), '` + unassigned + `') AS session_id, ` + at + ` AS at FROM ` + oldEvents + ` AS e)`,
	} {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}

// oldValue returns an expression of an old column, or without if the table does not have
// that column.
func oldValue(columns map[string]string, name, expression, without string) string {
	if _, ok := columns[name]; !ok {
		return without
	}
	return expression
}

// times returns the expressions of the time of an event and of the times at which it was
// stored and changed. An event without a time gets the time at which it was stored.
func times(old map[string]string) (at, created, updated string) {
	created = oldValue(old, "created_at", "upgrade_micros(e.created_at)", "NULL")
	updated = oldValue(old, "updated_at", "upgrade_micros(e.updated_at)", "NULL")
	return `COALESCE(upgrade_micros(e."timestamp"), ` + created + ", " + updated + ", 0)", created, updated
}

// copyInto copies rows of an old table, including the columns that others added, and
// returns their number. values holds the expressions of the columns that are not copied
// as they are.
func copyInto(tx *gorm.DB, model any, from, rest string, values map[string]string, args ...any) (int64, error) {
	stmt := &gorm.Statement{DB: tx}
	if err := stmt.Parse(model); err != nil {
		return 0, err
	}
	old, err := columnsOf(tx, from)
	if err != nil {
		return 0, err
	}
	have, err := columnsOf(tx, stmt.Schema.Table)
	if err != nil {
		return 0, err
	}
	var columns, expressions []string
	for name, expression := range values {
		columns, expressions = append(columns, clauseName(name)), append(expressions, expression)
	}
	for name, declared := range old {
		if values[name] != "" || stmt.Schema.FieldsByDBName[name] != nil {
			continue
		}
		if _, ok := have[name]; !ok {
			if err := tx.Exec("ALTER TABLE ? ADD COLUMN ? "+declared, clause.Table{Name: stmt.Schema.Table}, clause.Column{Name: name}).Error; err != nil {
				return 0, fmt.Errorf("keep the column %s.%s: %w", stmt.Schema.Table, name, err)
			}
		}
		columns, expressions = append(columns, clauseName(name)), append(expressions, "e."+clauseName(name))
	}
	done := tx.Exec("INSERT INTO "+stmt.Schema.Table+" ("+strings.Join(columns, ", ")+") SELECT "+strings.Join(expressions, ", ")+" FROM "+from+" AS e "+rest, args...)
	return done.RowsAffected, done.Error
}

func copySessions(tx *gorm.DB) error {
	old, err := columnsOf(tx, oldSessions)
	if err != nil {
		return err
	}
	values := map[string]string{
		"id":        "CAST(e.id AS TEXT)",
		"file_name": "COALESCE(CAST(e.file_name AS TEXT), '')",
		"is_active": oldValue(old, "is_active", "LOWER(COALESCE(CAST(e.is_active AS TEXT), '')) IN ('1', 't', 'true')", "0"),
	}
	for _, name := range []string{"created_at", "updated_at", "monitoring_started", "monitoring_ended"} {
		values[name] = oldValue(old, name, "upgrade_micros(e."+name+")", "NULL")
	}
	_, err = copyInto(tx, &models.Session{}, oldSessions, "", values)
	return err
}

// copyEvents copies the next events, and reports whether there were any.
func copyEvents(tx *gorm.DB, u *upgrade) (bool, error) {
	old, err := columnsOf(tx, oldEvents)
	if err != nil {
		return false, err
	}
	at, created, updated := times(old)
	values := map[string]string{
		"id": "n.id", "session_id": "n.session_id", "seq": "n.seq",
		"event_type":       "COALESCE(NULLIF(CAST(e.event_type AS TEXT), ''), 'unknown')",
		"timestamp":        at,
		"timestamp_source": `CASE WHEN upgrade_micros(e."timestamp") IS NULL THEN '` + models.TimestampFromReceipt + "' ELSE '" + models.TimestampFromAgent + "' END",
		"timestamp_text":   `CASE WHEN upgrade_micros(e."timestamp") IS NULL AND e."timestamp" IS NOT NULL THEN json_quote(CAST(e."timestamp" AS TEXT)) END`,
		"source":           "COALESCE(NULLIF(CAST(e.source AS TEXT), ''), 'unknown')",
		"data":             "upgrade_json(e.data)",
		"is_sent":          oldValue(old, "is_sent", "LOWER(COALESCE(CAST(e.is_sent AS TEXT), '')) IN ('1', 't', 'true')", "0"),
		"created_at":       "COALESCE(" + created + ", " + at + ")",
		"updated_at":       "COALESCE(" + updated + ", " + created + ", " + at + ")",
	}
	// Another program may have copied some of them meanwhile.
	copied, err := copyInto(tx, &models.Event{}, oldEvents,
		"JOIN "+numbersTable+" AS n ON n.id = e.id WHERE n.id > (SELECT COALESCE(MAX(id), 0) FROM events) ORDER BY n.id LIMIT ?", values, copyStep)
	if err != nil || copied == 0 {
		return false, err
	}
	u.done += copied
	u.report()
	return true, nil
}

// finishCopy makes sessions fit their events, and drops the old tables.
func finishCopy(tx *gorm.DB) error {
	sessions, err := columnsOf(tx, "sessions")
	if err != nil {
		return err
	}
	statements := finishSessions("CAST(unixepoch('subsec') * 1000000 AS INTEGER)", "MIN", "MAX", func(column string) string { return column })
	if _, ok := sessions["deleted_at"]; ok {
		statements = append(statements, tagDeleted)
	}
	for _, statement := range append(statements, "DROP TABLE "+numbersTable, "DROP TABLE "+oldEvents, "DROP TABLE "+oldSessions) {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}
