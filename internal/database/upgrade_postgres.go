package database

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
)

// upgradeLockTimeout limits how long an upgrade waits for other programs that use its
// tables.
const upgradeLockTimeout = "30s"

// prepareUpgrade has nothing to do.
func (*postgresDialect) prepareUpgrade(*gorm.DB) (func() error, error) {
	return func() error { return nil }, nil
}

// isBusy returns false: on PostgreSQL a statement waits in the server.
func (*postgresDialect) isBusy(error) bool { return false }

// upgradeStep changes the tables in place, so that views, privileges, foreign keys and
// added columns stay. The column seq allows NULL until every event has a seq; that marks
// an incomplete upgrade.
func (d *postgresDialect) upgradeStep(tx *gorm.DB, u *upgrade) (more bool, err error) {
	t, err := readOldTables(tx)
	if err != nil || !t.isOld() {
		return false, err
	}
	if !tx.Migrator().HasTable(numbersTable) {
		return true, t.prepare(tx, u)
	}
	if !u.isCounted {
		if err := countNumbers(tx, u, "SELECT count(*) FROM events WHERE seq IS NULL", "SELECT MIN(id) - 1 FROM events WHERE seq IS NULL"); err != nil {
			return false, err
		}
	}
	numbered, err := t.numberEvents(tx, u)
	if err == nil && !numbered {
		err = t.finish(tx)
	}
	return true, err
}

// countNumbers sets the progress of u. The query left counts the events that still need
// a seq. The query before selects the largest ID below theirs.
func countNumbers(tx *gorm.DB, u *upgrade, left, before string) error {
	var last *int64
	err := errors.Join(
		tx.Raw("SELECT count(*) FROM "+numbersTable).Scan(&u.total).Error,
		tx.Raw(left).Scan(&u.done).Error,
		tx.Raw(before).Scan(&last).Error,
	)
	u.done = max(u.total-u.done, 0)
	if u.isCounted = true; last != nil {
		u.last = *last
	}
	u.announce(u.total)
	return err
}

// oldTables holds the columns of the tables sessions and events in the current schema,
// from the catalog. A missing table has no columns.
type oldTables struct{ sessions, events map[string]oldColumn }

type oldColumn struct {
	Name      string
	Type      string // as in pg_type
	FullType  string // as users write it
	Length    int    // limit of a varchar; 0 for none
	IsNotNull bool
	IsFilled  bool // has a default or is generated
}

func readOldTables(tx *gorm.DB) (t oldTables, err error) {
	for name, columns := range map[string]*map[string]oldColumn{"sessions": &t.sessions, "events": &t.events} {
		var found []oldColumn
		err := tx.Raw(`SELECT attname AS name, typname AS type, format_type(atttypid, atttypmod) AS full_type, attnotnull AS is_not_null,
				CASE WHEN typname = 'varchar' AND atttypmod > 4 THEN atttypmod - 4 ELSE 0 END AS length, atthasdef OR attidentity <> '' AS is_filled
			FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_class ON pg_class.oid = attrelid
			WHERE relname = ? AND relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind = 'r' AND attnum > 0 AND NOT attisdropped`, name).Scan(&found).Error
		if err != nil {
			return t, err
		}
		*columns = make(map[string]oldColumn, len(found))
		for _, c := range found {
			(*columns)[c.Name] = c
		}
	}
	return t, nil
}

// isOld reports whether the tables belong to the existing backend or to an incomplete
// upgrade.
func (t *oldTables) isOld() bool {
	return isUntouched(t.sessions, t.events) || len(t.events) > 0 && !t.events["seq"].IsNotNull
}

