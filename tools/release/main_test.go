package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestPackageVersion checks that dpkg and rpm order the versions as the commits are.
func TestPackageVersion(t *testing.T) {
	for described, want := range map[string]string{
		"v1.2.3":                           "1.2.3",
		"v1.2.3-5-gabc1234":                "1.2.3+5.gabc1234",
		"v1.2.3-rc.1":                      "1.2.3~rc.1",
		"v1.2.3-rc.1-12-gabc1234":          "1.2.3~rc.1+12.gabc1234",
		"v0.0.0-git20261130185322.ba5b87b": "0.0.0~git20261130185322.ba5b87b",
	} {
		if got := packageVersion(described); got != want {
			t.Errorf("%s: %s, want %s", described, got, want)
		}
	}
}

// TestArchives checks that both kinds of archives have the files with their modes and the
// given time, and that the same files make the same bytes.
func TestArchives(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	files := []entry{{"o/program", []byte("binary"), 0o755}, {"o/docs/a.md", []byte("text"), 0o644}}
	type file struct {
		name, content string
		mode          os.FileMode
		at            time.Time
	}
	want := []file{{"o/program", "binary", 0o755, at}, {"o/docs/a.md", "text", 0o644, at}}
	for name, kind := range map[string]struct {
		write func(io.Writer, []entry, time.Time) error
		read  func([]byte) []file
	}{
		"tar": {writeTar, func(packed []byte) (got []file) {
			unpacked, err := gzip.NewReader(bytes.NewReader(packed))
			if err != nil {
				t.Fatal(err)
			}
			for r := tar.NewReader(unpacked); ; {
				h, err := r.Next()
				if err != nil {
					return got
				}
				content, _ := io.ReadAll(r)
				got = append(got, file{h.Name, string(content), h.FileInfo().Mode(), h.ModTime.UTC()})
			}
		}},
		"zip": {writeZip, func(packed []byte) (got []file) {
			r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.File {
				opened, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				content, _ := io.ReadAll(opened)
				got = append(got, file{f.Name, string(content), f.Mode(), f.Modified.UTC()})
			}
			return got
		}},
	} {
		var first, second bytes.Buffer
		if err := kind.write(&first, files, at); err != nil {
			t.Fatal(err)
		}
		if err := kind.write(&second, files, at); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s: %v, or the second archive differs", name, err)
		}
		if got := kind.read(first.Bytes()); !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestSBOM checks the components of this test's own program and of a package-lock.json.
func TestSBOM(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	components, err := goModules(self)
	if err != nil {
		t.Fatal(err)
	}
	packages, err := npmPackages([]byte(`{"packages":{"":{"version":"1"},"node_modules/@a/b":{"version":"1.2.3"},"node_modules/c":{"version":"2.0.0"},
		"node_modules/d/node_modules/c":{"version":"2.0.0"},"node_modules/tool":{"version":"3.0.0","dev":true}}}`))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sbom")
	if err := writeSBOM(path, "p", "1.0+2", time.Unix(0, 0).UTC(), append(components, packages...)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		BomFormat  string
		Metadata   struct{ Component struct{ Version string } }
		Components []struct{ Purl string }
	}
	if err := json.Unmarshal(content, &got); err != nil || got.BomFormat != "CycloneDX" || got.Metadata.Component.Version != "1.0+2" {
		t.Fatalf("%v in\n%s", err, content)
	}
	count := map[string]int{}
	for _, c := range got.Components {
		count[c.Purl]++
	}
	for purl, want := range map[string]int{"pkg:npm/%40a/b@1.2.3": 1, "pkg:npm/c@2.0.0": 1, "pkg:npm/tool@3.0.0": 0, "pkg:golang/github.com/CycloneDX/cyclonedx-go@v0.12.0": 1} {
		if count[purl] != want {
			t.Errorf("%d times %s, want %d, in\n%s", count[purl], purl, want, content)
		}
	}
}
