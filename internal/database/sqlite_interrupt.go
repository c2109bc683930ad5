package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"sync"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// openInterruptiblePool opens a pool whose queries end when their context ends.
// modernc.org/sqlite interrupts a query only until its first row; a later step, which may
// read all events of a session, would go on.
func openInterruptiblePool(name string) (*sql.DB, error) {
	plain, err := openPool(name)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(interruptibleConnector{plain.Driver(), name}), plain.Close()
}

type interruptibleConnector struct {
	driver driver.Driver // with its registered functions
	name   string
}

func (c interruptibleConnector) Driver() driver.Driver { return c.driver }

func (c interruptibleConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.name)
	if err != nil {
		return nil, err
	}
	// The driver has no other way to the handle that sqlite3_interrupt takes.
	handle := reflect.ValueOf(conn).Elem().FieldByName("db")
	if all, ok := conn.(sqliteConn); ok && handle.Kind() == reflect.Uintptr {
		return &interruptibleConn{all, uintptr(handle.Uint())}, nil
	}
	return nil, errors.Join(errors.New("modernc.org/sqlite has other connections than those that can be interrupted"), conn.Close())
}

// sqliteConn is what database/sql uses of a connection of modernc.org/sqlite.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type interruptibleConn struct {
	sqliteConn
	handle uintptr
}

func (c *interruptibleConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.sqliteConn.QueryContext(ctx, query, args)
	if err != nil || ctx.Done() == nil {
		return rows, err
	}
	r := &interruptibleRows{sqliteRows: rows.(sqliteRows), conn: c}
	r.stop = context.AfterFunc(ctx, r.interrupt)
	return r, nil
}

// sqliteRows is what database/sql uses of the rows of modernc.org/sqlite.
type sqliteRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

type interruptibleRows struct {
	sqliteRows
	conn *interruptibleConn
	stop func() bool // prevents a call of interrupt

	mu     sync.Mutex
	closed bool // none of the steps of these rows runs any more
}

// interrupt makes the running step fail. The pool closes the connection afterwards.
func (r *interruptibleRows) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_interrupt(tls, r.conn.handle)
}

func (r *interruptibleRows) Close() error {
	r.stop()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	return r.sqliteRows.Close()
}
