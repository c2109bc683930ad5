package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// receipt is the answer to a batch.
type receipt struct {
	Status string
	Stored int
	Ranges []struct {
		SessionID string `json:"session_id"`
		First     int64  `json:"first_seq"`
		Last      int64  `json:"last_seq"`
	}
	Errors []struct {
		Index int
		Error string
	}
}

// batch posts a batch and requires 200.
func (b *backend) batch(body string, header ...string) (r receipt) {
	b.t.Helper()
	b.decode(b.send("POST", "/api/events/batch", body, header...), http.StatusOK, &r)
	return r
}

func gzipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	io.WriteString(w, text) //nolint:errcheck // into memory
	w.Close()
	return out.String()
}

func zstandard(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

func TestBatch(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		good := `{"event_type":"good","source":"a","data":{"n":1}}`
		for name, tt := range map[string]struct {
			body   string
			header []string
		}{
			"array":             {"[" + good + "," + good + "]", nil},
			"lines":             {good + "\n\n" + good + "\r\n", []string{"Content-Type: application/x-ndjson"}},
			"lines as JSON":     {good + "\n" + good, nil},
			"gzip":              {gzipped("[" + good + "," + good + "]"), []string{"Content-Encoding: gzip"}},
			"zstd":              {zstandard(t, good+"\n"+good), []string{"Content-Encoding: zstd", "Content-Type: application/x-ndjson"}},
			"no encoding, said": {good + "\n" + good, []string{"Content-Encoding: identity"}},
		} {
			if r := b.batch(tt.body, tt.header...); r.Stored != 2 || len(r.Ranges) != 1 || r.Ranges[0].Last-r.Ranges[0].First != 1 || r.Errors != nil {
				t.Errorf("%s: got %+v", name, r)
			}
		}
		for name, body := range map[string]string{
			"array": "[1," + good + `,{"event_type":null},` + good + "]",
			"lines": "x\n" + good + "\n" + `{"event_type":null}` + "\n" + good,
		} {
			r := b.batch(body)
			if r.Stored != 2 || len(r.Errors) != 2 || r.Errors[0].Index != 0 || r.Errors[1].Index != 2 || !strings.Contains(r.Errors[1].Error, "event_type") {
				t.Errorf("%s with bad items: got %+v", name, r)
			}
		}
		if r := b.batch("[]"); r.Stored != 0 || r.Ranges == nil {
			t.Errorf("an empty batch got %+v", r)
		}
		for name, tt := range map[string]struct {
			status int
			body   string
			header []string
		}{
			"nothing":           {400, " \n ", nil},
			"cut array":         {400, "[" + good, nil},
			"only bad items":    {400, "[1,2]", nil},
			"over the limit":    {413, "[" + strings.Repeat("1,", 10_000) + good + "]", nil},
			"not gzip":          {400, good, []string{"Content-Encoding: gzip"}},
			"cut gzip":          {400, gzipped(good)[:20], []string{"Content-Encoding: gzip"}},
			"not zstd":          {400, good, []string{"Content-Encoding: zstd"}},
			"unknown encoding":  {415, good, []string{"Content-Encoding: br"}},
			"another type":      {415, good, []string{"Content-Type: text/csv"}},
			"a key of controls": {400, good, []string{"Idempotency-Key: a\tb"}},
			"a long key":        {400, good, []string{"Idempotency-Key: " + strings.Repeat("k", 256)}},
		} {
			if a := b.send("POST", "/api/events/batch", tt.body, tt.header...); a.status != tt.status || !strings.HasPrefix(string(a.body), `{"error":"`) {
				t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, tt.status)
			}
		}
		if n := len(b.export("unassigned")); n != 16 {
			t.Errorf("%d events are stored, want 16", n)
		}
	})
}

// TestDecompressionBombsAreRefused checks that a gigabyte compressed to a megabyte or
// less is refused and not held in memory.
func TestDecompressionBombsAreRefused(t *testing.T) {
	p := command(t, nil)
	p.start(t)
	b := &backend{t: t, url: p.url}
	// The heap memory obtained from the system never shrinks, so it is the peak.
	heap := func() float64 {
		for line := range strings.Lines(string(b.send("GET", "/metrics", "").body)) {
			if value, ok := strings.CutPrefix(line, "go_memstats_heap_sys_bytes "); ok {
				bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				if err != nil {
					t.Fatal(err)
				}
				return bytes
			}
		}
		t.Fatal("no figure for the heap")
		return 0
	}
	before := heap()
	for encoding, body := range map[string]string{"gzip": gzipBomb(t), "zstd": zstdBomb(t)} {
		if a := b.send("POST", "/api/events/batch", body, "Content-Encoding: "+encoding); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %d %s", encoding, a.status, a.body)
		}
		grown := (heap() - before) / (1 << 20)
		t.Logf("%s: the heap grew by %.0f MB", encoding, grown)
		if grown > 64 {
			t.Error("that is too much")
		}
	}
	endWith(t, p, syscall.SIGTERM)
}

