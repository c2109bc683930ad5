package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"ospulse/test/recording"
	"ospulse/test/wait"
)

type story struct {
	Steps []struct {
		Class    string
		Parts    []struct{ Text, As string }
		Findings []int
		Ordinary bool
		Objects  int
		Events   int64
		Seqs     []int64
		FirstSeq int64 `json:"first_seq"`
		LastSeq  int64 `json:"last_seq"`
	}
	Ordinary int `json:"ordinary_steps"`
	Findings []struct {
		Title, Level string
		Events       int64
		Failed       int64   `json:"failed_count"`
		Root         *string `json:"root_path"`
	}
	Counts   map[string]any
	Sections []struct {
		Kind    string
		Total   int
		Objects []struct {
			Text, Note string
			Programs   []string
		}
	}
	Home  string
	UpTo  int64 `json:"up_to_seq"`
	Total int64 `json:"event_count"`
}

// story returns the story of all events of a session.
func (b *backend) story(id string) (s story) {
	b.t.Helper()
	wait.For(b.t, "the whole story", func() bool {
		s = story{}
		b.decode(b.send("GET", "/api/sessions/"+id+"/story", ""), http.StatusOK, &s)
		return s.UpTo == s.Total
	})
	return s
}

// lines returns the steps that are not ordinary, as text with the home folder as ~.
func (s *story) lines() (lines []string) {
	for _, step := range s.Steps {
		if step.Ordinary {
			continue
		}
		line := step.Class + ": "
		for _, part := range step.Parts {
			line += strings.Replace(part.Text, s.Home, "~", 1)
		}
		lines = append(lines, line)
	}
	return lines
}

// TestStory checks that the story of programs which behave as malware does tells all their
// deeds, in few lines; the tests of the recordings say what they do.
func TestStory(t *testing.T) {
	for name, want := range map[string]struct{ deeds, counts []string }{
		"dropper": {
			[]string{
				"execution: cat wrote ~/dropper (764) → made executable by chmod → run as process ",
				"persistence: dropper made a program start at login of the desktop: ~/.config/autostart/updates.desktop",
				"persistence: dropper changed a shell start-up file of a user: ~/.bashrc",
				"execution: curl asked GET http://127.0.0.1:39580/stage2 (200) → wrote ~/.cache/.x11 (42) → made executable by chmod → run as process ",
				"credential access: cat tried /etc/shadow: permission denied",
				"evasion: dropper decoded base64: base64 -d",
				"execution: dash ran commands that it read from a pipe",
				"network: python3.11 connected to 127.0.0.1:39580",
				"network: python3.11 could not connect to 127.0.0.1:39581: refused",
				"network: python3.11 looked up update.example: no such name",
				"discovery: dropper searched for files that run as root: find /usr/bin /usr/sbin /etc -perm -4000 -type f",
				"clean-up: rm deleted ~/dropper, the program that was running",
			},
			[]string{"downloaded_and_run 1", "startup_changes 2", "secrets_refused 1", "destinations 2", "own_deletions 1"},
		},
		"miner": {
			[]string{
				"execution: cat wrote ~/.local/bin/xmrig (306) → made executable by chmod → run as process ",
				"network: xmrig connected to 127.0.0.1:39590",
				"persistence: bash added a unit to a user's systemd: ~/.config/systemd/user/update.service",
				"clean-up: ln linked ~/.bash_history to /dev/null",
			},
			[]string{"startup_changes 1", "destinations 1", "own_deletions 0"},
		},
		"encrypter": {
			[]string{
				"impact: python3.11 wrote 60 files in ~/Documents",
				"impact: python3.11 wrote a file with the name of a ransom note: ~/Documents/README_TO_DECRYPT.txt",
			},
			[]string{"destinations 0"},
		},
		"beacon": {
			[]string{
				"persistence: bash added a unit to a user's systemd: ~/.config/systemd/user/agent.service",
				"persistence: bash changed a shell start-up file of a user: ~/.profile",
				"network: agent made an HTTP request with the user agent of a script: POST http://127.0.0.1:39570/check?host=",
				"network: agent made an HTTP request with the user agent of a script: POST http://127.0.0.1:39570/result (200)",
			},
			[]string{"startup_changes 2", "destinations 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBackend(t, map[string]string{"DATA_DIR": t.TempDir()})
			id := b.createSession(name, "MZ")["sessionId"].(string)
			all := recording.Hostile(t, name)
			for some := range slices.Chunk(all, 1000) {
				if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(some, ",")+"]"); a.status != http.StatusOK {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}
			b.found(id)
			s := b.story(id)
			if s.UpTo != int64(len(all)) {
				t.Errorf("the story is about %d of %d events", s.UpTo, len(all))
			}
			lines := s.lines()
			for _, deed := range want.deeds {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, deed) }) {
					t.Errorf("no line tells: %s", deed)
				}
			}
			if most := len(want.deeds) + 5; len(lines) > most {
				t.Errorf("%d lines, at most %d are wanted", len(lines), most)
			}
			for _, count := range want.counts {
				key, n, _ := strings.Cut(count, " ")
				if got := s.Counts[key].(map[string]any)["count"]; fmt.Sprint(got) != n {
					t.Errorf("%s is %v, want %s", key, got, n)
				}
			}
			if t.Failed() {
				t.Logf("the story:\n%s", strings.Join(lines, "\n"))
			}
			if name == "dropper" {
				checkOrigins(t, b, id, &s)
			}
			// Every step leads to its events.
			for _, step := range s.Steps {
				if len(step.Seqs) == 0 || step.FirstSeq == 0 || step.LastSeq < step.FirstSeq || step.Events < int64(len(step.Seqs)) {
					t.Errorf("a step without events: %+v", step)
				}
			}
		})
	}
}

