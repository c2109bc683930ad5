package database

import (
	"database/sql/driver"
	"unsafe"

	modernc "modernc.org/sqlite"
)

// SQLitePredicate makes a Go function callable by that name in the statements of
// every SQLite database that is opened afterwards: name(test, value) is what it
// says of the two texts. It must depend on them alone, and not keep them: they are
// SQLite's memory. It is for package initialisation, and panics if the name is
// taken.
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
