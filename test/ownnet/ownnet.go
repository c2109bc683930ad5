//go:build linux

// Package ownnet gives a test binary a network of its own, so that the packets of other tests
// do not reach it.
package ownnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable has the number of a descriptor: the network namespace in which the tests were
// started. It tells the program that it runs in its own one.
const variable = "OSPULSE_TEST_NETWORK"

// Enter moves this process into a new network namespace, which has only the loopback
// interface. It executes the program again there, and returns in that run. A TestMain calls
// it first. Without root it returns at once.
func Enter() {
	if before, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		unix.CloseOnExec(before)
		return
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, "enter a network namespace for the tests:", err)
		os.Exit(1)
	}
}

func enter() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	before, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the namespace is the thread's, and execve keeps it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := bringUp("lo"); err != nil {
		return fmt.Errorf("bring up the loopback interface: %w", err)
	}
	return syscall.Exec(program, os.Args, append(os.Environ(), variable+"="+strconv.Itoa(before)))
}

func bringUp(name string) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// Outside returns a command that runs in the network in which the tests were started, such as
// `go build`, which may have to download.
func Outside(name string, arguments ...string) *exec.Cmd {
	before := os.Getenv(variable)
	if before == "" {
		return exec.CommandContext(context.Background(), name, arguments...)
	}
	return exec.CommandContext(context.Background(), "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/fd/%s", os.Getpid(), before), name}, arguments...)...)
}
