//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// signal sends PostgreSQL's signal for the mode.
func (p *process) signal(mode StopMode) error {
	if mode == Fast {
		return p.cmd.Process.Signal(syscall.SIGINT)
	}
	return p.cmd.Process.Signal(syscall.SIGQUIT)
}

// sysProcAttr runs PostgreSQL as a user that it accepts, and in its own process group,
// so that Ctrl-C in a terminal reaches only the tests.
func sysProcAttr() (*syscall.SysProcAttr, error) {
	credential, err := credential()
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Credential: credential, Setpgid: true}
	dieWithParent(attr)
	return attr, nil
}

// credential returns the user that runs PostgreSQL; nil is the user of this process.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	var failed error
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no other user to run it as: %w", failed)
}

// makeDir creates the server's folder in parent, or in the folder of temporary files,
// owned by the user that runs PostgreSQL.
func makeDir(parent string) (string, error) {
	credential, err := credential()
	if err != nil {
		return "", err
	}
	if parent == "" {
		parent = os.TempDir()
	}
	if credential != nil {
		if parent, err = reachable(parent, "/tmp", "/var/tmp"); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp(parent, "ospulse-pgtest-") // mode 0700
	if err != nil || credential == nil {
		return dir, err
	}
	if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// reachable returns the first folder that every user can enter. TMPDIR of root may be
// in a folder that only root can enter.
func reachable(dirs ...string) (string, error) {
	for _, dir := range dirs {
		if everyoneEnters(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("none of %q can be entered by another user than root: set TMPDIR to a folder that can", dirs)
}

func everyoneEnters(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&fs.FileMode(0o001) == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}
