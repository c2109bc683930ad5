package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRulesCommand checks what the command rules prints, and when it fails.
func TestRulesCommand(t *testing.T) {
	const head = "logsource: {product: linux, category: process_creation}\ndetection:\n  s: {%}\n  condition: s\n"
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good/curl.yml":           "title: Curl\nlevel: low\n" + strings.Replace(head, "%", "Image|endswith: /curl", 1),
		"good/sub/logon.yaml":     "title: Logon\n" + strings.Replace(head, "%", "LogonId: 5", 1),
		"good/part.yml":           "title: Part\n" + strings.Replace(head, "{%}", "[{LogonId: 5}, {Image: x}]", 1),
		"good/README.md":          "no rule",
		"good/.git/x.yml":         "no rule",
		"bad/broken.yml":          "title: Broken\n" + strings.Replace(head, "%", "Image|near: x", 1),
		"bad/large.yml":           "title: " + strings.Repeat("x", 300<<10),
		"names/admins.yml":        "title: Admins\n" + strings.Replace(head, "%", "Image|endswith|expand: '/%tool%'", 1),
		"names/others.yml":        "title: Others\n" + strings.Replace(head, "%", "Image|expand: ['%tool%', '%other%']", 1),
		"names/none.yml":          "title: None\n" + strings.Replace(head, "%", "Image|expand: '%other%'", 1),
		"names/placeholders.yml":  "tool: [wget, curl]\n",
		"broken/placeholders.yml": "a: b\ntool: {x: y}\n",
		"none/readme.txt":         "",
		"events.ndjson": `{"event_type":"process_creation","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"imagePath":"/usr/bin/curl"}}` + "\n\n" +
			strings.Repeat(`{"seq":7,"event_type":"process_creation","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"imagePath":"/usr/bin/curl"}}`+"\n", 6),
		"tried.ndjson": strings.Repeat(`{"event_type":"file_operation","timestamp":"2026-11-22T18:57:39Z","source":"a","data":{"operation":"OpenFile","filePath":"/etc/shadow","status":-13,"metadata":{"processName":"cat"}}}`+"\n", 2),
		"bad.ndjson":   "{}\nx\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	curl := "low                7  Curl (seq 1, 7, 7, 7, 7, …)\n1 of 1 rules match, in 7 events\n"
	for _, tt := range []struct{ args, want, err string }{
		{"--help", rulesUsage, ""},
		{"check good", "good/part.yml: runs without LogonId\ngood/sub/logon.yaml: cannot run: needs LogonId\n3 rules: 2 run, 1 cannot run, 0 are broken\n", ""},
		{"check good/curl.yml bad/broken.yml", "bad/broken.yml: broken: line 4: unknown modifier |near\n2 rules: 1 run, 0 cannot run, 1 are broken\n", "1 rules are broken"},
		{"check bad/large.yml", "at most 262144 are taken\n1 rules: 0 run", "broken"},
		{"check names", "names/none.yml: cannot run: needs the values of %other%\nnames/others.yml: runs without the values of %other%\n3 rules: 2 run, 1 cannot run, 0 are broken\n", ""},
		{"check names/none.yml names/admins.yml", "2 rules: 1 run, 1 cannot run", ""},
		{"check broken", "broken/placeholders.yml: broken: line 2: a value of tool is not a text", "1 rules are broken"},
		{"test names events.ndjson", " 7  Admins (seq 1, 7", ""},
		{"check none", "", "none has no rules"},
		{"check missing", "", "no such file"},
		{"test good/curl.yml events.ndjson", curl, ""},
		{"test good/curl.yml -", curl, ""},
		{"test tried.ndjson", "high               2  A program read the password hashes (seq 1, 2; attempt failed)\n", ""},
		{"test good missing.ndjson", "", "no such file"},
		{"test good bad.ndjson", "", "event 1: "},
		{"list", "high           A program read the password hashes  attack.credential-access attack.t1003.008\n", ""},
		{"test events.ndjson", " rules match, in 7 events\n", ""},
		{"", "", "see ospulse-backend rules --help"},
		{"test", "", "see ospulse-backend rules --help"},
	} {
		stdin, err := os.Open("events.ndjson")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = runRules(strings.Fields(tt.args), stdin, &out)
		stdin.Close()
		if !strings.Contains(filepath.ToSlash(out.String()), tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("rules %s: %v, it says\n%.2000s", tt.args, err, out.String())
		}
	}
}
