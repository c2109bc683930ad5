package bundle

import (
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"ospulse/internal/models"
)

// bundledFinding is what a rule found, in a bundle.
type bundledFinding struct {
	RuleID      string      `json:"rule_id"`
	Version     string      `json:"rule_version"`
	Title       string      `json:"title"`
	Level       string      `json:"level"`
	Tags        []string    `json:"tags"`
	Author      string      `json:"author"`
	License     string      `json:"license"`
	Events      int64       `json:"events"`
	Failed      int64       `json:"failed_count,omitempty"` // 0 before version 5
	Seqs        []int64     `json:"seqs"`
	FirstAt     bundledTime `json:"first_at"`
	LastAt      bundledTime `json:"last_at"`
	PID         *int64      `json:"pid"`
	ProcessName *string     `json:"process_name"`
	Target      *string     `json:"target"`
	RootPath    *string     `json:"root_path,omitempty"` // nil before version 6
}

func newBundledFinding(f *models.Finding) bundledFinding {
	return bundledFinding{
		RuleID: f.RuleID, Version: f.Version, Title: f.Title, Level: f.Level, Tags: orEmpty(f.Tags), Author: f.Author, License: f.License,
		Events: f.Count, Failed: f.Failed, Seqs: f.Seqs, FirstAt: bundledTime(f.FirstAt), LastAt: bundledTime(f.LastAt),
		PID: f.PID, ProcessName: f.ProcessName, Target: f.Target, RootPath: f.RootPath,
	}
}

// upTo returns findings in the events up to a seq, by rule. Later events of an active session
// are not part of its bundle. Of more than MaxFindingSeqs events, the later ones still count.
// The finding does not say which of its events failed: if some did, upTo counts those that
// cannot be later ones.
func upTo(found []models.Finding, seq int64) []models.Finding {
	var some []models.Finding
	for _, f := range found {
		kept, _ := slices.BinarySearch(f.Seqs, seq+1)
		if kept == 0 {
			continue
		}
		if kept < len(f.Seqs) {
			later := f.Count - int64(kept)
			f.Seqs, f.Count, f.Failed = f.Seqs[:kept], int64(kept), max(f.Failed-later, 0)
		}
		some = append(some, f)
	}
	slices.SortFunc(some, func(a, b models.Finding) int { return strings.Compare(a.RuleID, b.RuleID) })
	return some
}

// Findings reads the findings in pages that fit into memory. The iteration ends with an error
// if they are out of order or name events that the session does not have. It does not set
// their SessionID.
func (b *Bundle) Findings() iter.Seq2[[]models.Finding, error] {
	if b.manifest.Version < versionOfFindings {
		return func(func([]models.Finding, error) bool) {}
	}
	last := ""
	return readLines(b, findingsEntry, b.limits.MaxLineBytes, b.manifest.Findings, func(line []byte) (models.Finding, error) {
		var read bundledFinding
		if err := decodeStrictly(line, &read); err != nil {
			return models.Finding{}, err
		}
		f, err := read.finding(b.Session.EventCount)
		if err == nil && f.RuleID <= last {
			err = invalid("rule_id %q does not come after the one before it", f.RuleID)
		}
		last = f.RuleID
		return f, err
	})
}

// finding returns a finding of the bundle, or invalid with the reason. The session has the
// events from 1 to eventCount.
func (b *bundledFinding) finding(eventCount int64) (models.Finding, error) {
	texts := []text{
		{"rule_id", b.RuleID, 255}, {"rule_version", b.Version, 64}, {"title", b.Title, maxNotesLen}, {"author", b.Author, maxNotesLen}, {"license", b.License, maxNotesLen},
	}
	for _, tag := range b.Tags {
		texts = append(texts, text{"tags", tag, maxNotesLen})
	}
	for name, value := range map[string]*string{"process_name": b.ProcessName, "target": b.Target, "root_path": b.RootPath} {
		if value != nil {
			texts = append(texts, text{name, *value, math.MaxInt}) // as long as that of its event
		}
	}
	if err := checkTexts(texts); err != nil {
		return models.Finding{}, err
	}
	most := min(b.Events, models.MaxFindingSeqs)
	switch {
	case b.RuleID == "":
		return models.Finding{}, invalid("rule_id is empty")
	case models.LevelRank(b.Level) == 0:
		return models.Finding{}, invalid("level must be informational, low, medium, high or critical, not %.100q", b.Level)
	case len(b.Tags) > maxTags:
		return models.Finding{}, invalid("tags has %d of them; at most %d are taken", len(b.Tags), maxTags)
	case len(b.Seqs) == 0 || int64(len(b.Seqs)) > most:
		return models.Finding{}, invalid("seqs must have from 1 to %d numbers for %d events, not %d", max(most, 1), b.Events, len(b.Seqs))
	case b.Failed < 0 || b.Failed > b.Events:
		return models.Finding{}, invalid("failed_count must be from 0 to %d, the number of events, not %d", b.Events, b.Failed)
	case time.Time(b.LastAt).Before(time.Time(b.FirstAt)):
		return models.Finding{}, invalid("last_at is before first_at")
	}
	for i, seq := range b.Seqs {
		if seq < 1 || seq > eventCount || i > 0 && seq <= b.Seqs[i-1] {
			return models.Finding{}, invalid("seqs must rise from 1 to %d at most; %d does not", eventCount, seq)
		}
	}
	return models.Finding{
		RuleID: b.RuleID, Version: b.Version, Title: b.Title, Level: b.Level, Tags: b.Tags, Author: b.Author, License: b.License,
		Count: b.Events, Failed: b.Failed, Seqs: b.Seqs, FirstAt: time.Time(b.FirstAt), LastAt: time.Time(b.LastAt),
		PID: b.PID, ProcessName: b.ProcessName, Target: b.Target, RootPath: b.RootPath,
	}, nil
}