// oldShape holds statements that create a missing table as the existing backend would.
var oldShape = map[string]string{ //nolint:gochecknoglobals // a constant
	"sessions": "CREATE TABLE sessions (id varchar(255) PRIMARY KEY, file_name text NOT NULL, created_at timestamptz, updated_at timestamptz)",
	"events": `CREATE TABLE events (id bigserial PRIMARY KEY, session_id varchar(255) NOT NULL, event_type varchar(100) NOT NULL,
		"timestamp" timestamptz NOT NULL, source varchar(100) NOT NULL, data jsonb NOT NULL)`,
}

// prepare adds the missing columns, converts the others to the types of this program,
// and chooses the seq of each event.
func (t *oldTables) prepare(tx *gorm.DB, u *upgrade) error {
	for name, columns := range map[string]map[string]oldColumn{"sessions": t.sessions, "events": t.events} {
		if len(columns) == 0 {
			if err := tx.Exec(oldShape[name]).Error; err != nil {
				return err
			}
		}
	}
	if err := lockOldTables(tx); err != nil {
		return err
	}
	found, err := readOldTables(tx) // again: tables may be new, and the lock now keeps others from changing them
	if err != nil {
		return err
	}
	*t = found
	var events int64
	if err := tx.Raw("SELECT count(*) FROM events").Scan(&events).Error; err != nil {
		return err
	}
	u.announce(events)
	u.isCounted = false
	for _, step := range []func(*gorm.DB, *upgrade) error{t.checkColumns, t.dropOldRules, t.convertColumns, t.addColumns, t.chooseNumbers} {
		if err := step(tx, u); err != nil {
			return err
		}
	}
	return nil
}

