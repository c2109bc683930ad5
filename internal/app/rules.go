package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/config"
	"ospulse/internal/detect"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/rules"
	"ospulse/internal/wire"
)

// ownRules returns the rules of this program. Nobody changes them.
var ownRules = sync.OnceValues(func() ([]detect.Rule, error) { //nolint:gochecknoglobals // read once
	all, _, err := detect.Load(rules.Files())
	return all, err
})

// ruleSources returns the rules of this program, and those of RULES_DIR.
func ruleSources(cfg config.Config) (*detect.Sources, error) {
	sources := []detect.Source{{Name: "OS-Pulse", Files: rules.Files(), Rules: ownRules}}
	if cfg.RulesDir != "" {
		if _, err := os.ReadDir(cfg.RulesDir); err != nil {
			return nil, fmt.Errorf("the folder of RULES_DIR cannot be read: %w", err)
		}
		sources = append(sources, detect.Source{Name: "RULES_DIR", Files: os.DirFS(cfg.RulesDir)})
	}
	return detect.NewSources(sources...), nil
}

const rulesUsage = `Check detection rules in the language Sigma, and try them on events.

Usage: ospulse-backend rules list
       ospulse-backend rules check PATH …
       ospulse-backend rules test [RULES] EVENTS

list prints the rules that come with this program.

check reads the rules in files, and in folders all files that end in .yml or .yaml. It
lists the rules that are broken, with line and reason, and those that need what no event
has. It fails if a rule is broken.

test prints what the rules in a file or folder match in EVENTS: an NDJSON export of a
session, or - for standard input. Without RULES it takes those that come with this program.
`

// runRules runs the subcommand rules with its arguments.
func runRules(args []string, stdin io.Reader, stdout io.Writer) error {
	switch {
	case len(args) == 1 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h"):
		_, err := io.WriteString(stdout, rulesUsage)
		return err
	case len(args) >= 2 && args[0] == "check":
		return checkRules(args[1:], stdout)
	case len(args) == 1 && args[0] == "list":
		return listRules(stdout)
	case len(args) == 2 && args[0] == "test":
		own, err := ownRules()
		if err != nil {
			return err
		}
		return testRules(own, args[1], stdin, stdout)
	case len(args) == 3 && args[0] == "test":
		given, err := rulesAt(args[1])
		if err != nil {
			return err
		}
		return testRules(given, args[2], stdin, stdout)
	}
	return errors.New("rules takes list, check PATH …, or test [RULES] EVENTS; see ospulse-backend rules --help")
}

// rulesAt returns the rules of a file, or of all files in a folder. Their paths begin with
// the given one.
func rulesAt(name string) ([]detect.Rule, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		rule := detect.LoadFile(os.DirFS(filepath.Dir(name)), filepath.Base(name))
		rule.Path = name
		return []detect.Rule{rule}, nil
	}
	found, _, err := detect.Load(os.DirFS(name))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no rules: no file ends in .yml or .yaml", name)
	}
	for i := range found {
		found[i].Path = filepath.Join(name, filepath.FromSlash(found[i].Path))
	}
	return found, err
}

func listRules(stdout io.Writer) error {
	own, err := ownRules()
	if err != nil {
		return err
	}
	for _, r := range own {
		if _, err := fmt.Fprintf(stdout, "%-13s  %s  %s\n", r.Level, r.Title, strings.Join(r.Tags, " ")); err != nil {
			return err
		}
	}
	return nil
}

func checkRules(paths []string, stdout io.Writer) error {
	var all []detect.Rule
	for _, name := range paths {
		found, err := rulesAt(name)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	broken, idle := 0, 0
	for _, r := range all {
		switch {
		case r.Err != nil:
			broken++
			_, _ = fmt.Fprintf(stdout, "%s: broken: %v\n", r.Path, r.Err)
		case !r.CanRun():
			idle++
			_, _ = fmt.Fprintf(stdout, "%s: cannot run: needs %s\n", r.Path, strings.Join(r.Needs, ", "))
		case len(r.Needs) > 0:
			_, _ = fmt.Fprintf(stdout, "%s: runs without %s\n", r.Path, strings.Join(r.Needs, ", "))
		}
	}
	_, err := fmt.Fprintf(stdout, "%d rules: %d run, %d cannot run, %d are broken\n", len(all), len(all)-broken-idle, idle, broken)
	if err == nil && broken > 0 {
		err = fmt.Errorf("%d rules are broken", broken)
	}
	return err
}

// shownSeqs is how many events of a rule are listed.
const shownSeqs = 5

// asSent returns the members of an exported event that its agent sent.
func asSent(line []byte) []byte {
	if jsonscan.Kind(line) != '{' {
		return line
	}
	out := []byte{'{'}
	for _, key := range []string{"event_type", "timestamp", "source", "data"} {
		if value := jsonscan.Find(line, key); value != nil {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(append(out, `"`+key+`":`...), value...)
		}
	}
	return append(out, '}')
}

func testRules(given []detect.Rule, events string, stdin io.Reader, stdout io.Writer) error {
	if events != "-" {
		file, err := os.Open(events)
		if err != nil {
			return err
		}
		defer file.Close()
		stdin = file
	}
	running, conditions := detect.Running(given)
	session := detect.New(conditions).NewSession()
	found, seqs := make([]models.Finding, len(running)), make([][]string, len(running))
	lines, n := bufio.NewReaderSize(stdin, 1<<20), 0
	for {
		line, err := lines.ReadString('\n')
		if strings.TrimSpace(line) != "" {
			n++
			in, err := wire.Event(asSent([]byte(line)), time.Now())
			if err != nil {
				return fmt.Errorf("event %d: %w", n, err)
			}
			seq := string(jsonscan.Find([]byte(line), "seq"))
			if seq == "" {
				seq = fmt.Sprint(n)
			}
			for _, rule := range session.Match(&in.Event) {
				if found[rule].Add(&in.Event, analysis.Failed(&in.Event), analysis.RootPath(&in.Event)); found[rule].Count <= shownSeqs {
					seqs[rule] = append(seqs[rule], seq)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
	}
	matched := 0
	for i, r := range running {
		if found[i].Count == 0 {
			continue
		}
		matched++
		more := ""
		if found[i].Count > shownSeqs {
			more = ", …"
		}
		if failed := found[i].FailedText(); failed != "" {
			more += "; " + failed
		}
		_, _ = fmt.Fprintf(stdout, "%-13s %6d  %s (seq %s%s)\n", r.Level, found[i].Count, r.Title, strings.Join(seqs[i], ", "), more)
	}
	_, err := fmt.Fprintf(stdout, "%d of %d rules match, in %d events\n", matched, len(running), n)
	return err
}
