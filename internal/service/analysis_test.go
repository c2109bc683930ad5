package service

import (
	"testing"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// TestSegmentsHaveEveryColumn checks that a filter selects the same events of a segment as
// of the database. A column of the filter language that segments lack would never match
// there, and every count would be too low.
func TestSegmentsHaveEveryColumn(t *testing.T) {
	name, operation, target, pid := "p.exe", "ReadFile", "/etc/passwd", int64(4711)
	event := models.Event{
		Seq: 12, Timestamp: time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC), EventType: models.TypeFile, Source: "source",
		Operation: &operation, ProcessName: &name, Target: &target, PID: &pid,
	}
	values := map[filter.Column]string{
		filter.Type: models.TypeFile, filter.Operation: operation, filter.Process: name, filter.Target: `"` + target + `"`, filter.Source: "source",
		filter.PID: "4711", filter.Seq: "12", filter.Time: "2026-11-29T01:02:03Z",
	}
	columns := &segment.Columns{}
	columns.Append(&event)
	packed, err := segment.EncodeColumns(columns)
	if err != nil {
		t.Fatal(err)
	}
	if columns, err = segment.DecodeColumns(packed); err != nil {
		t.Fatal(err)
	}
	for column := filter.Type; column < filter.Data; column++ { // no segment has data: see Filter.NeedsData
		if values[column] == "" {
			t.Errorf("this test has no value for the column %s: add one to the event and to values", column)
			continue
		}
		where, err := filter.Parse(column.String() + "=" + values[column])
		if err != nil {
			t.Fatal(err)
		}
		if !where.Match(&event) {
			t.Errorf("the filter %s does not select this test's event", where)
		}
		if !columns.Select(where, event.Seq, nil)[0] {
			t.Errorf("segments lack the column %s: add it to analysis.Columns and selects", column)
		}
	}
}
