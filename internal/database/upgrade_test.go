package database_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// existing is a database of the existing backend.
type existing struct {
	t    *testing.T
	o    database.Options
	gorm *gorm.DB
}

// eachExisting runs fn on each dialect, with an empty database that is open as the
// existing backend opens it.
func eachExisting(t *testing.T, config gorm.Config, fn func(t *testing.T, e *existing)) {
	t.Helper()
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) { fn(t, openExisting(t, options(t), config)) })
	}
}

func openExisting(t *testing.T, o database.Options, config gorm.Config) *existing {
	t.Helper()
	config.Logger = logger.Discard
	dialector := gorm.Dialector(&sqlite.Dialector{DriverName: "sqlite", DSN: o.Path})
	if o.URL != "" {
		dialector = postgres.Open(o.URL)
	}
	g, err := gorm.Open(dialector, &config)
	if err != nil {
		t.Fatal(err)
	}
	e := &existing{t, o, g}
	t.Cleanup(e.close)
	return e
}

// close closes the existing backend's connection.
func (e *existing) close() {
	if pool, err := e.gorm.DB(); err == nil {
		pool.Close()
	}
}

func (e *existing) exec(statements ...string) {
	e.t.Helper()
	for _, statement := range statements {
		if err := e.gorm.Exec(statement).Error; err != nil {
			e.t.Fatal(statement, ": ", err)
		}
	}
}

// upgrade opens the database with this program.
func (e *existing) upgrade() *database.DB {
	e.t.Helper()
	e.close()
	return dbtest.Open(e.t, e.o)
}

// data is a column of the type datatypes.JSON, as in the specification.
type data string

// The specification's two models.
type (
	specSession struct {
		ID                string      `gorm:"primaryKey;type:varchar(255)"`
		FileName          string      `gorm:"column:file_name;type:varchar(255);not null"`
		CreatedAt         time.Time   `gorm:"autoCreateTime"`
		UpdatedAt         time.Time   `gorm:"autoUpdateTime"`
		MonitoringStarted *time.Time  `gorm:"column:monitoring_started"`
		MonitoringEnded   *time.Time  `gorm:"column:monitoring_ended"`
		IsActive          bool        `gorm:"column:is_active;default:false"`
		Events            []specEvent `gorm:"foreignKey:SessionID"`
	}
	specEvent struct {
		ID        uint64      `gorm:"primaryKey;autoIncrement"`
		SessionID string      `gorm:"column:session_id;type:varchar(255);not null;index"`
		EventType string      `gorm:"column:event_type;type:varchar(100);not null"`
		Timestamp time.Time   `gorm:"not null;index"`
		Source    string      `gorm:"type:varchar(100);not null"`
		Data      data        `gorm:"type:jsonb;not null"`
		IsSent    bool        `gorm:"column:is_sent;default:false;index"`
		CreatedAt time.Time   `gorm:"autoCreateTime"`
		UpdatedAt time.Time   `gorm:"autoUpdateTime"`
		Session   specSession `gorm:"foreignKey:SessionID;references:ID"`
	}
)

func (specSession) TableName() string { return "sessions" }
func (specEvent) TableName() string   { return "events" }

// noon is the time at which the sessions of these tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// fill stores rows as the existing backend would. s1 is active, s2 has ended. The order
// of the IDs differs from that of the times.
func (e *existing) fill() {
	e.t.Helper()
	started, ended := at(0), at(100)
	sessions := []specSession{
		{ID: "s1", FileName: "a.exe", CreatedAt: at(0), UpdatedAt: at(1), MonitoringStarted: &started, IsActive: true},
		{ID: "s2", FileName: "b.exe", CreatedAt: at(0), UpdatedAt: at(1), MonitoringStarted: &started, MonitoringEnded: &ended},
		{ID: "s3", FileName: "c.exe", CreatedAt: at(0), UpdatedAt: at(1)},
	}
	events := []specEvent{
		{ID: 3, SessionID: "s1", EventType: "x", Timestamp: at(9), Source: "a", Data: `{"a":1.50}`, CreatedAt: at(50), UpdatedAt: at(50)},
		{ID: 5, SessionID: "s1", EventType: "x", Timestamp: at(7), Source: "a", Data: `[1]`, IsSent: true, CreatedAt: at(51), UpdatedAt: at(51)},
		{ID: 6, SessionID: "s2", EventType: "x", Timestamp: at(8), Source: "a", Data: `"ä"`, CreatedAt: at(52), UpdatedAt: at(52)},
		{ID: 7, SessionID: "s1", EventType: "x", Timestamp: at(7), Source: "a", Data: `null`, CreatedAt: at(53), UpdatedAt: at(53)},
		{ID: 1 << 40, SessionID: "s1", EventType: "x", Timestamp: time.Time{}, Source: "a", Data: `1234567890123`, CreatedAt: at(54), UpdatedAt: at(54)},
	}
	for _, rows := range []any{&sessions, &events} {
		if err := e.gorm.Create(rows).Error; err != nil {
			e.t.Fatal(err)
		}
	}
}

