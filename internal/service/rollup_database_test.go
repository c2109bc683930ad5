package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/internal/wire"
	"ospulse/test/dbtest"
)

// rollupEvents returns recorded and synthetic events of files and packets, in random
// order.
func rollupEvents(t testing.TB, random *rand.Rand) (events []models.Incoming) {
	t.Helper()
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	for _, name := range []string{"net_events", "controller_events"} {
		content, err := os.ReadFile(filepath.Join("../../test/testdata/fixtures", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(content) {
			var r struct{ Method, Path, Body string }
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			switch r.Path {
			case "/api/net/events":
				packets, _, err := wire.Packets([]byte(r.Body), at)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, packets...)
			case "/api/events":
				in, err := wire.Event([]byte(r.Body), at)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, in)
			}
		}
	}
	recordings, err := filepath.Glob("../analysis/testdata/agent/*.ndjson")
	if err != nil || len(recordings) == 0 {
		t.Fatal(recordings, err)
	}
	for _, name := range recordings {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(content) {
			in, err := wire.Event(line, at)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, in)
		}
	}
	for i := range 300 {
		for eventType, data := range map[string]string{
			models.TypeNetwork: fmt.Sprintf(`{"operation":%q,"protocol":"tcp","src":"10.0.0.5","src_port":%d,"dst":"192.0.2.%d","dst_port":443,"bytesTransferred":%d,"metadata":{"processId":%d,"processName":"a.exe"}}`,
				[]string{"Send", "Receive", "Connect"}[i%3], 4000+i%7, i%5, i, i%3),
			models.TypeFile: fmt.Sprintf(`{"operation":%q,"filePath":"/tmp/%d","newFilePath":"/tmp/new%d","bytesTransferred":%d,"flags":"O_CREAT","status":%d,"content":%q,"metadata":{"processId":%d}}`,
				[]string{"ReadFile", "RenameFile", "OpenFile", "CopyFile"}[i%4], i%40, i, i, -(i % 2), strings.Repeat("AB ", i*20), i%3),
		} {
			in, err := wire.Event([]byte(`{"event_type":"`+eventType+`","data":`+data+`}`), at)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, in)
		}
	}
	for _, data := range []string{`{"src":"\ud800","dst":"a","src_port":1.0}`, `{"src":"\u0000","dst":"\ufffd","src_port":"1"}`, `{"src":"a","src":"b","dst":"c"}`, `[1]`, `null`, `{"src":"quote\"\\'","dst":"é*?"}`,
		`{"protocol":"DNS","src":"10.0.0.1","dst":"10.0.0.5","src_port":53,"dst_port":4000,"info_raw":"Standard query response 0x1 A c2.example A 192.0.2.1"}`} {
		in, err := wire.Event([]byte(`{"event_type":"raw_network_operation","data":`+data+`}`), at)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, in)
	}
	random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for i := range events {
		events[i].SessionID, events[i].RequestHint = "s", "s"
	}
	return events
}

// TestRollupsOfADatabase checks that an incremental rollup equals one made at once,
// whatever is requested in between, and that each conversation's filter selects exactly
// its events, in the database too.
func TestRollupsOfADatabase(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
		sessions, events := repository.NewSessions(db), repository.NewEvents(db)
		file := &models.TargetFile{SHA256: strings.Repeat("0", 64)}
		if err := sessions.Create(t.Context(), &models.Session{ID: "s", FileSHA256: &file.SHA256}, file, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		filters := []*filter.Filter{nil}
		for _, text := range []string{"pid = 1", "data.bytesTransferred > 100", "not target contains /tmp and seq > 100", "data.dst_port = 443 or process: explorer.exe"} {
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			filters = append(filters, where)
		}
		type answers struct {
			Files         []analysis.FilePage
			Conversations []analysis.ConversationPage
		}
		ask := func(s *service.Rollups, where *filter.Filter) (a answers) {
			for _, sort := range analysis.FileSorts() {
				page, _, err := s.Files(t.Context(), "s", where, nil, sort, nil, 1000)
				if err != nil {
					t.Fatal(err)
				}
				a.Files = append(a.Files, page)
			}
			for _, sort := range analysis.ConversationSorts() {
				page, _, err := s.Conversations(t.Context(), "s", where, sort, nil, 1000)
				if err != nil {
					t.Fatal(err)
				}
				a.Conversations = append(a.Conversations, page)
			}
			return a
		}
		kept := service.NewRollups(events, sessions, 64<<20)
		all := rollupEvents(t, random)
		for rest := all; len(rest) > 0; {
			n := min(1+random.IntN(400), len(rest))
			if _, err := events.Append(t.Context(), models.Group{Batches: []models.Batch{{Events: rest[:n]}}}); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			ask(kept, filters[random.IntN(len(filters))])
		}
		for _, where := range filters {
			got, want := ask(kept, where), ask(service.NewRollups(events, sessions, 64<<20), where)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("filter %q: made bit by bit\n%+v\nat once\n%+v", where, got, want)
			}
			if len(want.Files[0].Files) == 0 || len(want.Conversations[0].Conversations) == 0 && where != filters[3] {
				t.Errorf("filter %q selects nothing", where)
			}
		}
		page := ask(kept, nil).Conversations[0]
		total, named := int64(0), false
		for _, c := range page.Conversations {
			where, err := filter.Parse(c.Filter)
			if err != nil {
				t.Fatal(c.Filter, err)
			}
			n, err := events.Count(t.Context(), "s", where, models.EventPage{})
			if total += n; err != nil || n != c.Packets+c.Calls+c.Errors {
				t.Errorf("%s selects %d events, want %d: %v", c.Filter, n, c.Packets+c.Calls+c.Errors, err)
			}
			named = named || slices.Equal(c.Hosts, []string{"c2.example"}) && c.Remote.Host == "192.0.2.1"
		}
		where, err := filter.Parse("type in (raw_network_operation, network_operation)")
		if err != nil {
			t.Fatal(err)
		}
		n, err := events.Count(t.Context(), "s", where, models.EventPage{})
		if err != nil || total+page.Others+page.WithoutAddress+page.WithoutRemote != n || page.WithoutAddress < 7 || !named {
			t.Errorf("%d of %d events are in conversations, %d are others, %d without an address, %v; a name is known: %t", total, n, page.Others, page.WithoutAddress, err, named)
		}
		if some, _, err := kept.Conversations(t.Context(), "s", filters[1], analysis.ConversationsByBytes, nil, 1000); err != nil || !slices.ContainsFunc(some.Conversations, func(c analysis.Conversation) bool { return c.Hosts != nil }) {
			t.Errorf("with a filter no name is known: %v", err)
		}
	})
}

