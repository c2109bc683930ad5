package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// SessionFindings lists what rules found in a session. *Detection implements it.
type SessionFindings interface {
	Findings(ctx context.Context, sessionID string) (Findings, error)
}

// RuleLister lists the rules. *Rules implements it.
type RuleLister interface {
	List() []detect.Rule
}

// Stories tells what happened in a session. It is safe for concurrent use.
type Stories struct {
	rollups  *Rollups
	findings SessionFindings
	rules    RuleLister
	events   EventReader
}

// NewStories returns the service.
func NewStories(rollups *Rollups, findings SessionFindings, rules RuleLister, events EventReader) *Stories {
	return &Stories{rollups, findings, rules, events}
}

// Story is the story of a session up to an event.
type Story struct {
	analysis.Told
	Findings []models.Finding // that the steps name by place
	UpTo     int64            // the Seq of the last event that the story includes
	RulesTo  int64            // the Seq of the last event to which the rules have been applied
	Total    int64            // the session's events
}

const (
	storyEvents  = 8   // of a finding that are read
	storyMost    = 400 // events of all findings
	storyReading = 200 * time.Millisecond
)

// Story returns the story of a session. If the events take longer than storyReading to read, it is
// the story of the first ones, and the next call continues.
func (s *Stories) Story(ctx context.Context, sessionID string) (story Story, err error) {
	found, err := s.findings.Findings(ctx, sessionID)
	if err != nil {
		return story, err
	}
	story = Story{Findings: found.Findings, RulesTo: found.UpTo, Total: found.Total}
	events, err := s.eventsOf(ctx, sessionID, found.Findings)
	if err != nil {
		return story, err
	}
	sentences := map[string]string{}
	for _, r := range s.rules.List() {
		if r.Err == nil {
			sentences[r.Key] = r.Sentence
		}
	}
	findings := make([]analysis.Finding, len(found.Findings))
	for i := range found.Findings {
		f := &found.Findings[i]
		findings[i] = analysis.Finding{Level: f.Level, Tags: f.Tags, Sentence: sentences[f.RuleID], Seqs: f.Seqs}
		for _, seq := range f.Seqs[:min(len(f.Seqs), storyEvents)] {
			if e := events[seq]; e != nil {
				findings[i].Events = append(findings[i].Events, *e)
			}
		}
	}
	err = s.rollups.within(ctx, storyReading, byStory, sessionID, nil, func(sum rollup, upTo int64) {
		story.Told, story.UpTo = sum.(*analysis.Story).Tell(findings), upTo
	})
	return story, err
}

// Origin tells why a file exists, or a process if path is "": the steps that led to it. home
// is the home folder of the first program.
func (s *Stories) Origin(ctx context.Context, sessionID, path string, pid int64) (steps []analysis.Step, home string, err error) {
	err = s.rollups.with(ctx, byStory, sessionID, nil, func(sum rollup, _ int64) {
		story := sum.(*analysis.Story)
		steps, home = story.Origin(path, pid), story.Home()
	})
	return steps, home, err
}

// eventsOf reads the first events of each finding, by seq.
func (s *Stories) eventsOf(ctx context.Context, sessionID string, found []models.Finding) (map[int64]*models.Event, error) {
	var seqs []int64
	for i := range found {
		seqs = append(seqs, found[i].Seqs[:min(len(found[i].Seqs), storyEvents)]...)
	}
	seqs = seqs[:min(len(seqs), storyMost)] // the most severe findings come first
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	events := map[int64]*models.Event{}
	const near = 1000 // seqs that one read spans
	for len(seqs) > 0 {
		n := 1
		for n < len(seqs) && seqs[n]-seqs[0] < near {
			n++
		}
		where, err := filter.Parse("seq in (" + strings.Trim(strings.ReplaceAll(fmt.Sprint(seqs[:n]), " ", ", "), "[]") + ")")
		if err != nil {
			return nil, err
		}
		part, err := s.events.ReadEvents(ctx, sessionID, where, models.EventRange{After: seqs[0] - 1, UpTo: seqs[n-1]}, n, detectBytes, &models.EventMemory{})
		if err != nil {
			return nil, err
		}
		for i := range part {
			events[part[i].Seq] = &part[i]
		}
		seqs = seqs[n:]
	}
	return events, nil
}