// events returns all events as texts, ordered by session and seq.
func events(t *testing.T, db *database.DB) []string {
	t.Helper()
	var found []models.Event
	if err := db.Read(t.Context()).Order("session_id, seq").Find(&found).Error; err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(found))
	for i := range found {
		e := &found[i]
		text := ""
		if e.TimestampText != nil {
			text = " " + *e.TimestampText
		}
		texts[i] = fmt.Sprintf("%s %d id %d %s %s %s%s %s %s %t", e.SessionID, e.Seq, e.ID, e.EventType, e.Timestamp.Format(time.RFC3339), e.TimestampSource, text, e.Source, strings.ReplaceAll(string(e.Payload()), " ", ""), e.IsSent)
	}
	return texts
}

// sessions returns all sessions as texts, ordered by ID.
func sessions(t *testing.T, db *database.DB) []string {
	t.Helper()
	var found []models.Session
	if err := db.Read(t.Context()).Order("id").Find(&found).Error; err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(found))
	for i := range found {
		s := &found[i]
		span := ""
		for _, end := range []*time.Time{s.MonitoringStarted, s.MonitoringEnded} {
			if end != nil {
				span += fmt.Sprintf(" %d", end.Sub(noon)/time.Second)
			}
		}
		texts[i] = strings.TrimRight(fmt.Sprintf("%s %s %s%s %d to fill %d %s %s", s.ID, s.FileName, s.State(), span, s.EventCount, s.BackfillUpTo-s.BackfilledSeq, s.End.Reason, strings.Join(s.Tags, ",")), " ")
	}
	return texts
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the %s are\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var filledEvents = []string{
	`s1 1 id 1099511627776 x 0001-01-01T00:00:00Z agent a 1234567890123 false`,
	`s1 2 id 5 x 2026-11-22T12:00:07Z agent a [1] true`,
	`s1 3 id 7 x 2026-11-22T12:00:07Z agent a null false`,
	`s1 4 id 3 x 2026-11-22T12:00:09Z agent a {"a":1.50} false`,
	`s2 1 id 6 x 2026-11-22T12:00:08Z agent a "ä" false`,
}

var filledSessions = []string{
	"s1 a.exe ended 0 54 4 to fill 4 agent_lost",
	"s2 b.exe ended 0 100 1 to fill 1",
	"s3 c.exe created 0 to fill 0",
	"unassigned  created 0 to fill 0",
}

// lines returns the lines of the schema that describe tables of this program.
func lines(t *testing.T, db *database.DB) []string {
	t.Helper()
	// GORM writes the constraints of a table in any order.
	text := strings.NewReplacer(",CONSTRAINT", "\nCONSTRAINT", "`))", "`)").Replace(schema(t, db))
	all := strings.Split(text, "\n")
	slices.Sort(all)
	return all
}

