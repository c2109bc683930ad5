//go:build linux

package vm

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestMirrorOf(t *testing.T) {
	const (
		list   = "sources.list"
		deb822 = "sources.list.d/debian.sources"
	)
	for name, test := range map[string]struct {
		sources map[string]string
		want    string
	}{
		"no sources":                     {nil, ""},
		"an empty list":                  {map[string]string{list: ""}, ""},
		"only empty lines":               {map[string]string{list: "\n  \n\t\n"}, ""},
		"the format of one line":         {map[string]string{list: "deb http://deb.example/debian bookworm main\n"}, "http://deb.example/debian"},
		"a line without a newline":       {map[string]string{list: "deb http://deb.example/debian bookworm main"}, "http://deb.example/debian"},
		"a line that starts with spaces": {map[string]string{list: "\t deb  http://deb.example/debian bookworm main\n"}, "http://deb.example/debian"},
		"options of one line":            {map[string]string{list: "deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian/ bookworm main\n"}, "https://mirror.example/debian/"},
		"the format of deb822": {map[string]string{
			deb822: "Types: deb deb-src\nURIs: http://ftp.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n",
		}, "http://ftp.example/debian"},
		"two mirrors of deb822": {map[string]string{deb822: "Types: deb\nURIs: http://one.example/debian http://two.example/debian\nSuites: bookworm\n"}, "http://one.example/debian"},
		"security before the mirror in deb822": {map[string]string{
			deb822: "Types: deb\nURIs: http://deb.example/debian-security\nSuites: bookworm-security\n\nTypes: deb\nURIs: http://deb.example/debian\nSuites: bookworm\n",
		}, "http://deb.example/debian"},
		"a list named debian": {map[string]string{"sources.list.d/debian.list": "deb http://deb.example/debian bookworm main\n"}, "http://deb.example/debian"},
		"sources.list comes first": {map[string]string{
			list: "deb http://list.example/debian bookworm main\n", deb822: "URIs: http://deb822.example/debian\n",
		}, "http://list.example/debian"},
		"an empty sources.list beside deb822": {map[string]string{
			list: "# See /etc/apt/sources.list.d/debian.sources\n", deb822: "URIs: http://deb822.example/debian\n",
		}, "http://deb822.example/debian"},
		"the first of two mirrors": {map[string]string{
			list: "deb http://one.example/debian bookworm main\ndeb http://two.example/debian bookworm main\n",
		}, "http://one.example/debian"},
		"comments": {map[string]string{
			list: "# deb http://no.example/debian bookworm main\n#deb http://no.example/debian bookworm main\n", deb822: "# URIs: http://no.example/debian\n#URIs: http://no.example/debian\n",
		}, ""},
		"a comment before the mirror": {map[string]string{list: "#deb http://no.example/debian bookworm main\ndeb http://yes.example/debian bookworm main\n"}, "http://yes.example/debian"},
		"another vendor": {map[string]string{
			list: "deb http://ubuntu.example/ubuntu noble main\ndeb https://docker.example/linux/debian-ce bookworm stable\n",
		}, ""},
		"another vendor of deb822": {map[string]string{"sources.list.d/ubuntu.sources": "Types: deb\nURIs: http://ubuntu.example/ubuntu\nSuites: noble\n"}, ""},
		"another vendor before the mirror": {map[string]string{
			list: "deb http://ubuntu.example/ubuntu noble main\ndeb http://yes.example/debian bookworm main\n",
		}, "http://yes.example/debian"},
		"only a security suite":           {map[string]string{list: "deb http://security.example/debian-security bookworm-security main\n"}, ""},
		"only a security suite of deb822": {map[string]string{deb822: "Types: deb\nURIs: http://security.example/debian-security/\nSuites: bookworm-security\n"}, ""},
		"only sources of packages":        {map[string]string{list: "deb-src http://deb.example/debian bookworm main\n"}, ""},
		"only a disc":                     {map[string]string{list: "deb cdrom:[Debian 12]/debian bookworm main\n"}, ""},
		"only another field of deb822":    {map[string]string{deb822: "X-Home: http://no.example/debian\n"}, ""},
		"a word in the place of a mirror": {map[string]string{list: "deb\ndeb /debian\nURIs:\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			apt := t.TempDir()
			for path, text := range test.sources {
				put(t, filepath.Join(apt, path), text)
			}
			if got := mirrorOf(apt); got != test.want {
				t.Errorf("the mirror is %q, not %q", got, test.want)
			}
		})
	}
	if got := mirrorOf(filepath.Join(t.TempDir(), "absent")); got != "" {
		t.Errorf("a missing folder has the mirror %q", got)
	}
}

func TestImageCommandUsage(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no subcommand":                {nil, 2, "usage: ospulse-agent image build"},
		"an empty subcommand":          {[]string{""}, 2, "usage: ospulse-agent image build"},
		"an unknown subcommand":        {[]string{"destroy"}, 2, "usage: ospulse-agent image build"},
		"a flag before the subcommand": {[]string{"-suite", "trixie", "build"}, 2, "usage: ospulse-agent image build"},
		"--help":                       {[]string{"build", "--help"}, 0, "usage: ospulse-agent image build"},
		"-h":                           {[]string{"build", "-h"}, 0, "-suite"},
		"an unknown flag":              {[]string{"build", "--size", "1"}, 2, "-size"},
		"a flag without its value":     {[]string{"build", "--suite"}, 2, "needs an argument"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "image")
			var said bytes.Buffer
			if code := ImageCommand(t.Context(), test.args, dir, "v1", &said); code != test.code {
				t.Errorf("the exit code is %d, not %d: %s", code, test.code, said.String())
			}
			if !strings.Contains(said.String(), test.says) {
				t.Errorf("it says %q, without %q", said.String(), test.says)
			}
			if found, err := filepath.Glob(dir + "*"); err != nil || len(found) != 0 {
				t.Errorf("it left %v (%v)", found, err)
			}
		})
	}
}

// TestSwap: an image takes the place of another one, or of none, without a moment without one.
func TestSwap(t *testing.T) {
	dir := t.TempDir()
	out, work := filepath.Join(dir, "image"), filepath.Join(dir, "image.building")
	for _, name := range []string{"first", "second"} {
		put(t, filepath.Join(work, name), name)
		if err := swap(out, work); err != nil {
			t.Fatal(err)
		}
		if found, err := filepath.Glob(out + "/*"); err != nil || len(found) != 1 || filepath.Base(found[0]) != name {
			t.Errorf("the image has %v (%v), not %s", found, err, name)
		}
	}
	if found, err := filepath.Glob(work + "/*"); err != nil || len(found) != 1 || filepath.Base(found[0]) != "first" {
		t.Errorf("the old image has become %v (%v)", found, err)
	}
	if err := swap(out, filepath.Join(dir, "missing")); err == nil {
		t.Error("nothing took the place of an image")
	}
}