// checkOrigins checks why files and processes of the dropper exist, and the lists of objects.
func checkOrigins(t *testing.T, b *backend, id string, s *story) {
	t.Helper()
	texts := func(query string) string {
		var origin story
		b.decode(b.send("GET", "/api/sessions/"+id+"/origin?"+query, ""), http.StatusOK, &origin)
		lines := []string{}
		for i := range origin.Steps {
			origin.Steps[i].Ordinary = false
		}
		for _, line := range origin.lines() {
			_, text, _ := strings.Cut(line, ": ")
			lines = append(lines, text)
		}
		return strings.Join(lines, "\n")
	}
	stage := texts("path=" + url.QueryEscape(s.Home+"/.cache/.x11"))
	at := 0
	for _, want := range []string{"bash ran /bin/bash ./dropper", "dropper ran curl -s -o ", "curl asked GET http://127.0.0.1:39580/stage2: 200", "curl wrote ~/.cache/.x11", "chmod made ~/.cache/.x11 executable", "dropper ran /bin/sh ~/.cache/.x11"} {
		i := strings.Index(stage[at:], want)
		if i < 0 {
			t.Errorf("the origin of the second stage does not tell that %s:\n%s", want, stage)
			break
		}
		at += i
	}
	if text := texts("path=%2Fnot%2Fthere"); text != "" {
		t.Errorf("a file that no event names has the origin %s", text)
	}
	for _, wrong := range []string{"", "path=a&pid=1", "pid=x", "path=" + strings.Repeat("a", 2000)} {
		if a := b.send("GET", "/api/sessions/"+id+"/origin?"+wrong, ""); a.status != http.StatusBadRequest {
			t.Errorf("%.20s: %d %s", wrong, a.status, a.body)
		}
	}
	got := map[string]int{}
	for _, section := range s.Sections {
		got[section.Kind] = section.Total
		for _, o := range section.Objects {
			if o.Text == "" || len(o.Programs) == 0 {
				t.Errorf("%s has %+v", section.Kind, o)
			}
		}
	}
	if got["destinations"] != 2 || got["refused"] < 1 || got["deleted"] != 1 || got["executed"] < 10 || got["written"] < 5 {
		t.Errorf("the sections are %v", got)
	}
}