// A database that GORM created from the specification's models opens, keeps all its
// rows, and then has the schema of a new database.
func TestUpgradeOfTheExistingBackend(t *testing.T) {
	for name, tt := range map[string]struct {
		config gorm.Config
		models []any
	}{
		"with a foreign key": {gorm.Config{}, []any{&specSession{}, &specEvent{}}},
		"without":            {gorm.Config{DisableForeignKeyConstraintWhenMigrating: true}, []any{&specEvent{}, &specSession{}}},
	} {
		t.Run(name, func(t *testing.T) {
			eachExisting(t, tt.config, func(t *testing.T, e *existing) {
				if err := e.gorm.AutoMigrate(tt.models...); err != nil {
					t.Fatal(err)
				}
				e.fill()
				db := e.upgrade()
				wantLines(t, "events", events(t, db), filledEvents...)
				wantLines(t, "sessions", sessions(t, db), filledSessions...)
				fresh := dbtest.SQLite(t)
				if e.o.URL != "" {
					fresh = dbtest.Postgres(t)
				}
				wantLines(t, "columns, indexes and constraints", lines(t, db), lines(t, dbtest.Open(t, fresh))...)
				if err := db.Migrate(t.Context()); err != nil {
					t.Error("the next start fails: ", err)
				}
				// New events get IDs above those of the old ones.
				var id, seq int64
				err := db.Write(t.Context(), func(tx *gorm.DB) error {
					return tx.Raw(`INSERT INTO events (session_id, seq, event_type, "timestamp", source, data) VALUES ('s1', 5, 'x', ?, 'x', '1') RETURNING id, seq`, noon).Row().Scan(&id, &seq)
				})
				if err != nil || id <= 1<<40 {
					t.Errorf("a new event has the ID %d, %v", id, err)
				}
			})
		})
	}
}

// Softly deleted rows are visible, and the tags of their sessions say that they were
// deleted.
func TestUpgradeOfSoftDeletedRows(t *testing.T) {
	eachExisting(t, gorm.Config{DisableForeignKeyConstraintWhenMigrating: true}, func(t *testing.T, e *existing) {
		if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"sessions", "events"} {
			e.exec("ALTER TABLE "+table+" ADD COLUMN deleted_at timestamp", "CREATE INDEX idx_"+table+"_deleted_at ON "+table+" (deleted_at)")
		}
		e.fill()
		e.exec("UPDATE sessions SET deleted_at = '2026-11-22 13:00:00+00:00' WHERE id = 's2'", "UPDATE events SET deleted_at = '2026-11-22 13:00:00+00:00' WHERE id IN (5, 6)")
		db := e.upgrade()
		wantLines(t, "events", events(t, db), filledEvents...)
		want := slices.Clone(filledSessions)
		want[1] = "s2 b.exe ended 0 100 1 to fill 1  deleted-before-upgrade"
		wantLines(t, "sessions", sessions(t, db), want...)
		var kept int64
		if err := db.Read(t.Context()).Raw("SELECT (SELECT count(*) FROM events WHERE deleted_at IS NOT NULL) + (SELECT count(*) FROM sessions WHERE deleted_at IS NOT NULL)").Scan(&kept).Error; err != nil || kept != 3 {
			t.Errorf("%d rows have kept their deleted_at, %v", kept, err)
		}
	})
}

// Events whose session is missing get one with their ID. Events that name no session go
// to the session unassigned. The upgrade fills in missing values.
func TestUpgradeOfIncompleteRows(t *testing.T) {
	eachExisting(t, gorm.Config{}, func(t *testing.T, e *existing) {
		e.exec(
			"CREATE TABLE sessions (id varchar(255) PRIMARY KEY, file_name varchar(255), created_at timestamp, updated_at timestamp, monitoring_started timestamp, monitoring_ended timestamp, is_active boolean)",
			"CREATE TABLE events (id integer PRIMARY KEY, session_id varchar(255), event_type varchar(100), \"timestamp\" timestamp, source varchar(100), data text, is_sent boolean, created_at timestamp, updated_at timestamp)",
			"INSERT INTO sessions (id) VALUES ('bare'), ('')",
			"INSERT INTO sessions (id, is_active, created_at) VALUES ('active', true, '2026-11-22 12:00:03')",
			"INSERT INTO sessions (id, monitoring_started, created_at) VALUES ('open', '2026-11-22 12:00:04', '2026-11-22 12:00:03'), ('zero', '0001-01-01 00:00:00', '2026-11-22 12:00:03')",
			"INSERT INTO events (id, session_id, \"timestamp\", created_at, data) VALUES (1, 'gone', '2026-11-22 12:00:01', '2026-11-22 12:00:02', '{\"a\": \"\\u0000\"}'), (2, NULL, '2026-11-22 12:00:01', NULL, NULL), (3, 'bare', NULL, '2026-11-22 12:00:09', 'no json')",
			"INSERT INTO events (id, session_id, event_type, source) VALUES (4, 'bare', '', '')",
			"INSERT INTO events (id, session_id) VALUES (5, '')",
		)
		db := e.upgrade()
		wantLines(t, "events", events(t, db),
			`bare 1 id 4 unknown 1970-01-01T00:00:00Z received unknown null false`,
			`bare 2 id 3 unknown 2026-11-22T12:00:09Z received unknown "nojson" false`,
			`gone 1 id 1 unknown 2026-11-22T12:00:01Z agent unknown {"a":"\u0000"} false`,
			`session-without-id 1 id 5 unknown 1970-01-01T00:00:00Z received unknown null false`,
			`unassigned 1 id 2 unknown 2026-11-22T12:00:01Z agent unknown null false`)
		wantLines(t, "sessions", sessions(t, db),
			"active  ended 3 3 0 to fill 0 agent_lost",
			"bare  created 2 to fill 2",
			"gone  ended 2 2 1 to fill 1  recovered",
			"open  ended 4 4 0 to fill 0",
			"session-without-id  created 1 to fill 1",
			"unassigned  created 1 to fill 1",
			"zero  created 0 to fill 0")
	})
}

