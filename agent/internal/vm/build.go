//go:build linux

package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// packages are what the image has beside the smallest Debian.
const packages = "linux-image-cloud-amd64,systemd,systemd-sysv,udev,dbus,kmod,zstd,python3,perl,curl,wget,ca-certificates," +
	"iproute2,procps,xz-utils,bzip2,unzip,file,openssl,isc-dhcp-client"

// diskMB is the size of the image's disk, without what the build puts there.
const diskMB = 2048

// modules are what the kernel needs to find its disk.
const modules = "virtio_pci\nvirtio_blk\nvirtio_console\next4\n"

// tree lists what the build writes into the root of the image. systemd takes the agent's unit
// into its boot by the link that Build creates.
var tree = map[string]string{ //nolint:gochecknoglobals // a table of constants
	"etc/initramfs-tools/conf.d/modules": "MODULES=list\nCOMPRESS=zstd\nBUSYBOX=n\n",
	"etc/fstab":                          "/dev/vda / ext4 rw,noatime 0 1\n",
	"etc/hostname":                       "thinkpad\n",
	"etc/hosts":                          "127.0.0.1 localhost\n127.0.1.1 thinkpad\n",
	"etc/resolv.conf":                    "nameserver 10.0.2.3\n",
	unit: `[Unit]
Description=System statistics
After=basic.target

[Service]
ExecStart=/usr/sbin/sysstatd guest
Environment=HOME=/root
LimitMEMLOCK=infinity
Restart=no
`,
	"etc/systemd/network/10-lan.network": "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n",
}

const unit = "etc/systemd/system/sysstatd.service"

// agentPath is the path of the agent in the image.
const agentPath = "usr/sbin/sysstatd"

// ImageCommand runs `ospulse-agent image build` and returns its exit code.
func ImageCommand(ctx context.Context, args []string, defaultDir, version string, stderr io.Writer) int {
	flags := flag.NewFlagSet("ospulse-agent image build", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", defaultDir, "the `folder` for the image")
	suite := flags.String("suite", "bookworm", "the `release` of Debian")
	mirror := flags.String("mirror", "", "the `URL` of a mirror of Debian; default the one of this machine, or debootstrap's")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: ospulse-agent image build [flags]\n\nBuilds the virtual machine for SPAWN_ISOLATION=vm, as root, with debootstrap.")
		flags.PrintDefaults()
	}
	if len(args) > 0 && args[0] == "build" {
		args = args[1:]
	} else if len(args) != 1 || args[0] != "-h" && args[0] != "--help" {
		flags.Usage()
		return 2
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	b := builder{out: *out, suite: *suite, mirror: *mirror, version: version, stderr: stderr}
	if b.mirror == "" {
		b.mirror = mirrorOf("/etc/apt")
	}
	if err := b.build(ctx); err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent image build:", err)
		return 1
	}
	return 0
}

type builder struct {
	out, suite, mirror, version string
	stderr                      io.Writer
}

// build makes the image in a folder beside out, and renames it at the end.
func (b builder) build(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can build an image: sudo ospulse-agent image build")
	}
	for _, tool := range []struct{ program, pack string }{{"debootstrap", "debootstrap"}, {"mke2fs", "e2fsprogs"}} {
		if _, err := exec.LookPath(tool.program); err != nil {
			return fmt.Errorf("%s is not installed; apt install %s", tool.program, tool.pack)
		}
	}
	out, err := filepath.Abs(b.out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	work := out + ".building"
	lock, err := os.OpenFile(work+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another build of %s runs: %w", out, err)
	}
	defer os.Remove(work + ".lock")            //nolint:errcheck // an empty file
	if err := os.RemoveAll(work); err != nil { // of a build that was killed
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // the next build removes it
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	if err := b.fill(ctx, work); err != nil {
		return err
	}
	if err := swap(out, work); err != nil {
		return err
	}
	b.say("the image is in %s", out)
	return nil
}

// swap puts the folder work in the place of out, and what was there in the place of work.
func swap(out, work string) error {
	err := unix.Renameat2(unix.AT_FDCWD, work, unix.AT_FDCWD, out, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) { // the file system cannot exchange two folders
		err = errors.Join(os.RemoveAll(out), unix.ENOENT)
	}
	if errors.Is(err, unix.ENOENT) { // there is no out
		return os.Rename(work, out)
	}
	return err
}

func (b builder) say(format string, args ...any) { _, _ = fmt.Fprintf(b.stderr, format+"\n", args...) }

// fill puts the files of the image into a folder.
func (b builder) fill(ctx context.Context, dir string) error {
	root := filepath.Join(dir, "root")
	b.say("installing Debian %s (some minutes) …", b.suite)
	arguments := []string{"--variant=minbase", "--include=" + packages, b.suite, root}
	if b.mirror != "" {
		arguments = append(arguments, b.mirror)
	}
	if err := b.run(ctx, "debootstrap", arguments...); err != nil {
		return err
	}
	for name, text := range tree {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/initramfs-tools/modules"), []byte(modules), 0o644); err != nil {
		return err
	}
	if err := copyFile("/proc/self/exe", filepath.Join(root, agentPath), 0o755); err != nil {
		return err
	}
	b.say("preparing the system …")
	const script = `set -e
update-initramfs -u
useradd --uid 1000 --create-home --shell /bin/bash user
systemctl enable systemd-networkd
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf /` + unit + ` /etc/systemd/system/multi-user.target.wants/
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer motd-news.timer systemd-networkd-wait-online.service
rm -rf /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /var/log/bootstrap.log`
	if err := b.run(ctx, "chroot", root, "/bin/sh", "-c", script); err != nil {
		return err
	}
	for pattern, name := range map[string]string{"boot/vmlinuz-*": "vmlinuz", "boot/initrd.img-*": "initrd"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("the image has %d files %s, not one", len(found), pattern)
		}
		if err := copyFile(found[0], filepath.Join(dir, name), 0o644); err != nil {
			return err
		}
	}
	b.say("making the disk …")
	disk := filepath.Join(dir, "root.img")
	if err := b.run(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root, disk, fmt.Sprintf("%dM", diskMB)); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	image := Image{Format: format, Agent: b.version, Suite: b.suite, Built: time.Now().UTC().Truncate(time.Second), SHA256: map[string]string{}}
	for _, name := range files {
		path := filepath.Join(dir, name)
		var err error
		if image.SHA256[name], err = hashOf(path); err == nil {
			err = os.Chmod(path, 0o644) // QEMU runs as a user of its own
		}
		if err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(image, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifest), append(text, '\n'), 0o644)
}

// run runs a command in namespaces of its own: its mounts and its processes end with it, even if
// the agent is killed.
func (b builder) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out[max(0, len(out)-4000):])
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// mirrorOf returns the first mirror in the sources of apt that is one of Debian; "" if there is
// none.
func mirrorOf(apt string) string {
	lists, _ := filepath.Glob(filepath.Join(apt, "sources.list.d", "debian.*"))
	for _, path := range append([]string{filepath.Join(apt, "sources.list")}, lists...) {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			for i, word := range words {
				isSource := words[0] == "deb" || words[0] == "URIs:"
				if isSource && i > 0 && strings.Contains(word, "://") && !strings.Contains(word, "@") && strings.HasSuffix(strings.TrimRight(word, "/"), "/debian") {
					_ = f.Close()
					return word
				}
			}
		}
		_ = f.Close()
	}
	return ""
}
