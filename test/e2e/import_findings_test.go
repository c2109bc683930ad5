package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/test/wait"
)

// TestFindingsTravel checks that a bundle has the findings of its session; that a backend
// which imports it applies its own rules, and keeps what rules found that it does not have.
func TestFindingsTravel(t *testing.T) {
	folder := t.TempDir()
	rule := "title: Hosts are read\nid: 00000000-0000-4000-8000-000000000002\nauthor: Somebody\nlicense: MIT\nlevel: low\ntags: [attack.t1016]\nlogsource: {product: ospulse}\ndetection:\n  s: {target: /etc/hosts}\n  condition: s\n"
	if err := os.WriteFile(filepath.Join(folder, "a.yml"), []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	source := startBackend(t, map[string]string{"RULES_DIR": folder})
	id := source.createSession("a.exe", "MZ")["sessionId"].(string)
	if a := source.send("POST", "/api/events/batch?sessionId="+id, "["+readOf("cat", "/etc/hosts")+","+readOf("cat", "/etc/shadow")+"]"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	shown := func(b *backend, id string) (all []string) {
		t.Helper()
		for _, f := range b.found(id).Findings {
			all = append(all, fmt.Sprint(f.Title, " ", f.Level, " ", f.Seqs, " ", f.Author, " ", f.License, " ", f.IsImported))
		}
		return all
	}
	const secret, hosts = "A program read the password hashes high [2] OS-Pulse  ", "Hosts are read low [1] Somebody MIT "
	want := []string{secret + "false", hosts + "false"}
	if got := shown(source, id); !slices.Equal(got, want) {
		t.Fatalf("the source has %q", got)
	}
	bundle := source.exportAs(t, id, "format=bundle").body
	parts := unzip(t, bundle)
	if text := parts["findings.ndjson"]; strings.Count(text, "\n") != 2 || !strings.Contains(text, `"title":"Hosts are read"`) || !strings.Contains(parts["manifest.json"], `"findings.ndjson"`) {
		t.Errorf("the bundle has %s\n%s", text, parts["manifest.json"])
	}

	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		var view struct{ ID string }
		b.decode(b.importBundle(bundle, "?new_id=true"), http.StatusCreated, &view)
		if got := shown(b, view.ID); !slices.Equal(got, []string{secret + "false", hosts + "true"}) {
			t.Errorf("the import has %q", got)
		}
		again := unzip(t, b.exportAs(t, view.ID, "format=bundle").body)
		if again["findings.ndjson"] != parts["findings.ndjson"] {
			t.Errorf("exported again:\n%s\nwant\n%s", again["findings.ndjson"], parts["findings.ndjson"])
		}
		var matrix struct {
			Tactics []struct {
				ShortName string `json:"short_name"`
				Findings  int
			}
		}
		b.decode(b.send("GET", "/api/sessions/"+view.ID+"/attack", ""), http.StatusOK, &matrix)
		for _, tactic := range matrix.Tactics {
			if tactic.ShortName == "discovery" && tactic.Findings != 1 {
				t.Error("the matrix lacks the imported finding")
			}
		}
		b.send("DELETE", "/api/sessions/"+view.ID, "")
		wait.For(t, "the session is deleted", func() bool {
			var left int
			err := openDatabase(t, env).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM imported_findings").Scan(&left)
			return err == nil && left == 0
		})
	})

	// A backend with the same rules finds the same itself.
	same := startBackend(t, map[string]string{"RULES_DIR": folder})
	same.importBundle(bundle, "")
	if got := shown(same, id); !slices.Equal(got, want) {
		t.Errorf("with the same rules: %q", got)
	}
}
