// Package bundle packs a whole session into a zip and reads it again: the session, its
// events, processes and findings, and its target file if that is wanted. A manifest with the size
// and the SHA-256 of each entry proves that a bundle is complete. The package works on
// streams, in constant memory, and trusts nothing that it reads.
package bundle

import (
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// A bundle is a zip of these entries and no others. The manifest comes last, because it
// counts what the others hold.
//
//	session.json       the session
//	events.ndjson      its events, one a line, by seq from 1 on, or from the first that has
//	                   not expired
//	processes.ndjson   its processes, one a line, by pid and start
//	findings.ndjson    what rules found in it, one a line, by rule_id; only if they found
//	                   something
//	file/<sha256>      its target file, if that was asked for
//	manifest.json      size and SHA-256 of the other entries, and how many lines they have
const (
	sessionEntry   = "session.json"
	eventsEntry    = "events.ndjson"
	processesEntry = "processes.ndjson"
	findingsEntry  = "findings.ndjson"
	manifestEntry  = "manifest.json"
	filePrefix     = "file/"
)

// Format and version of a manifest. A program reads all versions up to its own. Version 2
// added how the session ended. Version 3 is for a session whose first events have expired,
// version 4 for one with findings, version 5 for one with findings of events that failed,
// version 6 for one with findings in another root directory. Others are written in version 2. So older programs read what they know.
const (
	bundleFormat      = "ospulse-bundle"
	bundleVersion     = 6
	versionOfRootPath = 6
	versionOfFailed   = 5
	versionOfFindings = 4
	versionOfExpired  = 3
	versionOfWhole    = 2
)

// manifest proves that a bundle is complete.
type manifest struct {
	Format         string           `json:"format"`
	Version        int              `json:"version"`
	ProductVersion string           `json:"product_version"` // of the program that made it
	CreatedAt      string           `json:"created_at"`
	SessionID      string           `json:"session_id"`
	Events         int64            `json:"events"`
	Processes      int64            `json:"processes"`
	Findings       int64            `json:"findings,omitempty"` // 0 before version 4
	Entries        map[string]entry `json:"entries"`            // all except the manifest
}

// entry holds the expected properties of an entry of the zip.
type entry struct {
	SizeBytes int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"`
}

// bundledSession is a session in a bundle, without the parts that depend on the
// installation, such as its agent.
type bundledSession struct {
	ID                string       `json:"id"`
	State             models.State `json:"state"`
	Name              string       `json:"name"`
	Notes             string       `json:"notes"`
	Tags              []string     `json:"tags"`
	FileName          string       `json:"file_name"`
	FileSHA256        *string      `json:"file_sha256"`
	FileSizeBytes     int64        `json:"file_size_bytes"`
	Mode              models.Mode  `json:"mode"`
	ChosenPIDs        []int64      `json:"chosen_pids"`
	EventCount        int64        `json:"event_count"`
	ExpiredSeq        int64        `json:"expired_seq,omitempty"` // 0 before version 3
	CreatedAt         bundledTime  `json:"created_at"`
	UpdatedAt         bundledTime  `json:"updated_at"`
	MonitoringStarted *bundledTime `json:"monitoring_started"`
	MonitoringEnded   *bundledTime `json:"monitoring_ended"`
	End               *bundledEnd  `json:"end"` // nil if unknown, and before version 2
}

// bundledEnd is how a session ended.
type bundledEnd struct {
	Reason   models.EndReason `json:"reason"`
	ExitCode *int64           `json:"exitCode"`
	Signal   *int64           `json:"signal"`
	Text     string           `json:"text"`
}

// bundledProcess is a process in a bundle.
type bundledProcess struct {
	PID             int64            `json:"pid"`
	StartedAt       bundledTime      `json:"started_at"`
	StartKnown      bool             `json:"start_known"`
	ParentPID       *int64           `json:"parent_pid"`
	ParentStartedAt *bundledTime     `json:"parent_started_at"`
	Name            string           `json:"name"`
	Image           string           `json:"image"`
	CommandLine     string           `json:"command_line"`
	FirstSeen       bundledTime      `json:"first_seen"`
	LastSeen        bundledTime      `json:"last_seen"`
	EventCounts     map[string]int64 `json:"event_counts"`
}

// bundledTime is a time as models.FormatTime writes it.
type bundledTime time.Time

func (t bundledTime) MarshalJSON() ([]byte, error) {
	return append(models.AppendTime([]byte{'"'}, time.Time(t)), '"'), nil
}

func (t *bundledTime) UnmarshalJSON(text []byte) error {
	written := jsonscan.Unquote(text)
	read, ok := models.ParseTime(written)
	if !ok || models.FormatTime(read) != written {
		return invalid("%.100s is no time such as 2026-11-22T18:57:39.123456Z", text)
	}
	*t = bundledTime(read)
	return nil
}

func (t *bundledTime) pointer() *time.Time {
	if t == nil {
		return nil
	}
	return new(time.Time(*t))
}

func bundledPointer(t *time.Time) *bundledTime {
	if t == nil {
		return nil
	}
	return new(bundledTime(*t))
}

func newBundledSession(s *models.Session) bundledSession {
	var end *bundledEnd
	if s.End.Reason != "" {
		end = &bundledEnd{s.End.Reason, s.End.ExitCode, s.End.Signal, s.End.Text}
	}
	state := s.State()
	if state == models.StateStarting || state == models.StateFailed {
		state = models.StateCreated // another installation cannot continue its start
	}
	return bundledSession{
		ID: s.ID, State: state, Name: s.Name, Notes: s.Notes, Tags: orEmpty(s.Tags),
		FileName: s.FileName, FileSHA256: s.FileSHA256, FileSizeBytes: s.FileSizeBytes, Mode: s.Mode, ChosenPIDs: orEmpty(s.ChosenPIDs),
		EventCount: s.EventCount, ExpiredSeq: s.ExpiredSeq, CreatedAt: bundledTime(s.CreatedAt), UpdatedAt: bundledTime(s.UpdatedAt),
		MonitoringStarted: bundledPointer(s.MonitoringStarted), MonitoringEnded: bundledPointer(s.MonitoringEnded), End: end,
	}
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Limits of the values in a bundle, beyond those of the wire. They are generous, because
// an import must accept everything that an installation may have stored.
const (
	maxTextLen    = 4096
	maxNotesLen   = 1 << 20
	maxTags       = 1000
	maxChosenPIDs = 10_000
	maxCounts     = 100 // types of events that a process has
)

// session returns the bundle's session, or invalid with the reason. A session that was
// active when it was exported is not active here; its new state follows from its times
// and events.
func (b *bundledSession) session() (*models.Session, error) {
	texts := []text{{"id", b.ID, 255}, {"name", b.Name, maxTextLen}, {"notes", b.Notes, maxNotesLen}, {"file_name", b.FileName, maxTextLen}}
	for _, tag := range b.Tags {
		texts = append(texts, text{"tags", tag, maxTextLen})
	}
	var end models.SessionEnd
	if b.End != nil {
		end = models.SessionEnd{Reason: b.End.Reason, ExitCode: b.End.ExitCode, Signal: b.End.Signal, Text: b.End.Text}
		texts = append(texts, text{"end.text", end.Text, maxTextLen})
	}
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	hasStarted, hasEnded := b.MonitoringStarted != nil, b.MonitoringEnded != nil
	switch {
	case !models.ValidID(b.ID):
		return nil, invalid("id is none")
	case len(b.Tags) > maxTags:
		return nil, invalid("tags has %d of them; at most %d are taken", len(b.Tags), maxTags)
	case b.FileSHA256 != nil && !validSHA256.MatchString(*b.FileSHA256):
		return nil, invalid("file_sha256 is no SHA-256 in lower-case hex")
	case b.FileSizeBytes < 0 || b.EventCount < 0:
		return nil, invalid("file_size_bytes and event_count cannot be negative")
	case b.ExpiredSeq < 0 || b.ExpiredSeq > b.EventCount:
		return nil, invalid("expired_seq must be from 0 to event_count, not %d", b.ExpiredSeq)
	case b.Mode < 0 || b.Mode > models.ModeSpawn:
		return nil, invalid("mode must be 0 to %d, not %d", models.ModeSpawn, b.Mode)
	case len(b.ChosenPIDs) > maxChosenPIDs:
		return nil, invalid("chosen_pids has %d pids; at most %d are taken", len(b.ChosenPIDs), maxChosenPIDs)
	case b.State != models.StateCreated && b.State != models.StateActive && b.State != models.StateEnded:
		return nil, invalid("state must be created, active or ended, not %.100q", b.State)
	case hasEnded != (b.State == models.StateEnded), b.State == models.StateActive && !hasStarted:
		return nil, invalid("state is %s, which monitoring_started and monitoring_ended contradict", b.State)
	case b.End != nil && (!hasEnded || end.Reason != models.EndStopped && end.Reason != models.EndAgentLost && !end.Reason.OfProgram()):
		return nil, invalid("end.reason must be one of those for which sessions end, of a session that has ended, not %.100q", end.Reason)
	}
	s := &models.Session{
		ID: b.ID, Name: b.Name, Notes: b.Notes, Tags: b.Tags, FileName: b.FileName, FileSHA256: b.FileSHA256, FileSizeBytes: b.FileSizeBytes,
		Mode: b.Mode, ChosenPIDs: b.ChosenPIDs, EventCount: b.EventCount, ExpiredSeq: b.ExpiredSeq, IsActive: b.State == models.StateActive,
		CreatedAt: time.Time(b.CreatedAt), UpdatedAt: time.Time(b.UpdatedAt),
		MonitoringStarted: b.MonitoringStarted.pointer(), MonitoringEnded: b.MonitoringEnded.pointer(), End: end,
	}
	return s, nil
}

func newBundledProcess(p *models.Process) bundledProcess {
	counts := p.EventCounts
	if counts == nil {
		counts = map[string]int64{}
	}
	return bundledProcess{
		PID: p.PID, StartedAt: bundledTime(p.StartedAt), StartKnown: p.StartKnown,
		ParentPID: p.ParentPID, ParentStartedAt: bundledPointer(p.ParentStartedAt), Name: p.Name, Image: p.Image, CommandLine: p.CommandLine,
		FirstSeen: bundledTime(p.FirstSeen), LastSeen: bundledTime(p.LastSeen), EventCounts: counts,
	}
}

// process returns a process of the bundle, or invalid with the reason.
func (b *bundledProcess) process() (models.Process, error) {
	texts := []text{{"name", b.Name, maxTextLen}, {"image", b.Image, maxTextLen}, {"command_line", b.CommandLine, maxTextLen}}
	for eventType, n := range b.EventCounts {
		texts = append(texts, text{"event_counts", eventType, models.MaxEventTypeLen})
		if n < 0 {
			return models.Process{}, invalid("event_counts cannot be negative")
		}
	}
	if len(b.EventCounts) > maxCounts {
		return models.Process{}, invalid("event_counts has %d types; at most %d are taken", len(b.EventCounts), maxCounts)
	}
	p := models.Process{
		PID: b.PID, StartedAt: time.Time(b.StartedAt), StartKnown: b.StartKnown,
		ProcessInfo: models.ProcessInfo{
			ParentPID: b.ParentPID, ParentStartedAt: b.ParentStartedAt.pointer(), Name: b.Name, Image: b.Image, CommandLine: b.CommandLine,
		},
		FirstSeen: time.Time(b.FirstSeen), LastSeen: time.Time(b.LastSeen), EventCounts: b.EventCounts,
	}
	return p, checkTexts(texts)
}

// text is a value of a text column.
type text struct {
	name, value string
	maxLen      int
}

func checkTexts(texts []text) error {
	for _, t := range texts {
		switch {
		case len(t.value) > t.maxLen:
			return invalid("%s is %d bytes long; at most %d are taken", t.name, len(t.value), t.maxLen)
		case strings.ContainsRune(t.value, 0) || !utf8.ValidString(t.value):
			return invalid("%s holds what no text column takes", t.name)
		}
	}
	return nil
}

// decodeLoosely reads the members of a JSON object that v has, and ignores others.
func decodeLoosely(value []byte, v any) error {
	if _, err := jsonscan.Check(value); err != nil {
		return invalid("malformed JSON: %v", err)
	}
	if err := json.Unmarshal(value, v); err != nil {
		return invalid("%.200s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// decodeStrictly reads a JSON object with exactly the members of the struct at v, each
// once. Optional members, and those with an option in their tag, may be missing.
func decodeStrictly(value []byte, v any, optional ...string) error {
	lossless, err := jsonscan.Check(value)
	switch {
	case err != nil:
		return invalid("malformed JSON: %v", err)
	case jsonscan.Kind(value) != '{':
		return invalid("it must be an object, not %s", jsonscan.KindName(value))
	case !lossless:
		return invalid("it has a member twice, or a text or a number that cannot be stored")
	}
	known := map[string]bool{}
	for field := range reflect.TypeOf(v).Elem().Fields() {
		name, omitted, _ := strings.Cut(field.Tag.Get("json"), ",")
		known[name] = omitted != ""
	}
	for name := range jsonscan.Members(value) { // encoding/json ignores the case of names
		if _, ok := known[name]; !ok {
			return invalid("unknown field %.100q", name)
		}
		known[name] = true
	}
	for name, isThere := range known {
		if !isThere && !slices.Contains(optional, name) {
			return invalid("%s is missing", name)
		}
	}
	if err := json.Unmarshal(value, v); err != nil {
		if fault, ok := asFault(err); ok {
			return fault
		}
		return invalid("%.200s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

var validSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// sum adds sizes that are not negative. It does not overflow.
func sum(sizes []int64) int64 {
	total := int64(0)
	for _, size := range sizes {
		if total += size; total < 0 {
			return math.MaxInt64
		}
	}
	return total
}
