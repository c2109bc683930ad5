package segment_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// event returns the fields of event i that a segment keeps.
func event(c *segment.Columns, i int) models.Event {
	return models.Event{
		Timestamp: time.UnixMicro(c.Micros[i]).UTC(), EventType: *c.Type.Values[c.Type.Index[i]], Source: *c.Source.Values[c.Source.Index[i]],
		Operation: c.Operation.Values[c.Operation.Index[i]], ProcessName: c.Process.Values[c.Process.Index[i]],
		Target: c.Target.Values[c.Target.Index[i]], PID: c.PID.Values[c.PID.Index[i]],
	}
}

// anyEvent draws an event. Texts repeat, and may hold any bytes.
func anyEvent(t *rapid.T) models.Event {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "プロセス"}), rapid.String())
	return models.Event{
		Timestamp: time.UnixMicro(rapid.Int64().Draw(t, "micros")).UTC(), EventType: text.Draw(t, "type"), Source: text.Draw(t, "source"),
		Operation: rapid.Ptr(text, true).Draw(t, "operation"), ProcessName: rapid.Ptr(text, true).Draw(t, "process"),
		Target: rapid.Ptr(text, true).Draw(t, "target"), PID: rapid.Ptr(rapid.Int64(), true).Draw(t, "pid"),
	}
}

func TestWhatIsPackedReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(anyEvent), 0, 50).Draw(t, "events")
		c := &segment.Columns{}
		for i := range events {
			c.Append(&events[i])
		}
		packed, err := segment.EncodeColumns(c)
		if err != nil {
			t.Fatal(err)
		}
		read, err := segment.DecodeColumns(packed)
		if err != nil {
			t.Fatal(err)
		}
		if read.Len() != len(events) || c.Len() != len(events) {
			t.Fatalf("%d of %d events were read", read.Len(), len(events))
		}
		for i := range events {
			for _, columns := range []*segment.Columns{c, read} {
				if got := event(columns, i); !reflect.DeepEqual(got, events[i]) {
					t.Fatalf("event %d is %+v, was %+v", i, got, events[i])
				}
			}
		}
	})
}

// TestColumnsKeepTheirOwn checks that columns copy what they keep: repositories reuse
// the memory of an appended event.
func TestColumnsKeepTheirOwn(t *testing.T) {
	name, pid := "a", int64(1)
	e := models.Event{ProcessName: &name, PID: &pid}
	c := &segment.Columns{}
	c.Append(&e)
	name, pid = "b", 2
	c.Append(&e)
	if first, second := event(c, 0), event(c, 1); *first.ProcessName != "a" || *first.PID != 1 || *second.ProcessName != "b" || *second.PID != 2 {
		t.Errorf("they are %s %d and %s %d", *first.ProcessName, *first.PID, *second.ProcessName, *second.PID)
	}
}

func TestTooLarge(t *testing.T) {
	c := &segment.Columns{}
	for i := range models.SegmentEvents {
		text := strings.Repeat("x", 4000) + string(rune('a'+i%26)) + strings.Repeat("y", i%100)
		c.Append(&models.Event{Target: &text, Operation: &text})
	}
	if _, err := segment.EncodeColumns(c); err != nil && !errors.Is(err, segment.ErrTooLarge) {
		t.Error(err)
	} else if err == nil {
		t.Error("20 MB were packed")
	}
}

// FuzzDecode checks that damaged bytes are refused or decode to columns that can be
// read.
func FuzzDecode(f *testing.F) {
	c := &segment.Columns{}
	for i := range 20 {
		text, pid := strings.Repeat("x", i%3), int64(i)
		c.Append(&models.Event{Timestamp: time.UnixMicro(int64(i)), EventType: "t", Source: "s", Target: &text, PID: &pid})
	}
	packed, err := segment.EncodeColumns(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:len(packed)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := segment.DecodeColumns(text)
		if err != nil {
			return
		}
		for i := range c.Len() {
			if c.Type.Index[i] > 0 && c.Source.Index[i] > 0 {
				_ = event(c, i)
			}
		}
	})
}

func TestDamageIsNoticed(t *testing.T) {
	c := &segment.Columns{}
	for i := range 100 {
		text := strings.Repeat("x", i)
		c.Append(&models.Event{EventType: text, Source: text})
	}
	packed, err := segment.EncodeColumns(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range packed {
		damaged := bytes.Clone(packed)
		damaged[i] ^= 0x55
		if read, err := segment.DecodeColumns(damaged); err == nil && !reflect.DeepEqual(read.Type.Index, c.Type.Index) {
			t.Fatalf("byte %d was changed without notice", i)
		}
	}
}
