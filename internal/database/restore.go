package database

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ospulse/internal/models"
)

// errInUse means that a backend may be using a database that is to be restored.
var errInUse = errors.New("another program uses the database: stop all backends first")

// errNotEmpty means that a restore would remove sessions or events.
var errNotEmpty = errors.New("the database has sessions or events already, and they would be removed: restore into another database, or use --replace")

// RestoreOptions describes the copy from which a database is restored.
type RestoreOptions struct {
	Dialect string // of the database that was copied
	Version int    // of its schema
	Replace bool   // remove the sessions and events that the database has
}

// Restoration is the transaction of a restore.
type Restoration struct {
	bulk     restoringBulk
	keepText bool // see Insert
}

// restoringBulk is what a Bulk also does for a restore.
type restoringBulk interface {
	Bulk
	copyOut(ctx context.Context, table *Table, emit func(Row) error) error
	// checkUnused returns errInUse if it finds a backend that uses the database.
	checkUnused(ctx context.Context) error
	// lockTables keeps other programs out of the tables until the transaction ends. It
	// returns errInUse if one uses them.
	lockTables(ctx context.Context, tables []Table) error
	clear(ctx context.Context, tables []Table) error
	// setCounter makes the database number the next rows of a table with numbers greater
	// than n, and than those that the table has.
	setCounter(ctx context.Context, table *Table, n int64) error
}

// Restore replaces the content of the database in one transaction: fn fills all of
// Tables. The database must have been opened with Exclusive. Restore first brings an
// empty database to the version of the copied schema, so that fn stores rows in the
// schema in which they were. Afterwards it brings database and rows up to date, as at the
// start of a backend. If fn or the commit fails, the database is as before, apart from
// its schema.
func (db *DB) Restore(ctx context.Context, o RestoreOptions, fn func(*Restoration) error) error {
	latest := len(db.loadMigrations())
	if o.Version > latest {
		return fmt.Errorf("the backup has schema version %d, made by a newer OS-Pulse; this one has version %d: restore it with that version", o.Version, latest)
	}
	tables, err := db.Tables()
	if err != nil {
		return err
	}
	if err := db.checkTarget(ctx, o); err != nil {
		return err
	}
	if err := db.migrateTo(ctx, o.Version); err != nil {
		return err
	}
	err = db.BulkBeside(ctx, func(bulk Bulk) error {
		b := bulk.(restoringBulk)
		if err := b.lockTables(ctx, tables); err != nil {
			return err
		}
		if err := b.checkUnused(ctx); err != nil {
			return err
		}
		found, err := copiedVersion(ctx, b.copyOut, tables)
		if err == nil && found != o.Version {
			err = errInUse // another program has changed the schema meanwhile
		}
		if err != nil {
			return err
		}
		if err := checkEmpty(ctx, b, o); err != nil {
			return err
		}
		if err := b.clear(ctx, tables); err != nil {
			return fmt.Errorf("empty the tables: %w", err)
		}
		return fn(&Restoration{bulk: b, keepText: db.Dialect() == "postgres" && o.Dialect != "postgres"})
	})
	if err != nil {
		return err
	}
	if err := db.Migrate(ctx); err != nil {
		return fmt.Errorf("bring the restored schema up to date, which the start of a backend tries again: %w", err)
	}
	return nil
}

// checkTarget checks, before anything is changed, that a database can be restored.
func (db *DB) checkTarget(ctx context.Context, o RestoreOptions) error {
	g := db.write.WithContext(ctx)
	if !g.Migrator().HasTable(&schemaMigration{}) {
		if g.Migrator().HasTable(&models.Session{}) || g.Migrator().HasTable(&models.Event{}) {
			return errors.New("the database has tables of another program: restore into a new database")
		}
		return nil
	}
	state, err := readSchemaState(g)
	if err != nil {
		return err
	}
	if state.Version > o.Version {
		return fmt.Errorf("the database has schema version %d already, and the backup has version %d: restore into a new database, which is then brought up to date", state.Version, o.Version)
	}
	return db.BulkBeside(ctx, func(bulk Bulk) error {
		b := bulk.(restoringBulk)
		if err := b.checkUnused(ctx); err != nil {
			return err
		}
		return checkEmpty(ctx, b, o)
	})
}

// checkEmpty returns errNotEmpty if the database has sessions or events that a restore
// may not remove.
func checkEmpty(ctx context.Context, b Bulk, o RestoreOptions) error {
	isEmpty, found := true, ""
	err := b.Run(ctx, Statement{
		Text: "SELECT id FROM sessions WHERE id <> ? OR event_count > 0 LIMIT 1",
		Args: []any{models.UnassignedID}, Dest: []any{&found}, Row: func() { isEmpty = false },
	})
	if err == nil && !isEmpty && !o.Replace {
		err = errNotEmpty
	}
	return err
}

// Insert stores rows of a table. Rows that come from a SQLite database, on PostgreSQL:
// if a column of JSON has another one for its text, and that is NULL, Insert stores the
// text there, because jsonb would return it with other white space and another order of
// keys.
func (r *Restoration) Insert(ctx context.Context, table *Table, rows []Row) error {
	texts := table.texts()
	fields := make([][]byte, len(table.Columns))
	values := make([]any, len(table.Columns))
	var failed error
	err := r.bulk.Insert(ctx, table.Name, table.names(), len(rows), func(i int) []any {
		var err error
		if fields, err = table.Fields(rows[i], fields); err != nil {
			failed = err
			return values
		}
		for j := range fields {
			if values[j], err = table.Columns[j].Value(fields[j]); err != nil {
				failed = err
			}
		}
		if r.keepText {
			for from, to := range texts {
				if text, ok := values[from].(models.JSON); ok && values[to] == nil {
					values[to] = []byte(text)
				}
			}
		}
		return values
	})
	if err == nil && failed == nil {
		err = r.bulk.Run(ctx) // what waits for the next statements
	}
	if err := errors.Join(failed, err); err != nil {
		return fmt.Errorf("store rows of the table %s: %w", table.Name, err)
	}
	return nil
}

// texts returns the columns of JSON that have a column for their text (X and X_raw).
func (t *Table) texts() map[int]int {
	found := map[int]int{}
	for i, column := range t.Columns {
		if to := slices.Index(t.Columns, Column{column.Name + "_raw", KindBytes}); column.Kind == KindJSON && to >= 0 {
			found[i] = to
		}
	}
	return found
}

// CopyOut calls emit with each row that the table now has. A row is valid until emit
// returns.
func (r *Restoration) CopyOut(ctx context.Context, table *Table, emit func(Row) error) error {
	return r.bulk.copyOut(ctx, table, emit)
}

// SetCounter makes the database number the next rows of a table with numbers greater than
// n, and than those of its rows.
func (r *Restoration) SetCounter(ctx context.Context, table *Table, n int64) error {
	return r.bulk.setCounter(ctx, table, n)
}

// Run runs statements in the transaction of the restore.
func (r *Restoration) Run(ctx context.Context, statements ...Statement) error {
	return r.bulk.Run(ctx, statements...)
}
