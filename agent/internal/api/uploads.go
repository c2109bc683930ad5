//go:build linux

package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"ospulse/agent/internal/durable"
)

// maxNameBytes leaves room in a file name (255 bytes) for a number.
const maxNameBytes = 200

// tempPrefix begins the names of incomplete files. No safe name begins with it.
const tempPrefix = ".upload-"

// errTooLarge means that a file is larger than the limit.
var errTooLarge = errors.New("the file is too large")

// Uploads keeps uploaded files in one folder, each under a safe name. The files are not
// executable. Save and Find may be called concurrently.
type Uploads struct {
	folder string
	root   *os.Root
	mu     sync.Mutex // held while a name is chosen
}

// OpenUploads opens the folder, creates it if needed, and removes incomplete files that a
// crash left.
func OpenUploads(folder string) (*Uploads, error) {
	if err := durable.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder for uploads: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open the folder for uploads: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(folder, tempPrefix+"*"))
	for _, name := range left {
		err = errors.Join(err, root.Remove(filepath.Base(name)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clean the folder for uploads: %w", err), root.Close())
	}
	return &Uploads{folder: folder, root: root}, nil
}

// Close closes the folder.
func (u *Uploads) Close() error { return u.root.Close() }

// Save stores content under a safe form of the name, and returns that name and the SHA-256.
// If a file of that name with other content exists, the new name gets a number. The error is
// errTooLarge if content has more than limit bytes.
func (u *Uploads) Save(name string, content io.Reader, limit int64) (saved, sum string, err error) {
	temp, err := os.CreateTemp(u.folder, tempPrefix+"*")
	if err != nil {
		return "", "", fmt.Errorf("store the file: %w", err)
	}
	part := filepath.Base(temp.Name())
	defer func() {
		if removeErr := u.root.Remove(part); removeErr != nil && err == nil {
			err = fmt.Errorf("store the file: %w", removeErr)
		}
	}()
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(temp, hash), io.LimitReader(content, limit+1))
	if closeErr := temp.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return "", "", fmt.Errorf("store the file: %w", err)
	case size > limit:
		return "", "", errTooLarge
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	saved, err = u.place(part, SafeName(name), sum, size)
	return saved, sum, err
}

// place gives the complete file part its final name, and returns that name. If a file with
// the same content has the name already, place only returns the name.
func (u *Uploads) place(part, name, sum string, size int64) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	extension := filepath.Ext(name)
	stem := strings.TrimSuffix(name, extension)
	for n := 1; ; n++ {
		if n > 1 {
			name = stem + "-" + strconv.Itoa(n) + extension
		}
		err := u.root.Link(part, name)
		if err == nil {
			return name, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("name the file: %w", err)
		}
		if info, err := u.root.Lstat(name); err != nil || !info.Mode().IsRegular() || info.Size() != size {
			continue
		}
		if there, err := u.sum(name); err == nil && there == sum {
			return name, nil
		}
	}
}

func (u *Uploads) sum(name string) (string, error) {
	file, err := u.root.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Find returns the path and the SHA-256 of the file that was stored under the name. The
// text of the error is for the client.
func (u *Uploads) Find(name string) (path, sum string, err error) {
	if name == "" {
		return "", "", errors.New("mode 3 needs fileName: the filename in the answer to the upload")
	}
	if SafeName(name) == name {
		if info, err := u.root.Lstat(name); err == nil && info.Mode().IsRegular() {
			if sum, err = u.sum(name); err != nil {
				return "", "", fmt.Errorf("cannot read the file %q", name)
			}
			return filepath.Join(u.folder, name), sum, nil
		}
	}
	return "", "", fmt.Errorf("there is no uploaded file %.100q: upload it, and start it with the filename in the answer", name)
}

// SafeName returns a file name that is valid on every system, as the Python agent does. It
// removes folders, replaces each run of white space with _, and removes all characters other than ASCII
// letters, digits, "_", "-" and ".". The result does not begin or end with "." or "_".
func SafeName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Join(strings.Fields(name), "_")
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return -1
	}, name)
	if strings.HasPrefix(name, ".") && strings.Count(name, ".") == 1 && len(name) > 1 {
		name = "file" + name // only the extension is left
	}
	name = strings.Trim(name, "._")
	if name == "" {
		return "file"
	}
	if len(name) > maxNameBytes {
		extension := filepath.Ext(name)
		if len(extension) > 20 {
			extension = ""
		}
		name = strings.Trim(name[:maxNameBytes-len(extension)], "._") + extension
	}
	return name
}
