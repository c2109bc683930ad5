package models

import (
	"database/sql/driver"
	"fmt"
)

// JSON is one JSON value as text. In the database it is `jsonb` on PostgreSQL
// and `text` on SQLite: never a type with numeric affinity, which would turn
// the text 12345678901234567890 into a float.
type JSON []byte

// Value gives the text to the driver; an empty JSON is stored as null.
func (j JSON) Value() (driver.Value, error) {
	if len(j) == 0 {
		return "null", nil
	}
	return string(j), nil
}

// Scan takes text or bytes from the driver, and copies them.
func (j *JSON) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*j = JSON("null")
	case string:
		*j = JSON(v)
	case []byte:
		*j = append(JSON(nil), v...)
	default:
		return fmt.Errorf("models.JSON: cannot scan %T", src)
	}
	return nil
}

// MarshalJSON gives the value itself.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}
