//go:build linux

package sandbox

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sample that finds itself in a sandbox may do nothing. This file describes the machine
// that it sees instead: a laptop that somebody uses. Nothing here is about this machine,
// whose names and files would also tell the sample whose it is.

// homeFiles are the files in the user's home.
//
//go:embed all:home
var homeFiles embed.FS

// hostNames are the names of which each sandbox gets one.
var hostNames = []string{"desktop", "laptop", "martin-laptop", "thinkpad", "thinkpad-t14", "keller-pc", "office", "workstation", "homepc", "debian"} //nolint:gochecknoglobals // a constant

// passwd has the users of a Debian system, and one person.
const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
lp:x:7:7:lp:/var/spool/lpd:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin
messagebus:x:100:107::/nonexistent:/usr/sbin/nologin
avahi:x:101:110:Avahi mDNS daemon,,,:/run/avahi-daemon:/usr/sbin/nologin
user:x:1000:1000:Martin Keller,,,:` + homeDir + `:/bin/bash
`

const group = `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:user
lp:x:7:
mail:x:8:
man:x:12:
cdrom:x:24:user
sudo:x:27:user
audio:x:29:user
www-data:x:33:
backup:x:34:
video:x:44:user
plugdev:x:46:user
messagebus:x:107:
avahi:x:110:
systemd-network:x:998:
user:x:1000:
nogroup:x:65534:
`

// sysFiles are the files in /sys by which programs recognise virtual machines, as a laptop
// has them.
var sysFiles = map[string]string{ //nolint:gochecknoglobals // a constant
	"class/dmi/id/sys_vendor":                                     "LENOVO",
	"class/dmi/id/product_name":                                   "20W1S0TD00",
	"class/dmi/id/product_version":                                "ThinkPad T14 Gen 2i",
	"class/dmi/id/product_family":                                 "ThinkPad T14 Gen 2i",
	"class/dmi/id/board_vendor":                                   "LENOVO",
	"class/dmi/id/board_name":                                     "20W1S0TD00",
	"class/dmi/id/bios_vendor":                                    "LENOVO",
	"class/dmi/id/bios_version":                                   "N34ET62W (1.62 )",
	"class/dmi/id/bios_date":                                      "03/19/2024",
	"class/dmi/id/chassis_vendor":                                 "LENOVO",
	"class/dmi/id/chassis_type":                                   "10",
	"class/power_supply/AC/online":                                "1",
	"class/power_supply/AC/type":                                  "Mains",
	"class/power_supply/BAT0/capacity":                            "87",
	"class/power_supply/BAT0/status":                              "Charging",
	"class/power_supply/BAT0/type":                                "Battery",
	"class/thermal/thermal_zone0/temp":                            "46000",
	"class/thermal/thermal_zone0/type":                            "acpitz",
	"class/net/lo/address":                                        "00:00:00:00:00:00",
	"class/net/lo/operstate":                                      "unknown",
	"kernel/mm/transparent_hugepage/enabled":                      "always [madvise] never",
	"devices/system/clocksource/clocksource0/current_clocksource": "tsc",
}

// machineArguments returns the arguments of bubblewrap for everything that describes the
// machine. pass makes it inherit a file.
func machineArguments(pass func(name string, content []byte) string) []string {
	host := hostNames[rand.IntN(len(hostNames))]
	args := []string{"--hostname", host}
	add := func(name string, content []byte) {
		args = append(args, "--perms", "0444", "--file", pass(path.Base(name), content), name)
	}
	add("/etc/passwd", []byte(passwd))
	add("/etc/group", []byte(group))
	add("/etc/hostname", []byte(host+"\n"))
	add("/etc/machine-id", fmt.Appendf(nil, "%016x%016x\n", rand.Uint64(), rand.Uint64()))
	add("/etc/hosts", []byte("127.0.0.1 localhost\n127.0.1.1 "+host+"\n::1 localhost ip6-localhost ip6-loopback\n"))
	for name, content := range sysFiles {
		add("/sys/"+name, []byte(content+"\n"))
	}
	processors := "0" // as many as /proc/cpuinfo has
	if n := runtime.NumCPU(); n > 1 {
		processors = "0-" + strconv.Itoa(n-1)
	}
	for _, name := range []string{"online", "possible", "present"} {
		add("/sys/devices/system/cpu/"+name, []byte(processors+"\n"))
	}
	return args
}

// procArguments hides what this machine's kernel says about it. They follow the mount of
// /proc.
func procArguments(pass func(name string, content []byte) string) []string {
	var release unix.Utsname
	_ = unix.Uname(&release) // it cannot fail
	line := "BOOT_IMAGE=/boot/vmlinuz-" + unix.ByteSliceToString(release.Release[:]) + " root=/dev/mapper/vg-root ro quiet splash\n"
	args := []string{"--perms", "0444", "--ro-bind-data", pass("cmdline", []byte(line)), "/proc/cmdline"}
	if _, err := os.Stat("/proc/config.gz"); err == nil {
		args = append(args, "--ro-bind", "/dev/null", "/proc/config.gz")
	}
	return args
}

// furnish puts the files of the home into dir, with times of the last months. What is there
// already, such as the sample's own files, stays. Without space the home has fewer files.
func furnish(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	home, err := fs.Sub(homeFiles, "home")
	if err != nil {
		return err
	}
	return fs.WalkDir(home, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			err = root.Mkdir(name, 0o755)
			if err != nil && !isFolder(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		content, err := fs.ReadFile(home, name)
		if err != nil {
			return err
		}
		file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return nil // the sample has such a file, or there is no space
		}
		defer file.Close()
		_, _ = file.Write(content) // without space the file is shorter
		at := time.Now().Add(-time.Duration(rand.Int64N(int64(120 * 24 * time.Hour))))
		return root.Chtimes(name, at, at)
	})
}

// isFolder reports whether a name in root is a folder and no link.
func isFolder(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	return err == nil && info.IsDir()
}

// longRunning returns the command before another one that adds some days to the time since
// boot that the other one sees: samples distrust a machine that has just started. It is empty
// if that is not possible.
func longRunning() []string {
	if program := unshare(); program != "" {
		return inTime(program, 86400+rand.IntN(8*86400))
	}
	return nil
}

// inTime returns the command before another one that adds seconds to the time since boot. A
// user namespace gives it the right to do so.
func inTime(program string, seconds int) []string {
	n := strconv.Itoa(seconds)
	return []string{program, "--user", "--map-current-user", "--time", "--boottime", n, "--monotonic", n, "--"}
}

// unshare returns the path of the program unshare, or "" if inTime does not work for the
// users of samples. That needs Linux 5.6, and a system that lets users create namespaces.
var unshare = sync.OnceValue(func() string { //nolint:gochecknoglobals // what is installed does not change
	path, err := exec.LookPath("unshare")
	if err != nil {
		return ""
	}
	command := append(inTime(path, 1), "true")
	probe := exec.CommandContext(context.Background(), command[0], command[1:]...) // it ends by itself
	credential, _ := newCredential()
	probe.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if probe.Run() != nil {
		return ""
	}
	return path
})

// becomeInit makes this process look like process 1 of a Debian system: its name, and the
// command line, which the kernel reads from the memory of its arguments.
func becomeInit() {
	nameThreads("systemd")
	if len(os.Args) == 0 {
		return
	}
	last := os.Args[len(os.Args)-1]
	first := unsafe.StringData(os.Args[0])
	length := int(uintptr(unsafe.Pointer(unsafe.StringData(last)))-uintptr(unsafe.Pointer(first))) + len(last) + 1
	if length < len(os.Args[0]) || length > 4096 { // the arguments are not one after the other
		return
	}
	memory := unsafe.Slice(first, length)
	clear(memory)
	copy(memory, "/sbin/init\x00splash")
}
