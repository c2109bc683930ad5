package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/testbed"
)

// ruleScenarios apply all rules to events: those of OS-Pulse, and those of REFEREE_DIR/sigma
// if it is set. Their goals are those of issue 16.
func ruleScenarios(dialect string) []scenario {
	batch := recordedLoad{corpus: programEvents, path: batchPath, events: largeBatch, connections: 4, settings: ruleSettings()}
	return []scenario{
		{name: "rules, stored events", unit: anEvent, measure: applyingRules, goals: goals{minPerSecond: 100_000}},
		{name: "rules, live at 5000/s", unit: anEvent, measure: findingLive, goals: goals{maxP99: 500 * time.Millisecond}},
		{
			name: "rules, real batch 1000 c=4", unit: anEvent, measure: batch.storing,
			against: []comparison{{limit: batch.withoutRules("real batch 1000 c=4, all rules off", dialect), min: 0.95}},
		},
	}
}

// withoutRules is limit with all rules turned off.
func (r recordedLoad) withoutRules(name, dialect string) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		load, err := r.load(l)
		if err != nil {
			return figures{}, err
		}
		m, err := storingAfter(turnRulesOff, load, r.settings...)(ctx, l, dialect)
		return figures{perSecond: m.PerSecond}, err
	}}
}

// turnRulesOff turns all rules of a backend off in its database, and waits until it has noticed.
func turnRulesOff(ctx context.Context, s store, url string) (err error) {
	db, err := database.Open(ctx, s.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	until := time.Now().Add(time.Minute)
	for isDone := false; ; {
		status, answer, err := send(ctx, http.MethodGet, url+"/api/rules", "", nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("the rules are answered %d: %s (%w)", status, answer, err)
		}
		var list struct {
			Rules []struct {
				ID      string `json:"rule_id"`
				Enabled bool   `json:"enabled"`
			} `json:"rules"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return err
		}
		on := 0
		for _, rule := range list.Rules {
			if !rule.Enabled {
				continue
			}
			on++
			if isDone {
				continue
			}
			if err := repository.NewRules(db).SetOff(ctx, rule.ID, true); err != nil {
				return err
			}
		}
		if isDone = len(list.Rules) > 0; isDone && on == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("after a minute %d of %d rules are on", on, len(list.Rules))
		}
		at(ctx, time.Now().Add(100*time.Millisecond), nil)
	}
}

// ruleSettings are the settings of a backend with all rules.
func ruleSettings() []string {
	if dir := os.Getenv("REFEREE_DIR"); dir != "" {
		return []string{"RULES_DIR=" + filepath.Join(dir, "sigma")}
	}
	return nil
}

// applyingRules measures how fast all rules are applied to a stored and sealed session again,
// because a rule is new.
func applyingRules(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
	a, err := l.archive(ctx, archiveKey{dialect, sealedArchive})
	if err != nil {
		return m, err
	}
	return m, l.withBackend(ctx, a.store, func(backend *testbed.Process) error {
		if err := awaitRules(ctx, backend.URL, a.measured.id, a.measured.events); err != nil {
			return err
		}
		rule := fmt.Sprintf("title: Rule of a benchmark %d\nlogsource: {product: linux, category: process_creation}\ndetection:\n  selection: {Image|endswith: /%d}\n  condition: selection\n", time.Now().UnixNano(), time.Now().UnixNano())
		began := time.Now()
		status, answer, err := send(ctx, http.MethodPost, backend.URL+"/api/rules", "application/yaml", []byte(rule))
		if err != nil || status != http.StatusCreated {
			return fmt.Errorf("a new rule is answered %d: %s (%w)", status, answer, err)
		}
		// The findings of the old rules stay until the backend has read the new one.
		for isOld := true; isOld; {
			list, err := foundIn(ctx, backend.URL, a.measured.id)
			if err != nil {
				return err
			}
			isOld = list.UpTo >= a.measured.events && time.Since(began) < time.Minute
		}
		if err := awaitRules(ctx, backend.URL, a.measured.id, a.measured.events); err != nil {
			return err
		}
		took := time.Since(began)
		m = measurement{PerSecond: float64(a.measured.events) / took.Seconds(), PeakMB: testbed.Megabytes(testbed.PeakBytes(backend.Pid))}
		return nil
	}, ruleSettings()...)
}

// send sends a request and returns the answer.
func send(ctx context.Context, method, url, contentType string, body []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	return response.StatusCode, text.Bytes(), err
}

// foundList is an answer about the findings of a session.
type foundList struct {
	Findings []struct {
		RuleID string `json:"rule_id"`
		Events int64  `json:"events"`
	} `json:"findings"`
	UpTo int64 `json:"up_to_seq"`
}

// foundIn returns the findings of a session.
func foundIn(ctx context.Context, url, sessionID string) (list foundList, err error) {
	status, answer, err := send(ctx, http.MethodGet, url+"/api/sessions/"+sessionID+"/findings", "", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the findings are answered %d: %s", status, answer)
	}
	if err != nil {
		return list, err
	}
	return list, json.Unmarshal(answer, &list)
}

// awaitRules waits until the rules have been applied to all events of a session.
func awaitRules(ctx context.Context, url, sessionID string, events int64) error {
	for until := time.Now().Add(10 * time.Minute); ; {
		list, err := foundIn(ctx, url, sessionID)
		if err != nil || list.UpTo >= events {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("after ten minutes the rules have been applied to %d of %d events", list.UpTo, events)
		}
		at(ctx, time.Now().Add(5*time.Millisecond), nil)
	}
}

const (
	liveBatch    = 500 // events of a request, ten a second
	secretRead   = "5f0f7c0e-2d0e-4b57-9a0c-6c6a4c1d0a01"
	secretsFile  = "/etc/shadow"
	liveInterval = 100 * time.Millisecond
)

// findingLive measures the time from the request with an event to its finding in the API,
// while 5,000 real events a second arrive.
func findingLive(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
	c, err := programEvents(l)
	if err != nil {
		return m, err
	}
	return m, l.withStore(ctx, dialect, func(s store) error {
		return l.withBackend(ctx, s, func(backend *testbed.Process) error {
			var latencies histogram
			rounds := max(20, int(10*l.time/liveInterval))
			posted := make([]time.Time, rounds)
			seen := make(chan error, 1)
			began := time.Now()
			var mu sync.Mutex
			go func() {
				for round := range rounds {
					err := awaitFinding(ctx, backend.URL, int64(round+1))
					if err != nil {
						seen <- err
						return
					}
					mu.Lock()
					latencies.add(time.Since(posted[round]))
					mu.Unlock()
				}
				seen <- nil
			}()
			var text []byte
			for round := range rounds {
				at(ctx, began.Add(time.Duration(round)*liveInterval), nil)
				text = c.appendReal(text[:0], int64(round*liveBatch), int64((round+1)*liveBatch-1))
				text = fmt.Appendf(text, `{"event_type":"file_operation","timestamp":%q,"source":"os-pulse-agent","data":{"operation":"OpenFile","filePath":%q,"status":0,"metadata":{"processName":"cat","processId":7}}}`+"\n", models.FormatTime(time.Now()), secretsFile)
				mu.Lock()
				posted[round] = time.Now()
				mu.Unlock()
				status, answer, err := send(ctx, http.MethodPost, backend.URL+batchPath, "application/x-ndjson", text)
				if err != nil || status != http.StatusOK {
					return fmt.Errorf("events are answered %d: %s (%w)", status, answer, err)
				}
			}
			if err := <-seen; err != nil {
				return err
			}
			m = measurement{
				PerSecond: liveBatch / liveInterval.Seconds(), P50Millis: millis(latencies.percentile(0.5)), P99Millis: millis(latencies.percentile(0.99)),
				PeakMB: testbed.Megabytes(testbed.PeakBytes(backend.Pid)),
			}
			return nil
		}, ruleSettings()...)
	})
}

// awaitFinding waits until a number of events is found that read the machine's secrets.
func awaitFinding(ctx context.Context, url string, events int64) error {
	for until := time.Now().Add(time.Minute); ; {
		list, err := foundIn(ctx, url, models.UnassignedID)
		if err != nil {
			return err
		}
		for _, f := range list.Findings {
			if f.RuleID == secretRead && f.Events >= events {
				return nil
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("event %d is not found after a minute", events)
		}
		at(ctx, time.Now().Add(2*time.Millisecond), nil)
	}
}
