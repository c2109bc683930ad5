package database

import (
	"database/sql/driver"
	"unsafe"

	modernc "modernc.org/sqlite"
)

// SQLitePredicate registers fn as the SQL function name(test, value) for every SQLite database
// opened afterwards. fn must depend only on its arguments, and must not keep them,
// because they are SQLite's memory. SQLitePredicate is for package initialisation. It
// panics if the name is taken.
func SQLitePredicate(name string, fn func(test string, value []byte) (bool, error)) {
	modernc.MustRegisterFunction(name, &modernc.FunctionImpl{
		NArgs:         2,
		Deterministic: true,
		VolatileArgs:  true,
		Scalar: func(_ *modernc.FunctionContext, args []driver.Value) (driver.Value, error) {
			test, _ := args[0].(string)
			value, _ := args[1].(string)
			return fn(test, unsafe.Slice(unsafe.StringData(value), len(value)))
		},
	})
}