// One of the two tables may be missing.
func TestUpgradeOfOneTable(t *testing.T) {
	eachExisting(t, gorm.Config{}, func(t *testing.T, e *existing) {
		e.exec(`CREATE TABLE events (id integer PRIMARY KEY, session_id varchar(255) NOT NULL, event_type varchar(100), "timestamp" timestamp, source varchar(100), data text)`,
			`INSERT INTO events VALUES (1, 'gone', 'x', '2026-11-22 12:00:01', 'x', '1')`)
		db := e.upgrade()
		wantLines(t, "events", events(t, db), `gone 1 id 1 x 2026-11-22T12:00:01Z agent x 1 false`)
		wantLines(t, "sessions", sessions(t, db), "gone  ended 1 1 1 to fill 1  recovered", "unassigned  created 0 to fill 0")
	})
	eachExisting(t, gorm.Config{}, func(t *testing.T, e *existing) {
		e.exec("CREATE TABLE sessions (id varchar(255) PRIMARY KEY, file_name varchar(255))", "INSERT INTO sessions VALUES ('a', 'a.exe')")
		wantLines(t, "sessions", sessions(t, e.upgrade()), "a a.exe created 0 to fill 0", "unassigned  created 0 to fill 0")
	})
}

// TestUpgradeKeepsWhatOthersAdded checks that tables and columns that others added stay, and
// that the upgrade renames them if this program needs their names.
func TestUpgradeKeepsWhatOthersAdded(t *testing.T) {
	eachExisting(t, gorm.Config{}, func(t *testing.T, e *existing) {
		if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
			t.Fatal(err)
		}
		e.exec("CREATE TABLE notes (session_id varchar(255) REFERENCES sessions (id), note text)", "CREATE TABLE processes (name text)", "INSERT INTO processes VALUES ('mine')",
			"ALTER TABLE sessions ADD COLUMN owner text NOT NULL DEFAULT 'me'", "ALTER TABLE events ADD COLUMN host text", "CREATE VIEW files AS SELECT id, file_name FROM sessions")
		if e.o.URL != "" {
			e.exec("ALTER TABLE events ADD COLUMN pid text, ADD COLUMN seq bigint")
		}
		e.fill()
		e.exec("INSERT INTO notes VALUES ('s1', 'mine')", "UPDATE events SET host = 'h' WHERE id = 3")
		if e.o.URL != "" {
			e.exec("ALTER TABLE sessions ALTER COLUMN owner DROP DEFAULT", "UPDATE events SET pid = 'p', seq = 77 WHERE id = 3")
		}
		db := e.upgrade()
		wantLines(t, "events", events(t, db), filledEvents...)
		wantLines(t, "sessions", sessions(t, db), filledSessions...)
		queries := map[string]string{
			"SELECT note FROM notes JOIN sessions ON id = session_id": "mine",
			"SELECT name FROM processes_before_upgrade":               "mine",
			"SELECT owner FROM sessions WHERE id = 's2'":              "me",
			"SELECT host FROM events WHERE id = 3":                    "h",
			"SELECT file_name FROM files WHERE id = 's2'":             "b.exe",
		}
		if e.o.URL != "" {
			queries["SELECT pid_before_upgrade || seq_before_upgrade FROM events WHERE id = 3"] = "p77"
		}
		for query, want := range queries {
			var got string
			if err := db.Read(t.Context()).Raw(query).Scan(&got).Error; err != nil || got != want {
				t.Errorf("%s gives %q, %v; want %q", query, got, err, want)
			}
		}
	})
}

