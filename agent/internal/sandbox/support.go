//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Feature says whether something works on this machine.
type Feature struct {
	OK     bool
	Detail string // how it works; otherwise why not and, after "; ", how to fix it
}

// Support says which features of the package work on this machine.
type Support struct {
	Sandbox Feature // a program ran in a sandbox
	NAT     Feature // NetworkNAT
	Limits  Feature // the kernel enforces all limits of Options
}

// Check tests which features work on this machine. It runs a trivial program in a sandbox,
// which takes about 50 ms.
func Check() Support {
	var s Support
	version, notes, err := trial()
	if err != nil {
		s.Sandbox.Detail = err.Error()
		if hint := usernsHint(); hint != "" && !errors.Is(err, errNoBubblewrap) {
			s.Sandbox.Detail += "; " + hint
		}
		s.Limits.Detail = "there is no sandbox"
	} else {
		s.Sandbox = Feature{true, version}
		s.Limits = Feature{len(notes) == 0, strings.Join(notes, ", ")}
		if s.Limits.OK {
			s.Limits.Detail = "memory, processes and processors by cgroup, disk by the size of its file systems"
		}
	}
	path, err := exec.LookPath("slirp4netns")
	switch {
	case err != nil:
		s.NAT.Detail = errNoSlirp.Error()
	case !s.Sandbox.OK:
		s.NAT.Detail = "there is no sandbox"
	default:
		s.NAT = Feature{true, path}
		if err := checkTun(tunDevice, os.Geteuid() == 0); err != nil {
			s.NAT = Feature{false, err.Error()}
		}
	}
	return s
}

// trial runs a script in a sandbox. It returns the version of bubblewrap and the notes about
// limits that this machine cannot set.
func trial() (version string, notes []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return "", nil, errNoBubblewrap
	}
	said, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", nil, fmt.Errorf("%s --version: %w", path, err)
	}
	dir, err := os.MkdirTemp("", "ospulse-check-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover is only a temporary file
	file := filepath.Join(dir, "check")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 42\n"), 0o600); err != nil {
		return "", nil, err
	}
	p, err := Start(ctx, file, Options{Timeout: 10 * time.Second, MemoryMB: 256, DiskMB: 16, Processes: 32})
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	if err := p.Release(); err != nil {
		return "", nil, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return "", nil, errors.New("the test program in the sandbox does not end")
	}
	if r := p.Result(); r.ExitCode != 42 {
		return "", nil, fmt.Errorf("the test program in the sandbox did not end as expected: %s, exit code %d, signal %v", r.Reason, r.ExitCode, r.Signal)
	}
	return strings.TrimSpace(string(said)), p.Notes(), nil
}

// usernsHint names the setting that forbids user namespaces on this machine, or returns "".
func usernsHint() string {
	for _, setting := range []struct{ file, bad, hint string }{
		{"/proc/sys/user/max_user_namespaces", "0", "user namespaces are switched off: sysctl user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "user namespaces are switched off: sysctl kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor keeps bwrap from user namespaces: it needs a profile that allows userns, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		text, err := os.ReadFile(setting.file)
		if err == nil && strings.TrimSpace(string(text)) == setting.bad {
			return setting.hint
		}
	}
	return ""
}
