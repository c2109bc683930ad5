//go:build linux

package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imageIn writes an image with a manifest and small files into a new folder.
func imageIn(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		put(t, filepath.Join(dir, name), name)
	}
	put(t, filepath.Join(dir, manifest), text)
	return dir
}

// put writes a file and the folders above it.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const goodManifest = `{"format":1,"agent":"v1","suite":"bookworm","built":"2026-11-30T00:00:00Z","sha256":{"root.img":"0123456789abcdef0123"}}`

// replace puts a folder where a file of an image was, or nothing.
func replace(t *testing.T, path string, folder bool) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !folder {
		return
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestOpenImage(t *testing.T) {
	dir := imageIn(t, goodManifest)
	image, err := OpenImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	if image.Dir != dir || image.Agent != "v1" || image.Suite != "bookworm" || image.ID() != "0123456789abcdef" {
		t.Errorf("the image is %+v with the ID %q", image, image.ID())
	}
	opened, err := image.open()
	if err != nil {
		t.Fatal(err)
	}
	for n, f := range opened {
		if want := filepath.Join(dir, files[n]); f.Name() != want {
			t.Errorf("file %d is %s, not %s", n, f.Name(), want)
		}
		if _, err := f.WriteString("x"); err == nil {
			t.Errorf("QEMU can write %s", f.Name())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(opened) != len(files) {
		t.Errorf("there are %d files", len(opened))
	}
}

func TestOpenImageNamesTheRemedy(t *testing.T) {
	for name, test := range map[string]struct {
		dir   func(t *testing.T) string
		names string // part of the error
	}{
		"a missing folder":      {func(t *testing.T) string { return filepath.Join(t.TempDir(), "absent") }, "there is no image"},
		"an empty folder":       {func(t *testing.T) string { return t.TempDir() }, "there is no image"},
		"an empty manifest":     {func(t *testing.T) string { return imageIn(t, "") }, "is damaged"},
		"damaged JSON":          {func(t *testing.T) string { return imageIn(t, goodManifest[:40]) }, "is damaged"},
		"another type":          {func(t *testing.T) string { return imageIn(t, `[]`) }, "is damaged"},
		"a format that is text": {func(t *testing.T) string { return imageIn(t, `{"format":"1"}`) }, "is damaged"},
		"no format":             {func(t *testing.T) string { return imageIn(t, `{}`) }, "format 0"},
		"null":                  {func(t *testing.T) string { return imageIn(t, `null`) }, "format 0"},
		"a newer format": {func(t *testing.T) string {
			return imageIn(t, strings.Replace(goodManifest, `"format":1`, `"format":999`, 1))
		}, "format 999"},
		"no kernel": {func(t *testing.T) string {
			dir := imageIn(t, goodManifest)
			replace(t, filepath.Join(dir, "vmlinuz"), false)
			return dir
		}, "no vmlinuz"},
		"no initrd": {func(t *testing.T) string {
			dir := imageIn(t, goodManifest)
			replace(t, filepath.Join(dir, "initrd"), false)
			return dir
		}, "no initrd"},
		"no disk": {func(t *testing.T) string {
			dir := imageIn(t, goodManifest)
			replace(t, filepath.Join(dir, "root.img"), false)
			return dir
		}, "no root.img"},
		"a folder instead of the disk": {func(t *testing.T) string {
			dir := imageIn(t, goodManifest)
			replace(t, filepath.Join(dir, "root.img"), true)
			return dir
		}, "no root.img"},
		"a link to nothing instead of the disk": {func(t *testing.T) string {
			dir := imageIn(t, goodManifest)
			replace(t, filepath.Join(dir, "root.img"), false)
			if err := os.Symlink("absent", filepath.Join(dir, "root.img")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "no root.img"},
		"a folder instead of the manifest": {func(t *testing.T) string {
			dir := imageIn(t, goodManifest)
			replace(t, filepath.Join(dir, manifest), true)
			return dir
		}, manifest},
		"a file instead of the folder": {func(t *testing.T) string { return filepath.Join(imageIn(t, goodManifest), manifest) }, manifest},
	} {
		t.Run(name, func(t *testing.T) {
			dir := test.dir(t)
			_, err := OpenImage(dir)
			if err == nil {
				t.Fatal("it is opened")
			}
			what, remedy, _ := strings.Cut(err.Error(), "; ")
			if !strings.Contains(remedy, "ospulse-agent image build") {
				t.Errorf("the error %q does not name ospulse-agent image build", err)
			}
			if !strings.Contains(what, test.names) || !strings.Contains(what, dir) {
				t.Errorf("the error %q does not name %q and %s", err, test.names, dir)
			}
		})
	}
}

// TestImageID checks hashes of each length, because a person may have edited the manifest.
func TestImageID(t *testing.T) {
	for name, test := range map[string]struct {
		hashes map[string]string
		want   string
	}{
		"no hashes":                {nil, ""},
		"no hash of the disk":      {map[string]string{"vmlinuz": "00"}, ""},
		"an empty hash":            {map[string]string{"root.img": ""}, ""},
		"a short hash stays":       {map[string]string{"root.img": "0123"}, "0123"},
		"a hash of 16 stays":       {map[string]string{"root.img": "0123456789abcdef"}, "0123456789abcdef"},
		"a longer hash is cut":     {map[string]string{"root.img": "0123456789abcdef0"}, "0123456789abcdef"},
		"other files do not count": {map[string]string{"root.img": "ab", "vmlinuz": "cd"}, "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Image{SHA256: test.hashes}).ID(); got != test.want {
				t.Errorf("the ID is %q, not %q", got, test.want)
			}
		})
	}
}

func TestHashOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "abc")
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, B.1
	if got, err := hashOf(path); err != nil || got != want {
		t.Errorf("the hash is %s (%v)", got, err)
	}
	if got, err := hashOf(path + ".absent"); err == nil {
		t.Errorf("a missing file has the hash %s", got)
	}
}
