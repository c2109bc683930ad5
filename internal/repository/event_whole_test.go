package repository_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestListWhole checks that a page of events with their data ends when the data is
// large, and reports it. Otherwise the events are those of List.
func TestListWhole(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		batch := make([]models.Event, 20)
		for i := range batch {
			batch[i] = newEvent("s", time.Date(2026, 11, 22, 18, 57, i, 0, time.UTC))
			batch[i].Data = models.JSON(fmt.Sprintf(`{"n": %d, "content": "%s"}`, i+1, strings.Repeat("x", 1000)))
			if i == 3 {
				batch[i].DataRaw = []byte(`{"n":4,"n":4}`)
			}
			if i%2 == 0 {
				preview := string(batch[i].Data[:250])
				batch[i].Preview = &preview
			}
		}
		appendEvents(t, db, batch)
		events := repository.NewEvents(db)
		odd, err := filter.Parse("data.n in (1,3,5,7,9,11,13,15,17,19)")
		if err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			where    *filter.Filter
			page     models.EventPage
			maxBytes int
			want     []int64
			isCut    bool
		}{
			"all":              {nil, models.EventPage{Limit: 100}, 1 << 20, seqsFrom(1, 20), false},
			"a limit":          {nil, models.EventPage{After: 2, Limit: 3}, 1 << 20, seqsFrom(3, 5), false},
			"downwards":        {nil, models.EventPage{Before: 4, Limit: 3, Descending: true}, 1 << 20, []int64{3, 2, 1}, false},
			"cut":              {nil, models.EventPage{Limit: 100}, 3000, seqsFrom(1, 3), true},
			"cut downwards":    {nil, models.EventPage{Limit: 100, Descending: true}, 1, []int64{20}, true},
			"cut by a filter":  {odd, models.EventPage{Limit: 100}, 2500, []int64{1, 3, 5}, true},
			"cut at its end":   {nil, models.EventPage{After: 18, Limit: 100}, 1500, []int64{19, 20}, false},
			"none":             {nil, models.EventPage{After: 20, Limit: 100}, 1, nil, false},
			"cut at the limit": {nil, models.EventPage{Limit: 2}, 1500, []int64{1, 2}, false},
			"before and after": {odd, models.EventPage{After: 4, Before: 10, Limit: 100}, 1 << 20, []int64{5, 7, 9}, false},
		} {
			found, isCut, err := events.ListWhole(t.Context(), "s", tt.where, tt.page, tt.maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			listed, err := events.List(t.Context(), "s", tt.where, tt.page)
			if err != nil {
				t.Fatal(err)
			}
			if isCut != tt.isCut || fmt.Sprint(seqsOf(found)) != fmt.Sprint(tt.want) {
				t.Errorf("%s: got %v, cut %t, want %v, %t", name, seqsOf(found), isCut, tt.want, tt.isCut)
			}
			for i := range found {
				sent := batch[found[i].Seq-1]
				if !bytes.Equal(found[i].DataRaw, sent.DataRaw) || !sameValue(t, found[i].Data, sent.Data) || (found[i].Preview == nil) != (sent.Preview == nil) || found[i].Preview != nil && *found[i].Preview != *listed[i].Preview || !found[i].CreatedAt.Equal(listed[i].CreatedAt) {
					t.Errorf("%s: event %d is %+v", name, found[i].Seq, found[i])
				}
			}
		}
	})
}

func seqsFrom(first, last int64) (seqs []int64) {
	for seq := first; seq <= last; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func seqsOf(events []models.Event) (seqs []int64) {
	for i := range events {
		seqs = append(seqs, events[i].Seq)
	}
	return seqs
}

// sameValue reports whether two JSON texts have the same value. PostgreSQL formats its
// own.
func sameValue(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}
