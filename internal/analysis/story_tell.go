package analysis

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Finding is what a rule found in a session, for its story.
type Finding struct {
	Level    string // as Sigma names it
	Tags     []string
	Sentence string         // of the rule, as those of sentences.yaml; "" for none
	Seqs     []int64        // of the first events
	Events   []models.Event // some of them
}

// Step is a line of a story: a deed, several deeds of a kind, or the life of a file that ran.
type Step struct {
	Kind     string
	Class    string // execution, persistence, credential access, discovery, network, evasion, clean-up, impact or files
	Parts    []Part
	Findings []int // places in the list of findings
	Ordinary bool  // it matters less
	PID      *int64
	Objects  int // that it is about
	Events   int64
	Seqs     []int64 // of the first events
	Seen
}

// Part is a part of a sentence: words, or a value of the events.
type Part struct {
	Text string
	As   string // what a value is: program, command, path, address, name, url, bytes …; "" for words
}

// Told is a story as it is told.
type Told struct {
	Steps     []Step
	Ordinary  int // ordinary steps, all of them
	LeftOut   int64
	Processes int // that ran a program
	Home      string
	Sections  []Section

	// What the first line counts. Each has the seqs of some of its events.
	Downloaded, Startup, Refused, Read, Destinations, OwnDeletions Tally
}

// Tally is a number of things, and the seqs of events that tell of them.
type Tally struct {
	N    int
	Seqs []int64
}

func (t *Tally) add(seqs []int64) {
	t.N++
	t.Seqs = append(t.Seqs, seqs...)
}

const (
	maxSteps = 400 // that Tell returns
	alone    = 4   // deeds of one kind of one program that have lines of their own
)

// words are the sentences of a kind of deed. Own says that the sentence of a rule does not
// replace One: nothing was done, or One says more.
type words struct {
	Class, One, Many string
	Own              bool
}

// sentences are the sentences of the kinds of deeds.
var sentences = func() (all map[string]words) { //nolint:gochecknoglobals // a constant
	if err := yaml.Unmarshal(sentencesFile, &all); err != nil {
		panic(err) // a test reads it, too
	}
	return all
}()

//go:embed sentences.yaml
var sentencesFile []byte

// classes are the classes of findings, by the tactic of ATT&CK as Sigma writes it.
var classes = map[string]string{ //nolint:gochecknoglobals // a constant
	"execution": "execution", "initial-access": "execution", "persistence": "persistence", "privilege-escalation": "persistence",
	"credential-access": "credential access", "discovery": "discovery", "reconnaissance": "discovery", "collection": "discovery",
	"command-and-control": "network", "exfiltration": "network", "lateral-movement": "network", "resource-development": "network",
	"defense-evasion": "evasion", "stealth": "evasion", "defense-impairment": "evasion", "impact": "impact",
}

// ClassOf returns the class of a finding by its tags, "" if they have no tactic.
func ClassOf(tags []string) string {
	for _, tag := range tags {
		if strings.HasPrefix(tag, "attack.t1070") {
			return "clean-up"
		}
	}
	for _, tag := range tags {
		if class := classes[strings.TrimPrefix(strings.ReplaceAll(tag, "_", "-"), "attack.")]; class != "" {
			return class
		}
	}
	return ""
}

// teller composes a story.
type teller struct {
	findings []Finding
	of       map[*Deed][]int // findings, by place
	told     Told
	used     map[*Deed]bool  // deeds that are in a step
	asked    map[string]bool // programs and the addresses that they sent HTTP requests to
}

// Tell tells the story with what rules found, the most severe first. Findings attach to the deeds that their events
// tell; a finding without such a deed gets a step of its own.
func (s *Story) Tell(findings []Finding) Told {
	t := &teller{findings: findings, of: map[*Deed][]int{}, used: map[*Deed]bool{}, asked: map[string]bool{}, told: Told{LeftOut: s.leftOut}}
	deeds := t.attach(s)
	t.told.Processes, t.told.Home, t.told.Sections = len(s.starts), s.home, s.sections()
	for _, d := range deeds {
		if _, url, isURL := strings.Cut(d.Object, "://"); d.Kind == "fetched" && isURL {
			host, _, _ := strings.Cut(url, "/")
			t.asked[d.Program+" "+host] = true
		}
	}
	t.chains(s)
	t.groups(deeds)
	t.count(deeds)
	steps := t.told.Steps
	slices.SortStableFunc(steps, func(a, b Step) int { return int(a.FirstSeq - b.FirstSeq) })
	for i := range steps {
		if steps[i].Ordinary {
			t.told.Ordinary++
		}
	}
	for i := len(steps) - 1; i >= 0 && len(steps) > maxSteps; i-- { // the ordinary ones go first
		if steps[i].Ordinary {
			steps = slices.Delete(steps, i, i+1)
		}
	}
	t.told.Steps = steps[:min(len(steps), maxSteps)]
	return t.told
}

