//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// LaunchCommand is the agent's hidden command that runs inside sandboxes.
const LaunchCommand = "sandbox-launch"

const (
	roleInit = "init" // process 1
	roleHeld = "held" // the process that becomes the program
)

// The descriptors that the launcher inherits.
const (
	fdReports = 3 + iota // process 1's socket
	fdControl            // the held program's socket
	fdUpload             // the uploaded file
	fdProgram            // the agent's program
)

// programPath is the path of the agent's program in the sandbox, which hides its folder.
const programPath = "/proc/self/fd/6"

// Launch runs LaunchCommand. It returns only when it fails, or as process 1.
func Launch(args []string, stderr io.Writer) int {
	nameThreads("sandbox")
	var err error
	switch {
	case len(args) == 2 && args[0] == roleInit:
		var programFiles int
		if programFiles, err = strconv.Atoi(args[1]); err == nil {
			becomeInit()
			err = runInit(programFiles)
		}
	case len(args) == 1 && args[0] == roleHeld:
		err = runHeld()
	default:
		err = errors.New("only the agent can start this command")
	}
	switch {
	case errors.Is(err, io.EOF): // the agent has closed the socket
		return 1
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "ospulse-agent: sandbox:", err)
		return 1
	}
	return 0
}

// nameThreads sets the name of this process until it becomes the program. Otherwise the
// name would be the number of a descriptor, by which the process was executed.
func nameThreads(name string) {
	files, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, file := range files {
		_ = os.WriteFile(file, []byte(name), 0) // cosmetic
	}
}

// inherited returns the inherited socket fd. It sets close-on-exec for all descriptors, so
// that the program inherits none of them.
func inherited(fd int) (*net.UnixConn, error) {
	for fd := 3; fd < 256; fd++ {
		unix.CloseOnExec(fd)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("it is not a Unix socket")
	}
	return unixConn, nil
}

// runInit runs process 1 of the sandbox. The program inherits programFiles files of
// Options.Program.
func runInit(programFiles int) error {
	reports, err := inherited(fdReports)
	if err != nil {
		return err
	}
	syscall.Umask(0o022) // the agent's umask may be stricter
	control, upload, self := os.NewFile(fdControl, "control"), os.NewFile(fdUpload, "upload"), os.NewFile(fdProgram, "program")
	var more []*os.File
	for fd := FirstFile; fd < FirstFile+programFiles; fd++ {
		more = append(more, os.NewFile(uintptr(fd), "file"))
	}
	// Orphans come to this process even if it is not process 1.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	held, err := os.StartProcess(programPath, []string{"sandbox", LaunchCommand, roleHeld}, &os.ProcAttr{
		Env:   []string{},
		Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr, nil, control, upload, self}, more...),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start the held program: %w", err)
	}
	program := held.Pid
	_ = control.Close()
	_ = upload.Close()
	_ = self.Close()
	for _, file := range more {
		_ = file.Close()
	}
	// The program would inherit ignored signals. A process that ignores SIGCHLD cannot wait
	// for its children.
	for s := syscall.Signal(1); s <= 64; s++ {
		if s != syscall.SIGCHLD {
			signal.Ignore(s)
		}
	}
	// From here on, the program's user cannot inspect or trace this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := send(reports, message{Op: opHere}); err != nil {
		return err
	}
	go func() {
		// The agent's end of the socket closes when the agent ends.
		_, _ = reports.Read(make([]byte, 1))
		os.Exit(1)
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD): // no child is left
			return nil
		case err != nil:
			return fmt.Errorf("wait for the program: %w", err)
		case pid == program:
			program = 0
			_ = send(reports, message{Op: opExited, Status: uint32(status)}) // fails only if the agent has ended
		}
	}
}

// runHeld unpacks the file, fills the home, waits for the release, and becomes the program.
func runHeld() error {
	runtime.LockOSThread()
	control, err := inherited(fdControl)
	if err != nil {
		return err
	}
	upload := os.NewFile(fdUpload, "upload")
	_ = unix.Close(fdProgram)
	if err := send(control, message{Op: opHere}); err != nil {
		return err
	}
	m, err := receiveOp(control, opPrepare)
	if err != nil {
		return err
	}
	if m.Order == nil {
		return errors.New("there is no order")
	}
	o := *m.Order
	var c *loaded
	if len(o.Program) > 0 {
		c = &loaded{argv: o.Program, run: Run{Path: o.Program[0]}}
		for fd := FirstFile; fd < FirstFile+o.ProgramFiles; fd++ {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
				return reportFault(control, err)
			}
		}
	} else {
		if c, err = load(upload, homeDir, o); err == nil {
			err = furnish(homeDir)
		}
		if err != nil {
			return reportFault(control, err)
		}
	}
	_ = upload.Close()
	if err := send(control, message{Op: opReady, Run: &c.run, Notes: c.notes}); err != nil {
		return err
	}
	if _, err := receiveOp(control, opGo); err != nil {
		return err
	}
	return reportFault(control, become(control, c, o))
}