// BenchmarkRollups measures a session of a million events, half of them of files and
// half packets: the first rollup, and an update after 10,000 more events.
func BenchmarkRollups(b *testing.B) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		b.Run(name, func(b *testing.B) {
			db := dbtest.Open(b, options(b))
			sessions, events := repository.NewSessions(db), repository.NewEvents(db)
			file := &models.TargetFile{SHA256: strings.Repeat("0", 64)}
			if err := sessions.Create(b.Context(), &models.Session{ID: "s", FileSHA256: &file.SHA256}, file, func() error { return nil }); err != nil {
				b.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			for range 100 {
				appendMixed(b, events, random, 10_000)
			}
			warm := service.NewRollups(events, sessions, 64<<20)
			all := func(s *service.Rollups, files, conversations bool) {
				if files {
					if _, _, err := s.Files(b.Context(), "s", nil, nil, analysis.FilesByEvents, nil, 200); err != nil {
						b.Fatal(err)
					}
				}
				if conversations {
					if _, _, err := s.Conversations(b.Context(), "s", nil, analysis.ConversationsByBytes, nil, 200); err != nil {
						b.Fatal(err)
					}
				}
			}
			all(warm, true, true)
			b.Run("files/first", func(b *testing.B) {
				for b.Loop() {
					all(service.NewRollups(events, sessions, 64<<20), true, false)
				}
			})
			b.Run("conversations/first", func(b *testing.B) {
				for b.Loop() {
					all(service.NewRollups(events, sessions, 64<<20), false, true)
				}
			})
			b.Run("files/kept", func(b *testing.B) {
				for b.Loop() {
					all(warm, true, false)
				}
			})
			b.Run("conversations/kept", func(b *testing.B) {
				for b.Loop() {
					all(warm, false, true)
				}
			})
			for of, conversations := range map[string]bool{"files": false, "conversations": true} {
				b.Run(of+"/10000 more", func(b *testing.B) {
					for range b.N {
						b.StopTimer()
						appendMixed(b, events, random, 10_000)
						b.StartTimer()
						all(warm, !conversations, conversations)
					}
				})
			}
		})
	}
}

// appendMixed stores events of 20,000 paths and 5000 connections.
func appendMixed(b *testing.B, events *repository.Events, random *rand.Rand, n int) {
	b.Helper()
	batch := models.Batch{Events: make([]models.Incoming, n)}
	content := strings.Repeat("AB ", 80)
	for i := range batch.Events {
		var body string
		if i%2 == 0 {
			body = fmt.Sprintf(`{"event_type":"file_operation","data":{"operation":%q,"filePath":"C:\\Users\\someone\\AppData\\Local\\x%d.dll","bytesTransferred":4096,"content":%q,"metadata":{"processId":%d,"processName":"a.exe"}}}`,
				[]string{"ReadFile", "WriteFile"}[random.IntN(2)], random.IntN(20_000), content, random.IntN(24))
		} else {
			connection := random.IntN(5000)
			body = fmt.Sprintf(`{"event_type":"raw_network_operation","data":{"timestamp":1795374137.9,"frame_number":%d,"protocol":"TLSv1.3","src":"10.0.0.5","dst":"192.0.2.%d","src_port":%d,"dst_port":443,"length":1400,"info":%q,"info_raw":"Application Data"}}`,
				i, connection%200, 40_000+connection, content)
		}
		in, err := wire.Event([]byte(body), time.Now())
		if err != nil {
			b.Fatal(err)
		}
		in.RequestHint = "s"
		batch.Events[i] = in
	}
	if _, err := events.Append(b.Context(), models.Group{Batches: []models.Batch{batch}}); err != nil {
		b.Fatal(err)
	}
}
