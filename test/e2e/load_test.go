package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ospulse/test/wait"
)

// load sends numbered events from many clients until it is stopped, and records the
// answers.
type load struct {
	stop    context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	acked   map[string]bool // answered with 200 or 202
	failed  map[int]int     // other answers by status; 0 is a failed connection
	spooled int             // number of acked requests that were answered with 202
	cut     []error         // requests that were sent and not answered
}

// startLoad starts clients that send events with round in their names.
func startLoad(url string, round, clients int) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop, acked: map[string]bool{}, failed: map[int]int{}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	for c := range clients {
		l.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				names := []string{fmt.Sprintf("%d-%d-%d", round, c, n)}
				path, body := "/api/events", `{"event_type":"x","source":"`+names[0]+`","data":{"a":"\u0000"}}`
				if n%4 == 3 { // a batch, which is stored whole or not at all
					names = append(names, names[0]+"+")
					path, body = "/api/events/batch", `[{"event_type":"x","source":"`+names[0]+`"},{"event_type":"x","source":"`+names[1]+`"}]`
				}
				l.note(names, l.post(client, url+path, body))
			}
		})
	}
	return l
}

// answered is the outcome of one request: its status or its error.
type answered struct {
	status int
	err    error
}

func (l *load) post(client *http.Client, url, body string) answered {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return answered{err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return answered{err: err}
	}
	_, err = io.Copy(io.Discard, response.Body)
	return answered{response.StatusCode, errors.Join(err, response.Body.Close())}
}

func (l *load) note(names []string, a answered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.err != nil && !errors.Is(a.err, syscall.ECONNREFUSED):
		l.cut = append(l.cut, a.err)
	case a.err == nil && (a.status == http.StatusOK || a.status == http.StatusAccepted):
		if a.status == http.StatusAccepted {
			l.spooled++
		}
		for _, name := range names {
			l.acked[name] = true
		}
	default:
		l.failed[a.status]++
	}
}

// count returns the number of acknowledged events so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// waitFor waits until n more events are acknowledged.
func (l *load) waitFor(t *testing.T, n int) {
	t.Helper()
	n += l.count()
	wait.For(t, "acknowledged events", func() bool { return l.count() >= n })
}

// end stops the clients and waits for their last answers.
func (l *load) end() *load {
	l.stop()
	l.wg.Wait()
	return l
}

// wantStored checks that every acknowledged event is stored once, that no event is
// duplicated, and that the numbers have no gaps.
func wantStored(t *testing.T, b *backend, loads ...*load) {
	t.Helper()
	waitForDrain(t, b)
	times := map[string]int{}
	for i, e := range b.export("unassigned") {
		times[e.Source]++
		if e.Seq != int64(i+1) {
			t.Fatalf("event %d has seq %d", i+1, e.Seq)
		}
		if times[e.Source] > 1 {
			t.Errorf("%s is stored %d times", e.Source, times[e.Source])
		}
		if half := strings.TrimSuffix(e.Source, "+"); half != e.Source && times[half] == 0 {
			t.Errorf("half of a batch is stored: %s", e.Source)
		}
	}
	total := 0
	for _, l := range loads {
		for name := range l.acked {
			if total++; times[name] != 1 {
				t.Errorf("%s was acknowledged and is stored %d times", name, times[name])
			}
		}
	}
	t.Logf("%d events were acknowledged, %d are stored", total, len(times))
}