// On PostgreSQL the columns may have other types.
func TestUpgradeOfOtherTypes(t *testing.T) {
	for name, tt := range map[string]struct {
		change []string
		rows   []string
		events []string
	}{
		"json": {
			[]string{"ALTER TABLE events ALTER COLUMN data TYPE json"},
			[]string{`INSERT INTO events VALUES (1, 's1', 'x', '2026-11-22 12:00:01+00', 'x', '{"b":1,"a":"\u0000","b":1e2}', true)`},
			[]string{`s1 1 id 1 x 2026-11-22T12:00:01Z agent x {"b":1,"a":"\u0000","b":1e2} true`},
		},
		"bytea": {
			[]string{"ALTER TABLE events ALTER COLUMN data TYPE bytea USING NULL, ALTER COLUMN data DROP NOT NULL"},
			[]string{`INSERT INTO events VALUES (1, 's1', 'x', '2026-11-22 12:00:01+00', 'x', '{"a":1}', true), (2, 's1', 'x', '2026-11-22 12:00:02+00', 'x', '\xff00', true)`},
			[]string{`s1 1 id 1 x 2026-11-22T12:00:01Z agent x {"a":1} true`, `s1 2 id 2 x 2026-11-22T12:00:02Z agent x "/wA=" true`},
		},
		"uuid": {
			[]string{"ALTER TABLE events DROP CONSTRAINT fk_sessions_events", "ALTER TABLE events ALTER COLUMN session_id TYPE uuid USING NULL",
				"ALTER TABLE sessions ALTER COLUMN id TYPE uuid USING md5(id)::uuid, ALTER COLUMN id SET DEFAULT md5('s1')::uuid", "ALTER TABLE events ADD FOREIGN KEY (session_id) REFERENCES sessions (id)"},
			[]string{`INSERT INTO events VALUES (1, md5('s1')::uuid, 'x', '2026-11-22 12:00:01+00', 'x', '1', true)`},
			[]string{"8ddf878039b70767c4a5bcf4f0c4f65e 1 id 1 x 2026-11-22T12:00:01Z agent x 1 true"},
		},
		"other times": {
			[]string{`ALTER TABLE events ALTER COLUMN "timestamp" TYPE timestamp(3), ALTER COLUMN "timestamp" DROP NOT NULL`, "ALTER TABLE sessions ALTER COLUMN created_at TYPE timestamptz(0)"},
			[]string{`INSERT INTO events VALUES (1, 's1', 'x', 'infinity', 'x', '1', true, '2026-11-22 12:00:03+00'), (2, 's1', 'x', '2026-11-22 12:00:04', 'x', '1', NULL, NULL), (3, 's1', 'x', '0044-03-15 BC', 'x', '1', NULL, '-infinity')`, "UPDATE events SET updated_at = '2026-11-22 12:00:05+00' WHERE id = 3"},
			[]string{`s1 1 id 1 x 2026-11-22T12:00:03Z received "infinity" x 1 true`, `s1 2 id 2 x 2026-11-22T12:00:04Z agent x 1 false`, `s1 3 id 3 x 2026-11-22T12:00:05Z received "0044-03-15 00:00:00+00 BC" x 1 false`},
		},
		"small numbers and other texts": {
			[]string{"ALTER TABLE events ALTER COLUMN id TYPE integer, ALTER COLUMN is_sent DROP DEFAULT, ALTER COLUMN is_sent TYPE smallint USING 0, ALTER COLUMN source TYPE char(10), ALTER COLUMN event_type TYPE varchar(20)",
				"ALTER SEQUENCE events_id_seq AS integer", "ALTER TABLE sessions ALTER COLUMN is_active DROP DEFAULT, ALTER COLUMN is_active TYPE text USING is_active::text"},
			[]string{`INSERT INTO events VALUES (2147483647, 's1', 'x', '2026-11-22 12:00:01+00', 'x', '1', 1)`},
			[]string{`s1 1 id 2147483647 x 2026-11-22T12:00:01Z agent x 1 true`},
		},
		"no sequence": {
			[]string{"ALTER TABLE events ALTER COLUMN id DROP DEFAULT", "DROP SEQUENCE events_id_seq", "ALTER TABLE events DROP CONSTRAINT events_pkey"},
			[]string{`INSERT INTO events VALUES (9, 's1', 'x', '2026-11-22 12:00:01+00', 'x', '1', true)`},
			[]string{`s1 1 id 9 x 2026-11-22T12:00:01Z agent x 1 true`},
		},
		"a sequence that is behind": {
			[]string{"ALTER TABLE events ALTER COLUMN id DROP DEFAULT", "DROP SEQUENCE events_id_seq", "CREATE SEQUENCE mine", "ALTER TABLE events ALTER COLUMN id SET DEFAULT nextval('mine')"},
			[]string{`INSERT INTO events VALUES (9, 's1', 'x', '2026-11-22 12:00:01+00', 'x', '1', true)`},
			[]string{`s1 1 id 9 x 2026-11-22T12:00:01Z agent x 1 true`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := openExisting(t, dbtest.Postgres(t), gorm.Config{})
			if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
				t.Fatal(err)
			}
			e.exec("INSERT INTO sessions (id, file_name) VALUES ('s1', 'a')")
			e.exec(slices.Concat(tt.change, tt.rows)...)
			db := e.upgrade()
			got := events(t, db)
			for i := range got { // uuids
				if id, rest, _ := strings.Cut(got[i], " "); len(id) == 36 {
					got[i] = strings.ReplaceAll(id, "-", "") + " " + rest
				}
			}
			wantLines(t, "events", got, tt.events...)
			err := db.Write(t.Context(), func(tx *gorm.DB) error {
				return tx.Exec(`INSERT INTO events (session_id, seq, event_type, "timestamp", source, data) SELECT id, 100, 'x', now(), 'x', '1' FROM sessions WHERE id <> 'unassigned'`).Error
			})
			if err != nil {
				t.Error("a new event cannot be stored: ", err)
			}
		})
	}
}

