package service

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// TestArrivalsBuildSegments checks that the segments of arriving events are those of the
// events, also if the events of several sessions come in turns, batches are repeated, and
// another backend stores some events.
func TestArrivalsBuildSegments(t *testing.T) {
	a := newArrivals()
	random := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC)
	next := map[string]int64{}
	all := map[string][]models.Event{}
	event := func(session string) models.Incoming {
		next[session]++
		target, pid := fmt.Sprint("/tmp/", random.IntN(50)), random.Int64N(9)
		e := models.Event{SessionID: session, Seq: next[session], EventType: "t", Source: "s", Timestamp: at.Add(time.Duration(random.IntN(1e9)))}
		if random.IntN(3) > 0 {
			e.Target, e.PID = &target, &pid
		}
		all[session] = append(all[session], e)
		return models.Incoming{Event: e}
	}
	sessions := []string{"alone", "with gap", "third"}
	const total = 3*models.SegmentEvents + 100
	for next["third"] < total {
		var batch models.Batch
		session := sessions[random.IntN(len(sessions))]
		if next[session] >= total {
			continue
		}
		for range 1 + random.IntN(300) {
			batch.Events = append(batch.Events, event(session))
		}
		repeated := random.IntN(10) == 0
		a.Published([]models.Batch{batch}, []models.Receipt{{}})
		if repeated {
			a.Published([]models.Batch{batch}, []models.Receipt{{Repeated: true}})
		}
		if session == "with gap" && next[session] > models.SegmentEvents+1000 && next[session] < models.SegmentEvents+1300 {
			event(session) // another backend stored it
		}
	}
	made := map[string][]int64{}
	for _, s := range a.take() {
		made[s.sessionID] = append(made[s.sessionID], s.number)
		want := &segment.Columns{}
		first := s.number * models.SegmentEvents
		for i := range models.SegmentEvents {
			want.Append(&all[s.sessionID][first+int64(i)])
		}
		if !reflect.DeepEqual(&s.columns, want) {
			t.Errorf("segment %d of the session %s has other events", s.number, s.sessionID)
		}
	}
	for session, numbers := range made {
		for i, number := range numbers {
			if i > 0 && number <= numbers[i-1] {
				t.Errorf("the session %s has the segments %v", session, numbers)
			}
		}
	}
	if len(made["third"]) != 3 || len(made["with gap"]) < 1 || len(a.take()) > 0 {
		t.Errorf("%v are made", made)
	}
}

// TestArrivalsAreBounded checks that the events of very many sessions, and very long
// ones, take bounded memory, and that their number is right afterwards.
func TestArrivalsAreBounded(t *testing.T) {
	a := newArrivals()
	long := string(make([]byte, 1<<20))
	for i := range 2000 {
		e := models.Event{SessionID: fmt.Sprint(i), Seq: 1, EventType: "t", Target: &long}
		a.Published([]models.Batch{{Events: []models.Incoming{{Event: e}}}}, []models.Receipt{{}})
		if a.bytes > maxArrived || len(a.begun) > 30 {
			t.Fatalf("%d sessions take %d bytes", len(a.begun), a.bytes)
		}
	}
	sum := 0
	for _, s := range a.begun {
		sum += s.bytes
	}
	if sum != a.bytes {
		t.Errorf("%d bytes are counted, there are %d", a.bytes, sum)
	}
}
