package models

import (
	"database/sql/driver"
	"fmt"
)

// JSON is one JSON value as text. Its column is `jsonb` on PostgreSQL and `text` on
// SQLite. A type with numeric affinity would turn the text 12345678901234567890 into a
// float.
type JSON []byte

// Value implements driver.Valuer. An empty JSON is stored as null.
func (j JSON) Value() (driver.Value, error) {
	if len(j) == 0 {
		return "null", nil
	}
	return string(j), nil
}

// Scan implements sql.Scanner. It copies the value.
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

// MarshalJSON returns the value itself, and null for an empty one.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}
