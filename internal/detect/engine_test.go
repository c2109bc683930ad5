package detect_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/sigma"
	"ospulse/internal/wire"
	"ospulse/test/recording"
)

// recorded returns the events of a recording of the agent.
func recorded(t testing.TB, name string) (events []models.Event) {
	t.Helper()
	for i, text := range recording.Events(t, name) {
		events = append(events, received(t, text, int64(i+1)))
	}
	return events
}

func received(t testing.TB, body string, seq int64) models.Event {
	t.Helper()
	in, err := wire.Event([]byte(body), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	in.Seq = seq
	return in.Event
}

// condition returns the condition of a rule with a log source and one search.
func condition(t testing.TB, source, search string) filter.Node {
	t.Helper()
	r, err := sigma.Placeholders(nil).Parse([]byte("title: x\nlogsource: {" + source + "}\ndetection:\n  s: " + search + "\n  condition: s\n"))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := r.Compile()
	if err != nil || !compiled.CanRun() {
		t.Fatal(err, compiled)
	}
	return compiled.Where
}

// someRules are rules of every kind that the index treats differently. All but the last
// match events of the recordings.
func someRules(t testing.TB) (rules []filter.Node) {
	for _, r := range [][2]string{
		{"category: process_creation", "{Image|endswith: [/git, /curl], CommandLine|contains: ' '}"},
		{"category: process_creation", "{ParentImage|endswith: /bash}"},
		{"category: process_creation", "{CommandLine|re: '^(ls|rm) '}"},
		{"category: process_creation", "{CommandLine|windash|contains: ' -p '}"},
		{"category: process_creation", "{ParentCommandLine|contains: a}"},
		{"category: file_event", "{TargetFilename|contains: /.git/}"},
		{"category: file_event", "{TargetFilename|endswith: [.lock, HEAD], Image|endswith: /git}"},
		{"category: file_rename", "{TargetFilename|contains: HEAD}"},
		{"category: file_access", "[{TargetFilename: /ETC/passwd}, {TargetFilename|startswith: /proc/}]"},
		{"category: file_delete", "{Image|contains: /}"},
		{"category: network_connection", "{DestinationIp|cidr: 127.0.0.0/8, Initiated: true}"},
		{"category: network_connection", "{DestinationPort|gt: 1024}"},
		{"category: proxy", "{c-useragent|contains: curl, cs-method: GET}"},
		{"product: linux, service: auditd", "{type: EXECVE, a1: [-c, --version, clone]}"},
		{"product: linux, service: auditd", "{SYSCALL: fchmod}"},
		{"product: linux, service: auditd", "[passwd, a b]"},
		{"product: ospulse", "{operation: [CloseFile, DuplicateHandle]}"},
		{"product: ospulse", "{type: session_end}"},
		{"product: ospulse", "{data.error|exists: true}"},
		{"product: ospulse", "[ENOENT, shadow]"},
		{"product: ospulse", "{data.syscall|cased: Close}"},
	} {
		rules = append(rules, condition(t, r[0], r[1]))
	}
	return rules
}

// TestEngineFindsAll checks that the engine matches what the rules match one by one.
func TestEngineFindsAll(t *testing.T) {
	rules := someRules(t)
	engine := detect.New(rules)
	counts := make([]int, len(rules))
	for _, name := range []string{"shell", "package", "http"} {
		events := recorded(t, name)
		session := engine.NewSession()
		for i := range events {
			e := &events[i]
			got := session.Match(e)
			for rule, where := range rules {
				matches := where.Match(e)
				if matches != slices.Contains(got, rule) {
					t.Fatalf("%s: event %d: rule %s matches: %v, the engine says %v", name, i+1, where, matches, got)
				}
				if matches {
					counts[rule]++
				}
			}
		}
	}
	for rule, n := range counts[:len(counts)-1] {
		if n == 0 {
			t.Errorf("no event matches %s", rules[rule])
		}
	}
}

// TestLearn checks that a session that learned some events finds the same in those that
// follow as one that matched all of them.
func TestLearn(t *testing.T) {
	engine, events := detect.New(someRules(t)), recorded(t, "shell")
	all, resumed := engine.NewSession(), engine.NewSession()
	half, learned := len(events)/2, 0
	for i := range events[:half] {
		all.Match(&events[i])
		if detect.Telling().Match(&events[i]) {
			resumed.Learn(&events[i])
			learned++
		}
	}
	for i := range events[half:] {
		e := &events[half+i]
		if want, got := slices.Clone(all.Match(e)), resumed.Match(e); !slices.Equal(got, want) {
			t.Fatalf("event %d matches %v, want %v", half+i+1, got, want)
		}
	}
	if learned == 0 {
		t.Error("no event tells of processes")
	}
}

// TestProcessesAreBounded checks that sessions of endless forks take bounded memory, whether
// the agent reports the ends of processes or not.
func TestProcessesAreBounded(t *testing.T) {
	for name, ends := range map[string]bool{"with ends": true, "without ends": false} {
		t.Run(name, func(t *testing.T) {
			p := detect.NewProcesses()
			for i := range 80_000 {
				fork := received(t, fmt.Sprintf(`{"event_type":"process_fork","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"operation":"clone","newProcessId":%d,"metadata":{"processId":%d}}}`, i+2, i+1), 1)
				p.Next(&fork)
				if ends {
					exit := received(t, fmt.Sprintf(`{"event_type":"process_exit","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"operation":"exit","metadata":{"processId":%d}}}`, i+1), 1)
					p.Next(&exit)
				}
			}
			if n := p.Size(); n > 70_000 {
				t.Errorf("%d processes are kept", n)
			}
		})
	}
}

// TestTextsAreBounded checks that long command lines take bounded memory.
func TestTextsAreBounded(t *testing.T) {
	p := detect.NewProcesses()
	long := strings.Repeat("x", 32<<10)
	for i := range 2_000 {
		e := received(t, fmt.Sprintf(`{"event_type":"process_creation","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"arguments":[%q],"newProcessId":%d,"metadata":{"processId":1}}}`, long, i%7+10*(i%2)*i), 1)
		p.Next(&e)
		if n := p.Bytes(); n > 10<<20 {
			t.Fatalf("%d bytes are kept", n)
		}
	}
}

// TestHostileArguments checks long and odd arguments.
func TestHostileArguments(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, tt := range map[string]struct{ data, want string }{
		"an empty argument":   {`"arguments":["a","","b"]`, "a  b"},
		"none":                {`"arguments":[]`, ""},
		"one that is empty":   {`"arguments":[""]`, ""},
		"escapes":             {`"arguments":["a\"b","\u00e9\udce9"]`, "a\"b é\uFFFD"},
		"numbers":             {`"arguments":[1,2],"commandLine":"c"`, "c"},
		"something else":      {`"arguments":{"a":"b"},"commandLine":"c"`, "c"},
		"nothing":             {`"commandLine":null,"command_line":"d"`, "d"},
		"a long command line": {`"commandLine":"` + long + `"`, long[:32<<10]},
	} {
		t.Run(name, func(t *testing.T) {
			e := received(t, `{"event_type":"process_creation","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{`+tt.data+`}}`, 1)
			facts := detect.NewProcesses().Next(&e)
			if facts.Command == nil || *facts.Command != tt.want {
				t.Errorf("the command is %.100q", *facts.Command)
			}
		})
	}
	e := received(t, `{"event_type":"process_creation","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"arguments":["`+long+`","`+long+`","b"]}}`, 1)
	if facts := detect.NewProcesses().Next(&e); len(*facts.Command) > 300_000 {
		t.Errorf("the command has %d bytes", len(*facts.Command))
	}
}
