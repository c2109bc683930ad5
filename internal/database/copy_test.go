package database_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/test/dbtest"
)

// TestSnapshotIsOfOneMoment checks that a snapshot does not have what was committed after
// it began, also in tables that it had not read before.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		count := func(s *database.Snapshot, name string) (rows int) {
			t.Helper()
			i := slices.IndexFunc(s.Tables, func(table database.Table) bool { return table.Name == name })
			if err := s.CopyOut(t.Context(), &s.Tables[i], func(database.Row) error { rows++; return nil }); err != nil {
				t.Fatal(err)
			}
			return rows
		}
		err := db.Snapshot(t.Context(), func(s *database.Snapshot) error {
			err := db.Write(t.Context(), func(tx *gorm.DB) error {
				return tx.Create(&models.Event{SessionID: models.UnassignedID, Seq: 1, EventType: "x", Source: "x", Timestamp: time.Now()}).Error
			})
			if n := count(s, "events"); n != 0 {
				t.Errorf("the snapshot has %d later events", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Snapshot(t.Context(), func(s *database.Snapshot) error {
			if n := count(s, "events"); n != 1 {
				t.Errorf("a later snapshot has %d events", n)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzCutRow checks that CutRow and Fields accept any bytes, and lose none.
func FuzzCutRow(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 2, 0, 0, 0, 1, 'a', 255, 255, 255, 255, 0})
	f.Add([]byte{0, 1, 127, 255, 255, 255})
	f.Add([]byte{255, 255, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		row, rest := database.CutRow(data)
		if !bytes.Equal(append(bytes.Clone(row), rest...), data) {
			t.Errorf("%v became %v and %v", data, row, rest)
		}
		if row == nil {
			return
		}
		columns := make([]database.Column, int(row[0])<<8|int(row[1]))
		fields, err := (&database.Table{Columns: columns}).Fields(row, nil)
		if err != nil || len(fields) != len(columns) {
			t.Errorf("%v has %d fields, %v", row, len(fields), err)
		}
		for _, kind := range []database.Kind{database.KindText, database.KindJSON, database.KindBytes, database.KindInt, database.KindTime, database.KindBool} {
			for _, field := range fields {
				_, _ = (&database.Column{Kind: kind}).Value(field)
			}
		}
	})
}