// attach finds the deeds of the findings. It returns all deeds, with those that only a
// finding tells.
func (t *teller) attach(s *Story) []*Deed {
	deeds := slices.Clone(s.order)
	bySeq := map[int64]*Deed{}
	for _, d := range deeds {
		for _, seq := range d.Seqs {
			bySeq[seq] = d
		}
	}
	own := map[deedKey]*Deed{}
	var reader deedReader
	for place := range t.findings {
		f := &t.findings[place]
		for _, seq := range f.Seqs {
			if d := bySeq[seq]; d != nil && d.Kind != "read" && !slices.Contains(t.of[d], place) {
				t.of[d] = append(t.of[d], place)
			}
		}
		for i := range f.Events {
			e := &f.Events[i]
			d, ok := reader.read(e, StoryValues(e.Data))
			if !ok {
				d = leftOut(e)
			}
			d.Program = s.nameOf(e.PID, d.Program)
			key := d.key()
			known := s.deeds[key]
			if known == nil {
				known = own[key]
			}
			if known == nil {
				known = &d
				known.PID = e.PID
				own[key] = known
				deeds = append(deeds, known)
			}
			if own[key] != nil && !slices.Contains(known.Seqs, e.Seq) {
				known.count(e, &d)
			}
			if !slices.Contains(t.of[known], place) {
				t.of[known] = append(t.of[known], place)
			}
		}
	}
	return deeds
}

// leftOut returns the deed of an event that the story leaves out.
func leftOut(e *models.Event) Deed {
	d := Deed{Kind: "event", Program: deref(e.ProcessName), Object: deref(e.Operation), Other: cut(deref(e.Target))}
	switch {
	case Failed(e):
		d.Kind, d.Result = "tried", reason(jsonscan.Find(e.Data, "status"), jsonscan.Find(e.Data, "error"))
		if e.EventType == models.TypeFile && d.Other != "" {
			d.Kind, d.Object, d.Other = "failed", d.Other, ""
		}
	case e.EventType == models.TypeFile && actionOf(d.Object) == actionRead && strings.HasPrefix(d.Other, "pipe:"):
		d.Kind = "piped"
	case e.EventType == models.TypeFile && actionOf(d.Object) == actionOpen:
		d.Kind, d.Object, d.Other = "opened", d.Other, ""
	}
	return d
}

// StoryValues returns the values of StoryKeys in an event's data.
func StoryValues(data []byte) [][]byte {
	keys := StoryKeys()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = jsonscan.Find(data, key)
	}
	return values
}

// chains makes a step of each file that the session wrote and ran.
func (t *teller) chains(s *Story) {
	for _, name := range slices.Sorted(maps.Keys(s.lives)) {
		l := s.lives[name]
		if len(l.ran) == 0 || l.wrote == nil {
			continue
		}
		step := Step{Kind: "chain", Class: sentences["chain"].Class, Objects: 1, PID: l.wrote.PID}
		add := func(kind string, d *Deed) {
			if d == nil {
				return
			}
			t.joinStart(&step, s, d)
			step.Parts = append(step.Parts, sentence(sentences[kind].One, d, 1)...)
			t.join(&step, d)
		}
		switch {
		case l.fetched == nil:
			add("chain_first", l.wrote)
		case l.fetched.Kind == "fetched":
			add("chain_fetched", l.fetched)
			add("chain_wrote", l.wrote)
		default:
			add("chain_connected", l.fetched)
			add("chain_wrote", l.wrote)
		}
		if l.fetched != nil {
			t.told.Downloaded.add(step.Seqs)
		}
		add("chain_renamed", l.renamed)
		if l.mode != nil {
			add("chain_"+l.mode.Kind, l.mode)
		}
		add("chain_ran", l.ran[0])
		for _, again := range l.ran[1:] {
			t.join(&step, again)
		}
		add("chain_deleted", l.deleted)
		t.told.Steps = append(t.told.Steps, step)
	}
}

// joinStart adds the start of the program that did a deed, if that program started no other:
// "chmod +x" says no more than what it did.
func (t *teller) joinStart(step *Step, s *Story, d *Deed) {
	if d.PID == nil {
		return
	}
	start := s.starts[*d.PID]
	if start == nil || t.used[start] || start.Events > 1 || s.programs[*d.PID] == nil || s.programs[*d.PID].isParent {
		return
	}
	t.join(step, start)
}

// join adds a deed to a step.
func (t *teller) join(step *Step, d *Deed) {
	if d.Kind != "deleted_itself" {
		t.used[d] = true
	}
	step.join(&d.Seen)
	step.Events += d.Events
	step.Seqs = append(step.Seqs, d.Seqs...)
	for _, place := range t.of[d] {
		if !slices.Contains(step.Findings, place) {
			step.Findings = append(step.Findings, place)
		}
	}
}