// The upgrade takes the tables of the first schema in the search path, and ignores other
// schemas.
func TestUpgradeInAnotherSchema(t *testing.T) {
	o := dbtest.Postgres(t)
	e := openExisting(t, o, gorm.Config{})
	e.exec("CREATE SCHEMA pulse", "CREATE TABLE public.events (id integer)", "INSERT INTO public.events VALUES (1)")
	e.close()
	parsed, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	query.Set("search_path", "pulse,public")
	parsed.RawQuery = query.Encode()
	o.URL = parsed.String()
	e = openExisting(t, o, gorm.Config{})
	if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
		t.Fatal(err)
	}
	e.fill()
	db := e.upgrade()
	wantLines(t, "events", events(t, db), filledEvents...)
	var others int64
	if err := db.Read(t.Context()).Raw("SELECT count(*) FROM public.events").Scan(&others).Error; err != nil || others != 1 {
		t.Errorf("%d rows are left in the other schema, %v", others, err)
	}
}

// The upgrade changes nothing in a database that it cannot upgrade, and its error says
// what to do.
func TestUpgradeRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		statements []string
		want       string
	}{
		"tables of another program": {[]string{"CREATE TABLE events (id integer, title text)"}, "the table events does not belong to OS-Pulse, because it has no column"},
		"ids that are no numbers": {[]string{`CREATE TABLE events (id uuid PRIMARY KEY, session_id varchar(255), event_type text, "timestamp" timestamptz, source text, data jsonb)`},
			"the column events.id has the type uuid"},
		"a view that uses a column": {[]string{`CREATE TABLE events (id integer PRIMARY KEY, session_id varchar(255), event_type text, "timestamp" timestamptz, source text, data jsonb)`,
			"CREATE VIEW v AS SELECT id FROM events"}, "convert the column events.id from integer to int8: "},
	} {
		t.Run(name, func(t *testing.T) {
			e := openExisting(t, dbtest.Postgres(t), gorm.Config{})
			e.exec(tt.statements...)
			db, err := database.Open(t.Context(), e.o)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			before := schema(t, db)
			if err := db.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want one that contains %q", err, tt.want)
			}
			if after := schema(t, db); after != before {
				t.Errorf("the schema is now\n%s\nand was\n%s", after, before)
			}
		})
	}
	t.Run("tables of another role", func(t *testing.T) {
		o := dbtest.Postgres(t)
		e := openExisting(t, o, gorm.Config{})
		if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
			t.Fatal(err)
		}
		const role = "upgrade_guest"
		e.exec("DROP ROLE IF EXISTS "+role, "CREATE ROLE "+role+" LOGIN", "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+role, "GRANT CREATE ON SCHEMA public TO "+role)
		parsed, err := url.Parse(o.URL)
		if err != nil {
			t.Fatal(err)
		}
		parsed.User = url.User(role)
		o.URL = parsed.String()
		db, err := database.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		want := `belongs to the role postgres, and this backend is connected as upgrade_guest`
		if err := db.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one that contains %q", err, want)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		e.exec("DROP OWNED BY "+role, "DROP ROLE "+role)
	})
}

