//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMachineOfSomebody checks that a sample sees the machine of somebody, and nothing that
// names the sandbox, this project or this machine.
func TestMachineOfSomebody(t *testing.T) {
	needsPython(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	r := ended(t, `#!/bin/sh
echo "process 1 is $(cat /proc/1/comm), $(tr '\0' ' ' </proc/1/cmdline)"
echo "the user is $(getent passwd user | cut -d: -f5)"
echo "the home has $(ls -A ~ | tr '\n' ' ')"
cat ~/Documents/* >/dev/null && echo "documents can be read"
echo "the model is $(cat /sys/class/dmi/id/sys_vendor)"
echo "the kernel was started with $(cat /proc/cmdline)"
echo "of users there are $(wc -l </etc/passwd)"
echo "it has run for $(cut -d. -f1 /proc/uptime) s"
[ "$(cat /etc/hostname)" = "$(hostname)" ] || echo "it does not know its name"
[ -z "$(ls /usr/local/*)" ] || ls /usr/local
cat /proc/config.gz 2>/dev/null
cat /proc/self/cgroup /etc/machine-id /etc/hosts
python3 -c 'import time; print("python agrees:", abs(time.clock_gettime(time.CLOCK_BOOTTIME) - float(open("/proc/uptime").read().split()[0])) < 60)'
`, small())
	said := string(r.Output)
	for _, want := range []string{
		"process 1 is systemd, /sbin/init splash", "the user is Martin Keller", "the home has .bash_history .bashrc .gitconfig .profile Desktop Documents Downloads sample \n",
		"documents can be read", "the model is LENOVO", "the kernel was started with BOOT_IMAGE=/boot/vmlinuz-", "python agrees: True",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	for _, other := range []string{"ospulse", "sandbox", "bwrap", strings.TrimSpace(string(cmdline)), "it does not know", "/usr/local"} {
		if strings.Contains(said, other) {
			t.Errorf("it says %q", other)
		}
	}
	if id, err := os.ReadFile("/etc/machine-id"); err == nil && len(id) > 1 && strings.Contains(said, strings.TrimSpace(string(id))) {
		t.Error("it has this machine's id")
	}
	if name := regexp.MustCompile(`127\.0\.1\.1 (\S+)`).FindStringSubmatch(said); len(name) != 2 || name[1] == host {
		t.Errorf("its name is %q, and this machine's %q", name, host)
	}
	if up := regexp.MustCompile(`it has run for (\d+) s`).FindStringSubmatch(said); len(up) != 2 || unshare() != "" && len(up[1]) < 5 {
		t.Errorf("it has run for %q s", up)
	}
	if t.Failed() {
		t.Log(said)
	}
}

// TestFurnish checks that the home's files leave the sample's own as they are, also where
// their names are the same.
func TestFurnish(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{".bashrc": "own", "Documents/notes.txt": "own", "Downloads": "own"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil { //nolint:gosec // a home
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "Desktop")); err != nil {
		t.Fatal(err)
	}
	if err := furnish(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{".bashrc": "own", "Documents/notes.txt": "own", "Downloads": "own", "Documents/report-2026.csv": "month,rent"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s: %.20q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, ".profile")); err != nil || time.Since(info.ModTime()) < 0 {
		t.Error(fmt.Sprint(info), err)
	}
}