// gzipBomb returns a gigabyte of spaces in a megabyte: one member of 4 MB, 256 times.
func gzipBomb(t *testing.T) string {
	t.Helper()
	return strings.Repeat(gzipped(strings.Repeat(" ", 4<<20)), 256)
}

// zstdBomb returns the same in zstd frames.
func zstdBomb(t *testing.T) string {
	t.Helper()
	return strings.Repeat(zstandard(t, strings.Repeat(" ", 4<<20)), 256)
}

// TestIdempotencyKey checks that a repeated request gets the first answer and stores
// nothing, on every endpoint, also after a restart and on another backend.
func TestIdempotencyKey(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		requests := map[string]string{
			"/api/events":        `{"event_type":"x"}`,
			"/api/events/events": `{"event_type":"x"}`,
			"/api/events/batch":  `[{"event_type":"x"},1,{"event_type":"y"}]`,
			"/api/http/events":   `{"request":{"method":"GET"}}`,
			"/api/net/events":    `{"events":[{"a":1},2]}`,
		}
		first := map[string]string{}
		for path, body := range requests {
			a := b.send("POST", path, body, "Idempotency-Key: key of "+path)
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, a.status, a.body)
			}
			first[path] = string(a.body)
		}
		again := func() {
			t.Helper()
			for path, body := range requests {
				if a := b.send("POST", path, body, "Idempotency-Key: key of "+path); string(a.body) != first[path] {
					t.Errorf("%s got %s again as %d %s", path, first[path], a.status, a.body)
				}
			}
			if n := len(b.export("")); n != 6 {
				t.Errorf("%d events are stored, want 6", n)
			}
		}
		again()
		b.stop()
		b = startBackend(t, env)
		again()
		if a := b.send("POST", "/api/events", `{"event_type":"another"}`, "Idempotency-Key: key of /api/events"); a.status != http.StatusConflict {
			t.Errorf("another event under a used key got %d %s", a.status, a.body)
		}
		other := startBackend(t, env) // a replica
		var mu sync.Mutex
		answers := map[string]bool{}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				asked := []*backend{b, other}[i%2]
				a, err := asked.trySend("POST", "/api/events/batch", `[{"event_type":"once"}]`, "Idempotency-Key: at once")
				if err != nil || a.status != http.StatusOK {
					t.Errorf("%v: %d %s", err, a.status, a.body)
				}
				mu.Lock()
				answers[string(a.body)] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		if n := len(b.export("")); n != 7 || len(answers) != 1 {
			t.Errorf("%d events are stored, want 7; answers %v", n, answers)
		}
	})
}

// TestReceiptsAreTrue checks that the events of many concurrent batches have the
// numbers of their receipts.
func TestReceiptsAreTrue(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		var mu sync.Mutex
		want := map[int64]string{}
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				for i := range 10 {
					var lines []string
					for j := range 5 {
						lines = append(lines, fmt.Sprintf(`{"event_type":"x","source":"%d-%d-%d"}`, w, i, j))
					}
					a, err := b.trySend("POST", "/api/events/batch", strings.Join(lines, "\n"))
					if err != nil || a.status != http.StatusOK {
						t.Errorf("%v %d %s", err, a.status, a.body)
						return
					}
					var r receipt
					b.decode(a, http.StatusOK, &r)
					mu.Lock()
					for j := range int64(5) {
						want[r.Ranges[0].First+j] = fmt.Sprintf("%d-%d-%d", w, i, j)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		got := map[int64]string{}
		for _, e := range b.export("") {
			got[e.Seq] = e.Source
		}
		if len(got) != 1000 || !reflect.DeepEqual(got, want) {
			t.Errorf("%d events are stored, of 1000, or under other numbers than the receipts say", len(got))
		}
	})
}
