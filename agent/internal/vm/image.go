//go:build linux

package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// format is the version of the protocol between host and guest. Raise it with each change.
const format = 1

// files are the files of an image, in the order in which QEMU inherits them.
var files = [...]string{"vmlinuz", "initrd", "root.img"} //nolint:gochecknoglobals // a table of constants

const manifest = "image.json"

// Image is a folder with the kernel and the disk of virtual machines.
type Image struct {
	Dir    string            `json:"-"`
	Format int               `json:"format"`
	Agent  string            `json:"agent"` // version of the agent in the image
	Suite  string            `json:"suite"` // of Debian
	Built  time.Time         `json:"built"`
	SHA256 map[string]string `json:"sha256"` // by file
}

// OpenImage returns the image in a folder. The error has, after "; ", what to do.
func OpenImage(dir string) (Image, error) {
	const remedy = "; sudo ospulse-agent image build"
	i := Image{Dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, manifest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return i, fmt.Errorf("there is no image of a virtual machine in %s%s", dir, remedy)
	case err != nil:
		return i, fmt.Errorf("%w%s", err, remedy)
	}
	if err := json.Unmarshal(text, &i); err != nil {
		return i, fmt.Errorf("%s/%s is damaged: %w%s", dir, manifest, err, remedy)
	}
	if i.Format != format {
		return i, fmt.Errorf("the image in %s has the format %d, and this agent needs %d%s", dir, i.Format, format, remedy)
	}
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			return i, fmt.Errorf("the image in %s has no %s%s", dir, name, remedy)
		}
	}
	return i, nil
}

// ID returns the first digits of the hash of the image's disk.
func (i Image) ID() string { return i.SHA256["root.img"][:min(16, len(i.SHA256["root.img"]))] }

// open opens the files for QEMU, which can only read them.
func (i Image) open() ([]*os.File, error) {
	var all []*os.File
	for _, name := range files {
		f, err := os.Open(filepath.Join(i.Dir, name))
		if err != nil {
			for _, opened := range all {
				err = errors.Join(err, opened.Close())
			}
			return nil, fmt.Errorf("open the image: %w", err)
		}
		all = append(all, f)
	}
	return all, nil
}

// qemuPath returns the path of QEMU for this processor, or "".
func qemuPath() string {
	path, _ := exec.LookPath("qemu-system-x86_64")
	return path
}

// Check returns what this machine lacks for virtual machines, and after "; " what to do; nil if
// nothing.
func Check() error {
	if qemuPath() == "" {
		return errors.New("QEMU (qemu-system-x86_64) is not installed; apt install qemu-system-x86")
	}
	return nil
}

func hashOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