// lockOldTables locks the tables until tx ends. It returns an error if the role may not
// change them.
func lockOldTables(tx *gorm.DB) error {
	var other struct{ Name, Owner, Role string }
	err := tx.Raw(`SELECT relname AS name, pg_get_userbyid(relowner) AS owner, current_user AS role FROM pg_class
		WHERE relname IN ('sessions', 'events') AND relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind = 'r'
			AND NOT pg_has_role(relowner, 'USAGE') LIMIT 1`).Scan(&other).Error
	switch {
	case err != nil:
		return err
	case other.Name != "":
		return fmt.Errorf("the table %s belongs to the role %s, and this backend is connected as %s, which cannot change it: "+
			"connect as the owner, or run ALTER TABLE %s OWNER TO %s as a superuser", other.Name, other.Owner, other.Role, other.Name, clauseName(other.Role))
	}
	err = tx.Exec("SET LOCAL lock_timeout = '" + upgradeLockTimeout + "'").Error
	if err == nil {
		err = tx.Exec("LOCK TABLE sessions, events IN ACCESS EXCLUSIVE MODE").Error
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "55P03" {
		return fmt.Errorf("other programs have locked the tables for %s: stop the existing backend, and wait until pg_dump has finished: %w", upgradeLockTimeout, err)
	}
	return err
}

// clauseName quotes a name for SQL.
func clauseName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// checkColumns returns an error if a table belongs to another program. It renames
// foreign columns whose names this program needs.
func (t *oldTables) checkColumns(tx *gorm.DB, u *upgrade) error {
	if err := errors.Join(checkOldColumns("sessions", t.sessions), checkOldColumns("events", t.events)); err != nil || !isUntouched(t.sessions, t.events) {
		return err
	}
	if err := renameForeign(tx, u.log); err != nil {
		return err
	}
	for model, columns := range map[any]map[string]oldColumn{&models.Session{}: t.sessions, &models.Event{}: t.events} {
		stmt := &gorm.Statement{DB: tx}
		if err := stmt.Parse(model); err != nil {
			return err
		}
		for name, column := range columns {
			if stmt.Schema.FieldsByDBName[name] == nil || slices.Contains(existingColumns, name) {
				continue
			}
			u.log.Warn("renaming a column of another program, because OS-Pulse needs its name", "table", stmt.Schema.Table, "column", name, "now", name+beforeUpgrade)
			err := tx.Exec("ALTER TABLE ? RENAME COLUMN ? TO ?", clause.Table{Name: stmt.Schema.Table}, clause.Column{Name: name}, clause.Column{Name: name + beforeUpgrade}).Error
			if err != nil {
				return err
			}
			delete(columns, name)
			columns[name+beforeUpgrade] = column
		}
	}
	return nil
}

// existingColumns are the columns of the specification's two models.
var existingColumns = []string{ //nolint:gochecknoglobals // a constant
	"id", "file_name", "created_at", "updated_at", "monitoring_started", "monitoring_ended", "is_active",
	"session_id", "event_type", "timestamp", "source", "data", "is_sent",
}

// dropOldRules drops indexes and foreign keys that a new database does not have or names
// differently. It also lets added columns be NULL, because this program does not fill
// them.
func (t *oldTables) dropOldRules(tx *gorm.DB, u *upgrade) error {
	if err := tx.Exec("DROP INDEX IF EXISTS idx_events_session_id, idx_events_timestamp, idx_events_is_sent").Error; err != nil {
		return err
	}
	var keys []string
	if err := tx.Raw("SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'events'::regclass AND confrelid = 'sessions'::regclass").Scan(&keys).Error; err != nil {
		return err
	}
	for _, key := range keys {
		if err := tx.Exec("ALTER TABLE events DROP CONSTRAINT ?", clause.Column{Name: key}).Error; err != nil {
			return err
		}
	}
	for model, columns := range map[any]map[string]oldColumn{&models.Session{}: t.sessions, &models.Event{}: t.events} {
		stmt := &gorm.Statement{DB: tx}
		if err := stmt.Parse(model); err != nil {
			return err
		}
		for name, column := range columns {
			if stmt.Schema.FieldsByDBName[name] != nil || !column.IsNotNull || column.IsFilled {
				continue
			}
			u.log.Warn("a column that OS-Pulse does not know has no default, so the upgrade lets it be NULL", "table", stmt.Schema.Table, "column", name)
			if err := tx.Exec("ALTER TABLE ? ALTER COLUMN ? DROP NOT NULL", clause.Table{Name: stmt.Schema.Table}, clause.Column{Name: name}).Error; err != nil {
				return err
			}
		}
	}
	return nil
}

// Conversions of columns to a type, by their old type. PostgreSQL itself does those with
// "". Every connection uses the time zone UTC, so converting a timestamp does not
// rewrite the table.
var (
	toText = map[string]string{"bpchar": "::text", "uuid": "::text", "citext": "::text", "name": "::text", "int2": "::text", "int4": "::text", "int8": "::text"} //nolint:gochecknoglobals // a constant
	toTime = map[string]string{"timestamp": "", "date": "", "text": "::timestamptz", "varchar": "::timestamptz"}                                                 //nolint:gochecknoglobals // a constant
	toBool = map[string]string{"int2": "::int <> 0", "int4": " <> 0", "int8": " <> 0", "text": "::boolean", "varchar": "::boolean"}                              //nolint:gochecknoglobals // a constant
	toID   = map[string]string{"int2": "", "int4": "", "numeric": "::bigint"}                                                                                    //nolint:gochecknoglobals // a constant
)

// convertColumns gives columns the types that this program uses, except data, which
// finish converts.
func (t *oldTables) convertColumns(tx *gorm.DB, u *upgrade) error {
	for _, c := range []struct {
		table, column, to string
		length            int // least length of a varchar; 0 for a text
		how               map[string]string
	}{
		{"sessions", "id", "varchar", 255, toText},
		{"sessions", "file_name", "text", 0, toText},
		{"sessions", "created_at", "timestamptz", 0, toTime},
		{"sessions", "updated_at", "timestamptz", 0, toTime},
		{"sessions", "monitoring_started", "timestamptz", 0, toTime},
		{"sessions", "monitoring_ended", "timestamptz", 0, toTime},
		{"sessions", "is_active", "bool", 0, toBool},
		{"events", "id", "int8", 0, toID},
		{"events", "session_id", "varchar", 255, toText},
		{"events", "event_type", "varchar", 100, toText},
		{"events", "timestamp", "timestamptz", 0, toTime},
		{"events", "source", "varchar", 100, toText},
		{"events", "is_sent", "bool", 0, toBool},
		{"events", "created_at", "timestamptz", 0, toTime},
		{"events", "updated_at", "timestamptz", 0, toTime},
	} {
		columns := t.sessions
		if c.table == "events" {
			columns = t.events
		}
		column, ok := columns[c.column]
		if !ok {
			continue
		}
		isText := c.to == "varchar" || c.to == "text"
		using, known := c.how[column.Type]
		switch {
		case isText && (column.Type == "text" || column.Type == "varchar" && (column.Length == 0 || c.length > 0 && column.Length >= c.length)),
			!isText && column.Type == c.to && !strings.Contains(column.FullType, "("): // no precision
			continue
		case isText && column.Type == "varchar", column.Type == c.to:
			using, known = "", true
		}
		if !known {
			return fmt.Errorf("the column %s.%s has the type %s, which the upgrade cannot convert to %s", c.table, c.column, column.FullType, c.to)
		}
		to := c.to
		if c.length > 0 && using == "" {
			to = fmt.Sprintf("varchar(%d)", c.length)
		} else if isText {
			to = "text" // values may be longer than the new limit
		}
		if err := convertColumn(tx, u, c.table, c.column, to, using); err != nil {
			return fmt.Errorf("convert the column %s.%s from %s to %s: %w", c.table, c.column, column.FullType, to, err)
		}
	}
	return nil
}

func convertColumn(tx *gorm.DB, u *upgrade, table, column, to, using string) error {
	name := clauseName(column)
	statements := []string{"ALTER TABLE " + table + " ALTER COLUMN " + name + " TYPE " + to}
	if using != "" {
		statements = []string{"ALTER TABLE " + table + " ALTER COLUMN " + name + " DROP DEFAULT", statements[0] + " USING " + name + using}
	}
	for _, statement := range statements {
		err := tx.Transaction(func(tx *gorm.DB) error { return tx.Exec(statement).Error }) // a savepoint
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "0A000" && column == "file_name" {
			// A view uses the column. The old type still works, but refuses very long
			// values.
			u.log.Warn("a column keeps its type, because other objects depend on it", "table", table, "column", column, "wanted", to, "error", e.Message, "detail", e.Detail)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addColumns adds the missing columns of the models. AutoMigrate cannot: it would add
// seq as NOT NULL, and the foreign keys before the rows fit them.
func (t *oldTables) addColumns(tx *gorm.DB, _ *upgrade) error {
	if _, ok := t.events["seq"]; !ok {
		if err := tx.Exec("ALTER TABLE events ADD COLUMN seq bigint").Error; err != nil {
			return err
		}
	}
	for model, columns := range map[any]map[string]oldColumn{&models.Session{}: t.sessions, &models.Event{}: t.events} {
		stmt := &gorm.Statement{DB: tx}
		if err := stmt.Parse(model); err != nil {
			return err
		}
		for _, name := range stmt.Schema.DBNames {
			if _, ok := columns[name]; ok || name == "seq" {
				continue
			}
			if err := tx.Migrator().AddColumn(model, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// within returns an expression that is NULL if this program and its clients cannot write
// the time in column.
func within(column string) string {
	return "CASE WHEN " + column + " >= '0001-01-01 00:00:00+00' AND " + column + " < '10000-01-01 00:00:00+00' THEN " + column + " END"
}

// eventTime is the expression of an event's time, or of the time at which it was stored
// if it has none.
var eventTime = "COALESCE(" + within(`e."timestamp"`) + ", " + within("e.created_at") + ", " + within("e.updated_at") + ", 'epoch')" //nolint:gochecknoglobals // a constant

// chooseNumbers stores the session and the seq that each event gets: events are in the
// order of their times, and of their IDs where the times are the same. An event that
// already has a seq keeps it.
func (*oldTables) chooseNumbers(tx *gorm.DB, _ *upgrade) error {
	if err := nameEmptyID(tx, "sessions", "events"); err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE TABLE " + numbersTable + ` AS
			SELECT e.id, e.session_id, GREATEST(COALESCE(given.last, 0), COALESCE(sessions.event_count, 0)) + row_number() OVER (PARTITION BY e.session_id ORDER BY e.at, e.id) AS seq
			FROM (SELECT e.id, COALESCE(NULLIF(e.session_id, ''), '` + unassigned + `') AS session_id, ` + eventTime + ` AS at FROM events AS e WHERE seq IS NULL) AS e
			LEFT JOIN (SELECT session_id, MAX(seq) AS last FROM events WHERE seq IS NOT NULL GROUP BY session_id) AS given ON given.session_id = e.session_id
			LEFT JOIN sessions ON sessions.id = e.session_id`,
		"ALTER TABLE " + numbersTable + " ADD PRIMARY KEY (id)",
		"ANALYZE " + numbersTable,
	} {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}

// numberEvents gives the next events their seq and fills the columns that need a value.
// It reports whether there were any.
func (t *oldTables) numberEvents(tx *gorm.DB, u *upgrade) (bool, error) {
	var next *int64
	err := tx.Raw("SELECT MAX(id) FROM (SELECT id FROM "+numbersTable+" WHERE id > ? ORDER BY id LIMIT ?) AS batch", u.last, copyStep).Scan(&next).Error
	if err != nil || next == nil {
		return false, err
	}
	set := []string{
		"seq = n.seq", "session_id = n.session_id",
		"event_type = COALESCE(NULLIF(e.event_type, ''), 'unknown')", "source = COALESCE(NULLIF(e.source, ''), 'unknown')",
		`"timestamp" = ` + eventTime,
		"timestamp_source = CASE WHEN " + within(`e."timestamp"`) + " IS NULL THEN '" + models.TimestampFromReceipt + "' ELSE '" + models.TimestampFromAgent + "' END",
		"timestamp_text = CASE WHEN " + within(`e."timestamp"`) + ` IS NULL THEN to_json(e."timestamp"::text)::text END`,
		"is_sent = COALESCE(e.is_sent, false)",
		"created_at = COALESCE(" + within("e.created_at") + ", " + eventTime + ")",
		"updated_at = COALESCE(" + within("e.updated_at") + ", " + within("e.created_at") + ", " + eventTime + ")",
	}
	data := "NULL::jsonb"
	switch raw, err := rawData(tx, t.events["data"]); {
	case err != nil:
		return false, err
	case raw == "":
		set = append(set, "data = COALESCE(e.data, 'null')")
		data = "old.data"
	default: // finish converts data to jsonb; the backfill then reads it
		set = append(set, "data_raw = convert_to("+raw+", 'UTF8')")
	}
	done := tx.Exec("UPDATE events AS e SET "+strings.Join(append(set, guessedFields), ", ")+
		" FROM (SELECT numbers.*, d, long FROM "+numbersTable+" AS numbers JOIN events AS old ON old.id = numbers.id CROSS JOIN LATERAL ("+
		// "|| '{}'" and "::text" make PostgreSQL decompress the data once, and not for
		// each use.
		"SELECT CASE WHEN jsonb_typeof("+data+") = 'object' THEN "+data+" || '{}' END AS d, CASE WHEN pg_column_size("+data+") > 700 THEN "+data+"::text END AS long OFFSET 0) AS lifted "+
		"WHERE numbers.id > ? AND numbers.id <= ? AND old.id > ? AND old.id <= ?) AS n WHERE n.id = e.id AND e.seq IS NULL AND e.id > ? AND e.id <= ?",
		u.last, *next, u.last, *next, u.last, *next)
	if done.Error != nil {
		return false, done.Error
	}
	u.last, u.done = *next, u.done+done.RowsAffected
	u.report()
	return true, nil
}

// guessedFields sets the hot fields of events of the usual shapes. d is the data if it
// is an object, and long is its text if that may be long. The backfill reads the data in
// any case and writes only where its result differs, so a good guess saves nearly all of
// its writes.
var guessedFields = func() string { //nolint:gochecknoglobals // a constant
	text := func(in string, keys ...string) string {
		var found []string
		for _, key := range keys {
			found = append(found, "CASE WHEN jsonb_typeof("+in+"->'"+key+"') = 'string' THEN NULLIF("+in+"->>'"+key+"', '') END")
		}
		return "COALESCE(" + strings.Join(found, ", ") + ")"
	}
	number := func(in string, key string) string {
		return "CASE WHEN jsonb_typeof(" + in + "->'" + key + "') = 'number' AND " + in + "->>'" + key + "' ~ '^(-|)[0-9]{1,18}$' THEN (" + in + "->>'" + key + "')::bigint END"
	}
	short := func(value, length string) string {
		return "CASE WHEN octet_length(" + value + ") <= " + length + " THEN " + value + " END"
	}
	host, port := text("n.d", "dst"), number("n.d", "dst_port")
	address := "CASE WHEN " + host + " LIKE '%:%' THEN '[' || " + host + " || ']:' || " + port + " ELSE " + host + " || ':' || " + port + " END"
	return "pid = COALESCE(" + number("n.d->'metadata'", "processId") + ", " + number("n.d", "processId") + ", " + number("n.d", "process_id") + "), " +
		"process_name = " + short("COALESCE("+text("n.d->'metadata'", "processName")+", "+text("n.d", "processName", "process_name")+")", "1024") + ", " +
		"operation = " + short("COALESCE("+text("n.d", "operation")+", "+text("n.d->'request'", "method")+")", "4096") + ", " +
		"target = " + short("COALESCE("+text("n.d", "filePath", "file_path", "path")+", "+text("n.d->'request'", "url")+", "+text("n.d", "imagePath", "image_path")+", "+address+", "+host+")", "4096") + ", " +
		"preview = CASE WHEN octet_length(n.long) > 1024 THEN left(n.long, 256) END"
}()

// rawData returns an expression of an event's data as JSON text, or "" for a jsonb
// column. A text that is not JSON becomes a JSON string; bytes that are not text become
// one in base64.
func rawData(tx *gorm.DB, column oldColumn) (string, error) {
	var functions []string
	var data string
	switch column.Type {
	case "jsonb":
		return "", nil
	case "json":
		return "COALESCE(e.data::text, 'null')", nil
	case "text", "varchar":
		data = "pg_temp.upgrade_json(e.data)"
	case "bytea":
		data = "pg_temp.upgrade_json(pg_temp.upgrade_text(e.data))"
		functions = append(functions, `CREATE OR REPLACE FUNCTION pg_temp.upgrade_text(b bytea) RETURNS text LANGUAGE plpgsql AS $$
			BEGIN RETURN convert_from(b, 'UTF8'); EXCEPTION WHEN OTHERS THEN RETURN encode(b, 'base64'); END $$`)
	default:
		return "", fmt.Errorf("the column events.data has the type %s, which the upgrade cannot convert to jsonb", column.FullType)
	}
	functions = append(functions, `CREATE OR REPLACE FUNCTION pg_temp.upgrade_json(t text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN PERFORM t::json; RETURN COALESCE(t, 'null'); EXCEPTION WHEN OTHERS THEN RETURN to_json(t)::text; END $$`)
	for _, function := range functions {
		if err := tx.Exec(function).Error; err != nil {
			return "", err
		}
	}
	return data, nil
}

// finish makes sessions fit their events, and gives the tables the constraints of a new
// database. If another program added events meanwhile, finish numbers them first.
func (t *oldTables) finish(tx *gorm.DB) error {
	if err := lockOldTables(tx); err != nil {
		return err
	}
	var left int64
	err := errors.Join(tx.Raw("SELECT count(*) FROM events WHERE seq IS NULL").Scan(&left).Error, tx.Exec("DROP TABLE "+numbersTable).Error)
	if err != nil || left > 0 {
		return err
	}
	statements := append(finishSessions("now()", "LEAST", "GREATEST", within),
		"ALTER TABLE sessions ALTER COLUMN file_name SET NOT NULL, ALTER COLUMN is_active SET DEFAULT false, ALTER COLUMN is_active SET NOT NULL",
		`ALTER TABLE events ALTER COLUMN seq SET NOT NULL, ALTER COLUMN session_id SET NOT NULL, ALTER COLUMN event_type SET NOT NULL, ALTER COLUMN "timestamp" SET NOT NULL,
			ALTER COLUMN source SET NOT NULL, ALTER COLUMN is_sent SET DEFAULT false, ALTER COLUMN is_sent SET NOT NULL`,
	)
	if _, ok := t.sessions["deleted_at"]; ok {
		statements = append(statements, tagDeleted)
	}
	if t.events["data"].Type != "jsonb" {
		statements = append(statements, "ALTER TABLE events ALTER COLUMN data DROP DEFAULT", "ALTER TABLE events ALTER COLUMN data TYPE jsonb USING 'null'::jsonb")
	}
	statements = append(statements, "ALTER TABLE events ALTER COLUMN data SET NOT NULL", "ANALYZE events", "ANALYZE sessions")
	for _, statement := range statements {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	if err := addKeys(tx); err != nil {
		return err
	}
	return t.continueIDs(tx)
}

// addKeys adds the primary keys that are missing.
func addKeys(tx *gorm.DB) error {
	var tables []string
	err := tx.Raw("SELECT name FROM (VALUES ('sessions'), ('events')) AS t (name) WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'p' AND conrelid = name::regclass)").Scan(&tables).Error
	for _, table := range tables {
		err = errors.Join(err, tx.Exec("ALTER TABLE "+table+" ADD PRIMARY KEY (id)").Error)
	}
	return err
}

// continueIDs makes the IDs of new events begin above the existing ones.
func (t *oldTables) continueIDs(tx *gorm.DB) error {
	if !t.events["id"].IsFilled {
		for _, statement := range []string{
			"CREATE SEQUENCE events_id_seq OWNED BY events.id",
			"ALTER TABLE events ALTER COLUMN id SET DEFAULT nextval('events_id_seq')",
		} {
			if err := tx.Exec(statement).Error; err != nil {
				return err
			}
		}
	}
	var sequence struct{ Name, Type string }
	err := tx.Raw(`SELECT seqrelid::regclass::text AS name, format_type(seqtypid, NULL) AS type FROM pg_sequence WHERE seqrelid = COALESCE(
			to_regclass(pg_get_serial_sequence('events', 'id')),
			(SELECT refobjid FROM pg_depend JOIN pg_attrdef ON pg_attrdef.oid = objid JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
				WHERE classid = 'pg_attrdef'::regclass AND refclassid = 'pg_class'::regclass AND adrelid = 'events'::regclass AND attname = 'id' AND refobjid <> adrelid LIMIT 1))`).Scan(&sequence).Error
	if err != nil || sequence.Name == "" { // the user chose another default
		return err
	}
	if sequence.Type != "bigint" {
		if err := tx.Exec("ALTER SEQUENCE " + sequence.Name + " AS bigint").Error; err != nil {
			return err
		}
	}
	return tx.Exec("SELECT setval(?::regclass, GREATEST((SELECT MAX(id) FROM events), (SELECT last_value FROM "+sequence.Name+"))) FROM "+sequence.Name+" WHERE is_called OR last_value <= (SELECT MAX(id) FROM events)", sequence.Name).Error
}