// groups makes steps of the other deeds: one for each, or one for many of a kind.
func (t *teller) groups(deeds []*Deed) {
	type group struct{ program, kind, findings string }
	of := func(d *Deed) group {
		g := group{d.Program, d.Kind, fmt.Sprint(t.of[d])}
		if isCall(d) {
			g.kind += d.Object
		}
		return g
	}
	members := map[group][]*Deed{}
	var order []group
	for _, d := range deeds {
		if t.used[d] {
			continue
		}
		g := of(d)
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], d)
	}
	for _, g := range order {
		some := members[g]
		if len(some) > alone {
			t.step(some)
			continue
		}
		for _, d := range some {
			t.step([]*Deed{d})
		}
	}
}

// step makes a step of deeds of one kind.
func (t *teller) step(deeds []*Deed) {
	first := *deeds[0]
	words := sentences[first.Kind]
	step := Step{Kind: first.Kind, Class: words.Class, Objects: len(deeds), PID: first.PID}
	template := cmp.Or(t.sentenceOf(deeds, words), words.One)
	for _, d := range deeds {
		t.join(&step, d)
		if d != deeds[0] {
			first.Object = folderOf(first.Object, d.Object)
			first.Bytes += d.Bytes
			template = words.Many
		}
	}
	if template == words.Many && strings.HasPrefix(first.Object, "/") {
		first.Object = path.Clean(first.Object)
	}
	step.Seqs = step.Seqs[:min(len(step.Seqs), maxDeedSeqs)]
	step.Parts = sentence(template, &first, len(deeds))
	step.Ordinary = !t.matters(&step, deeds)
	for _, place := range step.Findings {
		if class := ClassOf(t.findings[place].Tags); class != "" {
			step.Class = class
			break
		}
	}
	t.told.Steps = append(t.told.Steps, step)
}

// sentenceOf returns the sentence of the most severe rule that found a deed, "" if that is not
// to be told.
func (t *teller) sentenceOf(deeds []*Deed, words words) string {
	if len(deeds) > 1 || words.Own || len(t.of[deeds[0]]) == 0 {
		return ""
	}
	return t.findings[slices.Min(t.of[deeds[0]])].Sentence
}

// isCall reports whether the object of a deed is an operation. What that was about is Other.
func isCall(d *Deed) bool {
	return d.Kind == "called" || d.Kind == "event" || d.Kind == "tried" || d.Kind == "piped"
}

// matters reports whether a step is one that an analyst should see first.
func (t *teller) matters(step *Step, deeds []*Deed) bool {
	for _, place := range step.Findings {
		if t.findings[place].Level != "informational" {
			return true
		}
	}
	if len(deeds) == 1 && (isLookup(deeds[0]) || t.asked[deeds[0].Program+" "+deeds[0].Object]) {
		return false
	}
	switch step.Kind {
	case "connected", "connecting", "not_connected", "asked", "fetched", "deleted_itself":
		return true
	}
	return false
}

// isLookup reports whether a deed is the way to a name server, whose answers have deeds of
// their own.
func isLookup(d *Deed) bool { return strings.HasSuffix(d.Object, ":53") }

// count counts what the first line tells.
func (t *teller) count(deeds []*Deed) {
	seen := map[string]bool{}
	once := func(tally *Tally, what string, d *Deed) {
		if !seen[what] {
			seen[what] = true
			tally.add(d.Seqs)
		}
	}
	for _, d := range deeds {
		switch d.Kind {
		case "connected", "connecting", "not_connected", "sent":
			if isLookup(d) {
				continue
			}
			once(&t.told.Destinations, "to "+d.Object, d)
		case "deleted_itself":
			once(&t.told.OwnDeletions, "own "+d.Object, d)
		}
		for _, place := range t.of[d] {
			if t.findings[place].Level == "informational" {
				continue
			}
			switch ClassOf(t.findings[place].Tags) {
			case "persistence":
				once(&t.told.Startup, "startup "+d.Object, d)
			case "credential access":
				switch d.Kind {
				case "refused":
					once(&t.told.Refused, "refused "+d.Object, d)
				case "read":
					once(&t.told.Read, "read "+d.Object, d)
				}
			}
		}
	}
}

// sentence fills in a template.
func sentence(template string, d *Deed, count int) (parts []Part) {
	if d.Bytes == 0 {
		template = strings.Replace(template, " ({bytes})", "", 1)
	}
	if d.Other == "" {
		template = strings.Replace(template, " to {other}", "", 1)
	}
	for template != "" {
		before, rest, found := strings.Cut(template, "{")
		if before != "" {
			parts = append(parts, Part{Text: before})
		}
		if !found {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		template = after
		text := ""
		switch name {
		case "program":
			text = d.Program
		case "bytes":
			text = strconv.FormatInt(d.Bytes, 10)
		case "count":
			text = strconv.Itoa(count)
		case "result":
			text = cmp.Or(d.Result, "no answer")
		case "other":
			text = d.Other
		case "operation":
			text = d.Object
			if d.Kind == "registry" {
				text = d.Other
			}
		case "pid":
			text = strconv.FormatInt(d.child, 10)
		default:
			if text = d.Object; isCall(d) {
				text = d.Other
			}
		}
		parts = append(parts, Part{text, name})
	}
	return parts
}
