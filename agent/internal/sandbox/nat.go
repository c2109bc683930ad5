//go:build linux

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const tunDevice = "/dev/net/tun"

var errNoSlirp = errors.New("network nat needs slirp4netns, which is not installed; apt install slirp4netns")

// startNAT connects the sandbox's network to the outside through slirp4netns.
func (p *Process) startNAT(deadline time.Time) error {
	path, err := exec.LookPath("slirp4netns")
	if err != nil {
		return errNoSlirp
	}
	if err := checkTun(tunDevice, p.cmd.SysProcAttr.Credential != nil); err != nil {
		return err
	}
	netns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err != nil {
		return fmt.Errorf("network nat: %w", err)
	}
	defer netns.Close()
	// bubblewrap may create two user namespaces; the outer one may own the network.
	owner, err := unix.IoctlRetInt(int(netns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("network nat: find its owner: %w", err)
	}
	userns := os.NewFile(uintptr(owner), "userns")
	defer userns.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("network nat: %w", err)
	}
	defer readyR.Close()
	said, err := newTail()
	if err != nil {
		_ = readyW.Close()
		return fmt.Errorf("network nat: %w", err)
	}
	p.nat = exec.Command(path, "--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=3", //nolint:noctx // cleanUp ends it
		"--netns-type=path", "--userns-path=/proc/self/fd/4", "/proc/self/fd/5", "tap0")
	p.nat.ExtraFiles = []*os.File{readyW, userns, netns}
	p.nat.Stdout, p.nat.Stderr = said.w, said.w
	p.nat.SysProcAttr = &syscall.SysProcAttr{Credential: p.cmd.SysProcAttr.Credential, Pdeathsig: syscall.SIGKILL}
	p.natEnded = make(chan struct{})
	err = run(p.nat, p.natEnded)
	_ = readyW.Close()
	said.started()
	p.natSaid = said
	if err != nil {
		p.nat = nil
		said.close()
		return fmt.Errorf("network nat: start slirp4netns: %w", err)
	}
	_ = readyR.SetReadDeadline(deadline) // pipes support deadlines
	if _, err := readyR.Read(make([]byte, 1)); err != nil {
		p.endNAT()
		return fmt.Errorf("network nat: slirp4netns did not come up: %w (%s)", err, bytes.TrimSpace(said.last(1000)))
	}
	return nil
}

func (p *Process) endNAT() {
	if p.nat != nil {
		_ = p.nat.Process.Kill() // it may have ended
		<-p.natEnded
		p.natSaid.close()
		p.nat = nil
	}
}

// checkTun returns an error if slirp4netns cannot use the device that it needs. asOther
// means that slirp4netns runs as another user. It then needs mode 666, which udev sets and
// containers often do not.
func checkTun(device string, asOther bool) error {
	info, err := os.Stat(device)
	switch {
	case err != nil:
		return fmt.Errorf("network nat: slirp4netns needs %s: %w; modprobe tun", device, err)
	case asOther && info.Mode()&0o006 != 0o006 || !asOther && unix.Access(device, unix.R_OK|unix.W_OK) != nil:
		return fmt.Errorf("network nat: slirp4netns, which is not run as root, may not use %s; chmod 666 %s", device, device)
	}
	return nil
}
