package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// documents are the files in archives besides the programs.
var documents = []string{".env.example", "README.md", "docs/install.md", "docs/settings.md", "docs/backup.md", "docs/agent.md", "docs/CHANGELOG.md"}

// entry is a file of an archive.
type entry struct {
	name    string // with slashes
	content []byte
	mode    int64
}

// archive writes the archive for a target: a zip for Windows, otherwise a tar.gz.
func (r *releaser) archive(target string) (err error) {
	name := "ospulse_" + r.version + "_" + strings.ReplaceAll(target, "/", "_")
	var files []entry
	for _, p := range programsFor(target) {
		files = append(files, entry{name: built(target, p.name), mode: 0o755})
	}
	for _, document := range documents {
		files = append(files, entry{name: document, mode: 0o644})
	}
	for i := range files {
		f := &files[i]
		if f.content, err = os.ReadFile(r.path(f.name)); err != nil {
			return err
		}
		if f.mode == 0o755 {
			f.name = path.Base(f.name)
		}
		f.name = name + "/" + f.name
	}
	write, ending := writeTar, ".tar.gz"
	if strings.HasPrefix(target, "windows/") {
		write, ending = writeZip, ".zip"
	}
	out, err := os.Create(r.path("dist/" + name + ending))
	if err != nil {
		return err
	}
	return errors.Join(write(out, files, r.made), out.Close())
}

// writeTar writes files of root at a time.
func writeTar(w io.Writer, files []entry, at time.Time) error {
	packed := gzip.NewWriter(w)
	archive := tar.NewWriter(packed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if _, err := archive.Write(f.content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), packed.Close())
}

// writeZip writes files at a time.
func writeZip(w io.Writer, files []entry, at time.Time) error {
	archive := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at}
		header.SetMode(os.FileMode(f.mode))
		file, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := file.Write(f.content); err != nil {
			return err
		}
	}
	return archive.Close()
}