// After a user went back to the existing backend, it adds events to an upgraded
// database. The next upgrade numbers them after the events that have a seq.
func TestUpgradeAfterGoingBack(t *testing.T) {
	o := dbtest.Postgres(t)
	e := openExisting(t, o, gorm.Config{})
	if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
		t.Fatal(err)
	}
	e.fill()
	dbtest.Open(t, o)
	e = openExisting(t, o, gorm.Config{})
	err := e.gorm.Create(&specEvent{SessionID: "s1", EventType: "x", Timestamp: at(2), Source: "back", Data: "1"}).Error
	if err == nil || !strings.Contains(err.Error(), `null value in column "seq"`) { // as docs/upgrade.md says
		t.Error("the existing backend could store an event in an upgraded database, or failed otherwise: ", err)
	}
	e.exec("ALTER TABLE events ALTER COLUMN seq DROP NOT NULL")
	if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
		t.Fatal(err)
	}
	if err := e.gorm.Create(&[]specEvent{{SessionID: "s1", EventType: "x", Timestamp: at(2), Source: "back", Data: "1"}, {SessionID: "s3", EventType: "x", Timestamp: at(2), Source: "back", Data: "1"}}).Error; err != nil {
		t.Fatal(err)
	}
	db := e.upgrade()
	want := slices.Insert(slices.Clone(filledEvents), 4, fmt.Sprintf("s1 5 id %d x 2026-11-22T12:00:02Z agent back 1 false", 1<<40+2))
	wantLines(t, "events", events(t, db), append(want, fmt.Sprintf("s3 1 id %d x 2026-11-22T12:00:02Z agent back 1 false", 1<<40+3))...)
	wantLines(t, "sessions", sessions(t, db), "s1 a.exe ended 0 54 5 to fill 5 agent_lost", "s2 b.exe ended 0 100 1 to fill 1", "s3 c.exe created 1 to fill 1", "unassigned  created 0 to fill 0")
}

// When two backends start at once, one upgrades the database. The other waits and logs
// that it waits.
func TestUpgradeWaitsForAnotherProgram(t *testing.T) {
	e := openExisting(t, dbtest.Postgres(t), gorm.Config{})
	if err := e.gorm.AutoMigrate(&specSession{}, &specEvent{}); err != nil {
		t.Fatal(err)
	}
	e.fill()
	reader := e.gorm.Begin() // blocks the upgrade of the first program
	if err := reader.Exec("LOCK TABLE events IN ACCESS SHARE MODE").Error; err != nil {
		t.Fatal(err)
	}
	lines := make(lineWriter, 100)
	e.o.Log = slog.New(slog.NewTextHandler(lines, nil))
	ended := make(chan error, 2)
	for range 2 {
		db, err := database.Open(t.Context(), e.o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		go func() { ended <- db.Migrate(t.Context()) }()
	}
	lines.wait(t, "waiting for another backend")
	reader.Rollback()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	wantLines(t, "events", events(t, e.upgrade()), filledEvents...)
}

// lineWriter sends each written line to the channel. It drops lines while the channel is
// full.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	select {
	case w <- string(p):
	default:
	}
	return len(p), nil
}

// wait waits for a line that contains text.
func (w lineWriter) wait(t *testing.T, text string) {
	t.Helper()
	for deadline := time.After(wait.Patience); ; {
		select {
		case line := <-w:
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			t.Fatalf("no line of the log says %q", text)
		}
	}
}
