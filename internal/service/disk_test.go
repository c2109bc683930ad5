package service

import (
	"errors"
	"testing"
	"time"

	"ospulse/internal/models"
)

// TestDiskWarnsInTime checks the state and the estimate of a disk that fills evenly, one
// that takes a large upload, one that is quiet, and one whose database is elsewhere.
func TestDiskWarnsInTime(t *testing.T) {
	const gb = int64(1) << 30
	began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		free      func(minute int64) int64
		minutes   int64
		elsewhere bool
		want      models.DiskState
		left      time.Duration // 0 for no estimate
	}{
		"a quiet machine":               {func(int64) int64 { return 50 * gb }, 120, false, models.DiskOK, 0},
		"much is written":               {func(m int64) int64 { return 121*gb - m*gb }, 60, false, models.DiskFilling, time.Hour},
		"too early to say":              {func(m int64) int64 { return 121*gb - m*gb }, 14, false, models.DiskOK, 0},
		"a large upload":                {func(m int64) int64 { return 50*gb - 20*gb*min(m/30, 1) }, 60, false, models.DiskOK, 0},
		"little is written":             {func(m int64) int64 { return 1000*gb - m<<20 }, 60, false, models.DiskOK, 0},
		"it is freed":                   {func(m int64) int64 { return 10*gb + m*gb/10 }, 60, false, models.DiskOK, 0},
		"near the limit":                {func(int64) int64 { return gb + gb/2 }, 60, false, models.DiskLow, 0},
		"below the limit":               {func(int64) int64 { return gb / 2 }, 60, false, models.DiskFull, 0},
		"the database is on PostgreSQL": {func(m int64) int64 { return max(gb/2, 60*gb-m*gb) }, 120, true, models.DiskOK, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			free := int64(0)
			d := NewDisk(func() (int64, error) { return free, nil }, gb, !tt.elsewhere)
			for minute := range tt.minutes + 1 {
				free = tt.free(minute)
				d.look(began.Add(time.Duration(minute) * time.Minute))
			}
			s := d.Status()
			if s.State != tt.want || (s.FullAt != nil) != (tt.left > 0) {
				t.Errorf("the status is %+v", s)
			}
			if end := began.Add(time.Duration(tt.minutes) * time.Minute); s.FullAt != nil && s.FullAt.Sub(end) != tt.left {
				t.Errorf("it is full in %s, want %s", s.FullAt.Sub(end), tt.left)
			}
			if err := d.Refusal(); (err != nil) != (tt.want == models.DiskFull) || err != nil && models.ErrorCode(err) != models.CodeUnavailable {
				t.Errorf("events are answered %v", err)
			}
		})
	}
}

// TestDiskThatCannotBeRead checks that events are stored although nobody knows the free
// space.
func TestDiskThatCannotBeRead(t *testing.T) {
	d := NewDisk(func() (int64, error) { return 0, errors.New("no such disk") }, 1<<30, true)
	if err := d.Refusal(); err != nil {
		t.Error("before the first look:", err)
	}
	d.look(time.Now())
	if s := d.Status(); d.Refusal() != nil || s.State != models.DiskOK || s.FreeBytes != -1 {
		t.Errorf("the status is %+v", s)
	}
}

// TestFastWriterIsRefused checks that events are refused as soon as the space is gone, and
// taken as soon as it is back, without a look in between.
func TestFastWriterIsRefused(t *testing.T) {
	free := int64(2 << 30)
	d := NewDisk(func() (int64, error) { return free, nil }, 1<<30, true)
	d.look(time.Now())
	for _, free = range []int64{1<<30 - 1, 1 << 30, 0, 2 << 30} {
		if err := d.Refusal(); (err != nil) != (free < 1<<30) {
			t.Errorf("with %d bytes free: %v", free, err)
		}
	}
}
