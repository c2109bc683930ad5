//go:build linux

package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/confined"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/sandbox"
	"ospulse/test/wait"
)

// TestMain makes the test binary act as the agent: it implements sandbox.LaunchCommand.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == sandbox.LaunchCommand {
		os.Exit(sandbox.Launch(os.Args[2:], os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// values returns the values of each use of an option of QEMU.
func values(argv []string, option string) (all []string) {
	for i, word := range argv[:len(argv)-1] {
		if word == option {
			all = append(all, argv[i+1])
		}
	}
	return all
}

func TestArguments(t *testing.T) {
	for name, test := range map[string]struct {
		network sandbox.Network
		kvm     bool
		netdev  []string
		accel   string
		cpu     string
	}{
		"none with KVM has no network":        {sandbox.NetworkNone, true, nil, "kvm", "host"},
		"none without KVM has no network":     {sandbox.NetworkNone, false, nil, "tcg,tb-size=128", "max"},
		"the zero network has no network":     {"", true, nil, "kvm", "host"},
		"nat with KVM has one network":        {sandbox.NetworkNAT, true, []string{"user,id=net"}, "kvm", "host"},
		"nat without KVM has one network":     {sandbox.NetworkNAT, false, []string{"user,id=net"}, "tcg,tb-size=128", "max"},
		"an unknown network has no network":   {"bridge", true, nil, "kvm", "host"},
		"host, which Start refuses, has none": {sandbox.NetworkHost, true, nil, "kvm", "host"},
	} {
		t.Run(name, func(t *testing.T) {
			argv := arguments(sandbox.Options{Network: test.network, MemoryMB: 1000, Entry: "evil", Args: []string{"-evil"}}, test.kvm)
			if got := values(argv, "-netdev"); !slices.Equal(got, test.netdev) {
				t.Errorf("the networks are %q, not %q", got, test.netdev)
			}
			var cards, disks, ports int
			for _, device := range values(argv, "-device") {
				switch kind, _, _ := strings.Cut(device, ","); kind {
				case "virtio-net-pci":
					cards++
				case "virtio-blk-pci":
					disks++
				case "virtserialport":
					ports++
				case "virtio-serial-pci", "virtio-rng-pci":
				default:
					t.Errorf("the guest has the device %s", device)
				}
			}
			if cards != len(test.netdev) || disks != 1 || ports != 1 {
				t.Errorf("the guest has %d network cards, %d disks and %d ports", cards, disks, ports)
			}
			for option, want := range map[string]string{
				"-accel": test.accel, "-cpu": test.cpu, "-m": strconv.Itoa(1000 + guestMB), "-display": "none",
				"-sandbox": "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
			} {
				if got := values(argv, option); !slices.Equal(got, []string{want}) {
					t.Errorf("%s is %q, not %q", option, got, want)
				}
			}
			drive := values(argv, "-drive")
			if len(drive) != 1 || !slices.Contains(strings.Split(drive[0], ","), "snapshot=on") || !slices.Contains(strings.Split(drive[0], ","), "format=raw") {
				t.Errorf("the drive is %q, not a raw one with snapshot=on", drive)
			}
			// Without these options QEMU adds devices, reads files of the machine, or boots again.
			for _, option := range []string{"-nodefaults", "-no-user-config", "-no-reboot"} {
				if !slices.Contains(argv, option) {
					t.Errorf("%s is missing", option)
				}
			}
			// These options make a network, or give the guest files or controls of the host.
			for _, option := range []string{"-net", "-nic", "-monitor", "-qmp", "-mon", "-virtfs", "-fsdev", "-usb", "-vnc", "-serial", "-hda"} {
				if slices.Contains(argv, option) {
					t.Errorf("%s is there", option)
				}
			}
			// The guest learns the sample's arguments from the order only.
			if all := strings.Join(argv, " "); strings.Contains(all, "evil") {
				t.Errorf("QEMU has an argument of the sample: %s", all)
			}
		})
	}
}

// TestArgumentsNameInheritedFiles checks the files that QEMU opens: only those that it inherits.
func TestArgumentsNameInheritedFiles(t *testing.T) {
	argv := arguments(sandbox.Options{}, true)
	for n, got := range []string{values(argv, "-kernel")[0], values(argv, "-initrd")[0], strings.Split(values(argv, "-drive")[0], ",")[0]} {
		if want := fmt.Sprintf("/proc/self/fd/%d", sandbox.FirstFile+n); strings.TrimPrefix(got, "file=") != want {
			t.Errorf("%s is %s, not %s", files[n], got, want)
		}
	}
}

func TestStartRefusesTheHostsNetwork(t *testing.T) {
	m, err := Start(t.Context(), os.DevNull, Options{Options: sandbox.Options{Network: sandbox.NetworkHost}})
	if m != nil || !errors.Is(err, sandbox.ErrProgram) {
		t.Errorf("it returns %v (%v)", m, err)
	}
}

func TestBounded(t *testing.T) {
	const most = 64 << 10
	tail := strings.Repeat("b", most)
	for name, test := range map[string]struct{ in, want sandbox.Result }{
		"an ordinary end stays": {
			sandbox.Result{Reason: sandbox.ReasonExited, ExitCode: 3, Limits: []string{"cpu"}, Duration: time.Second, Output: []byte("x"), OutputBytes: 1},
			sandbox.Result{Reason: sandbox.ReasonExited, ExitCode: 3, Limits: []string{"cpu"}, Duration: time.Second, Output: []byte("x"), OutputBytes: 1},
		},
		"a signal stays": {
			sandbox.Result{Reason: sandbox.ReasonKilled, ExitCode: -1, Signal: syscall.SIGSEGV},
			sandbox.Result{Reason: sandbox.ReasonKilled, ExitCode: -1, Signal: syscall.SIGSEGV},
		},
		"memory stays":  {sandbox.Result{Reason: sandbox.ReasonMemory}, sandbox.Result{Reason: sandbox.ReasonMemory}},
		"cpu stays":     {sandbox.Result{Reason: sandbox.ReasonCPU}, sandbox.Result{Reason: sandbox.ReasonCPU}},
		"disk stays":    {sandbox.Result{Reason: sandbox.ReasonDisk}, sandbox.Result{Reason: sandbox.ReasonDisk}},
		"timeout stays": {sandbox.Result{Reason: sandbox.ReasonTimeout}, sandbox.Result{Reason: sandbox.ReasonTimeout}},
		"no reason becomes killed": {
			sandbox.Result{}, sandbox.Result{Reason: sandbox.ReasonKilled},
		},
		"an unknown reason becomes killed": {
			sandbox.Result{Reason: sandbox.Reason(strings.Repeat("<", 1<<20))}, sandbox.Result{Reason: sandbox.ReasonKilled},
		},
		"stopped, which only the host knows, becomes killed": {
			sandbox.Result{Reason: sandbox.ReasonStopped}, sandbox.Result{Reason: sandbox.ReasonKilled},
		},
		"processes of the guest are not left on the host": {
			sandbox.Result{Reason: sandbox.ReasonExited, Left: []int{1, os.Getpid()}}, sandbox.Result{Reason: sandbox.ReasonExited},
		},
		"an output of 64 KiB stays": {
			sandbox.Result{Reason: sandbox.ReasonExited, Output: []byte(tail), OutputBytes: most}, sandbox.Result{Reason: sandbox.ReasonExited, Output: []byte(tail), OutputBytes: most},
		},
		"the start of a longer output is cut": {
			sandbox.Result{Reason: sandbox.ReasonExited, Output: []byte("aaa" + tail), OutputBytes: most}, sandbox.Result{Reason: sandbox.ReasonExited, Output: []byte(tail), OutputBytes: most},
		},
		"the four limits stay": {
			sandbox.Result{Reason: sandbox.ReasonExited, Limits: []string{"memory", "processes", "cpu", "disk"}},
			sandbox.Result{Reason: sandbox.ReasonExited, Limits: []string{"memory", "processes", "cpu", "disk"}},
		},
		"more limits than there are become four": {
			sandbox.Result{Reason: sandbox.ReasonExited, Limits: []string{"memory", "processes", "cpu", "disk", "disk", "disk"}},
			sandbox.Result{Reason: sandbox.ReasonExited, Limits: []string{"memory", "processes", "cpu", "disk"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := bounded(test.in); !reflect.DeepEqual(got, test.want) {
				t.Errorf("it is %.300q\nnot %.300q", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", test.want))
			}
		})
	}
}

// TestBoundedBoundsTheWholeResult checks that no field of a result can be large.
func TestBoundedBoundsTheWholeResult(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	got := bounded(sandbox.Result{Reason: sandbox.Reason(long), Limits: slices.Repeat([]string{long}, 8), Output: []byte(long), Left: make([]int, 1<<20)})
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if most := 100 << 10; len(text) > most {
		t.Errorf("the result has %d bytes in JSON, more than %d", len(text), most)
	}
}

func TestFailure(t *testing.T) {
	for name, test := range map[string]struct {
		m       message
		text    string
		program bool
	}{
		"a fault of the guest":     {message{Fault: "no memory"}, "no memory", false},
		"a fault of the file":      {message{Fault: "no such entry", Program: true}, "no such entry", true},
		"text that is not UTF-8":   {message{Fault: "a\xffb"}, "a?b", false},
		"the longest text stays":   {message{Fault: strings.Repeat("x", 4000)}, strings.Repeat("x", 4000), false},
		"a longer text is cut":     {message{Fault: strings.Repeat("x", 4001), Program: true}, strings.Repeat("x", 4000) + " …", true},
		"a letter is cut as whole": {message{Fault: "x" + strings.Repeat("ä", 4000)}, "x" + strings.Repeat("ä", 1999) + " …", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.m.failure()
			if err.Error() != test.text || errors.Is(err, sandbox.ErrProgram) != test.program {
				t.Errorf("the error is %q (of the file: %t), not %q", err, errors.Is(err, sandbox.ErrProgram), test.text)
			}
		})
	}
}

// recorder is a sink that keeps the data of events.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) sink(e *event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Type == event.TypeLost {
		r.seen = append(r.seen, "lost")
		return
	}
	r.seen = append(r.seen, string(e.Data.AppendJSON(nil)))
}

func (r *recorder) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// machineWith returns a machine without QEMU, and the guest's end of its port.
func machineWith(t *testing.T) (*Machine, net.Conn, *recorder) {
	t.Helper()
	ours, file, err := confined.SocketPair(unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	r := &recorder{}
	return &Machine{
		options: Options{Options: sandbox.Options{Timeout: time.Hour, Log: slog.New(slog.DiscardHandler)}},
		port:    ours, in: &reader{bufio.NewReader(ours), maxEventBytes}, sink: r.sink, running: make(chan error, 1), done: make(chan struct{}),
	}, theirs, r
}

// eventLine returns the message of an event with the number n.
func eventLine(n int) string {
	return `{"op":"event","event":` + envelope(event.TypeFile, at, fmt.Sprintf(`{"n":%d}`, n)) + "}\n"
}

const (
	runningLine = `{"op":"running"}` + "\n"
	endedLine   = `{"op":"ended","result":{"Reason":"exited","ExitCode":3}}` + "\n"
	doneLine    = `{"op":"done"}` + "\n"
)

func TestTake(t *testing.T) {
	const one, two = `{"n":1}`, `{"n":2}`
	for name, test := range map[string]struct {
		stream string
		open   bool // the guest does not close the port
		events []string
		fails  string // part of the error; "": no error
	}{
		"done ends":                            {runningLine + endedLine + doneLine, true, nil, ""},
		"done before ended is an error":        {runningLine + doneLine, true, nil, "does not say how"},
		"ended before running is an error":     {endedLine + doneLine, true, nil, "does not say how"},
		"events keep their order":              {runningLine + eventLine(1) + eventLine(2) + endedLine + doneLine, true, []string{one, two}, ""},
		"events may come before running":       {eventLine(1) + runningLine + eventLine(2) + endedLine + doneLine, true, []string{one, two}, ""},
		"events may come after ended":          {runningLine + endedLine + eventLine(1) + doneLine, true, []string{one}, ""},
		"nothing is read after done":           {runningLine + endedLine + doneLine + eventLine(1), true, nil, ""},
		"running twice is an error":            {runningLine + runningLine + doneLine, true, nil, "twice"},
		"the end of the stream is an error":    {"", false, nil, "EOF"},
		"the end before done is an error":      {runningLine + eventLine(1), false, []string{one}, "EOF"},
		"the end after ended is an error":      {runningLine + eventLine(1) + endedLine, false, []string{one}, "EOF"},
		"the end inside a line is an error":    {eventLine(1) + eventLine(2)[:40], false, []string{one}, "EOF"},
		"done without its newline is an error": {doneLine[:len(doneLine)-1], false, nil, "EOF"},
		"ended without a result is an error":   {`{"op":"ended"}` + "\n" + eventLine(1), true, nil, "does not say how"},
		"a result that is null is an error":    {`{"op":"ended","result":null}` + "\n", true, nil, "does not say how"},
		"no event in an event is an error":     {eventLine(1) + `{"op":"event"}` + "\n" + eventLine(2), true, []string{one}, "an event"},
		"a refused event ends the stream": {
			eventLine(1) + `{"op":"event","event":` + envelope("session_end", at, `{}`) + "}\n" + eventLine(2) + doneLine, true, []string{one}, "session_end",
		},
		"text that is not JSON ends the stream": {eventLine(1) + "x\n" + eventLine(2) + doneLine, true, []string{one}, "a message"},
		"a line that is too long is an error":   {eventLine(1) + strings.Repeat("x", maxEventBytes+1<<20), true, []string{one}, "too long"},
		"an unknown operation is an error":      {eventLine(1) + `{"op":"explode"}` + "\n" + eventLine(2), true, []string{one}, `"explode"`},
		"no operation is an error":              {"{}\n" + eventLine(1), true, nil, `the guest sent ""`},
		"null is an error":                      {"null\n" + eventLine(1), true, nil, `the guest sent ""`},
		"an operation in capitals is an error":  {`{"op":"DONE"}` + "\n", true, nil, `"DONE"`},
		"a second hello is an error":            {`{"op":"hello"}` + "\n", true, nil, `"hello"`},
		"a second ready is an error":            {`{"op":"ready","pid":1}` + "\n", true, nil, `"ready"`},
		"the host's order is an error":          {`{"op":"order","order":{"Name":"x"}}` + "\n", true, nil, `"order"`},
		"the host's go is an error":             {`{"op":"go"}` + "\n", true, nil, `"go"`},
		"the host's stop is an error":           {`{"op":"stop"}` + "\n", true, nil, `"stop"`},
	} {
		t.Run(name, func(t *testing.T) {
			m, guest, r := machineWith(t)
			// The machine may stop reading. The writer then ends when the cleanup closes the port.
			go func() {
				_, _ = io.WriteString(guest, test.stream)
				if !test.open {
					_ = guest.Close()
				}
			}()
			err := m.take()
			switch {
			case test.fails == "" && err != nil:
				t.Errorf("the error is %v", err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("the error is %v, without %s", err, test.fails)
			case err != nil && len(err.Error()) > 1000:
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if got := r.events(); !slices.Equal(got, test.events) {
				t.Errorf("the events are %q, not %q", got, test.events)
			}
		})
	}
}

// TestTakeKeepsTheOrderOfManyEvents sends more events than the socket holds.
func TestTakeKeepsTheOrderOfManyEvents(t *testing.T) {
	const most = 20_000
	m, guest, r := machineWith(t)
	go func() {
		w := bufio.NewWriter(guest)
		for n := range most {
			_, _ = w.WriteString(eventLine(n))
		}
		_, _ = w.WriteString(runningLine + endedLine + doneLine)
		_ = w.Flush()
	}()
	if err := m.take(); err != nil {
		t.Fatal(err)
	}
	events := r.events()
	if len(events) != most {
		t.Fatalf("there are %d events, not %d", len(events), most)
	}
	for n, got := range events {
		if want := fmt.Sprintf(`{"n":%d}`, n); got != want {
			t.Fatalf("event %d is %s", n, got)
		}
	}
}

// TestTakeBoundsTheResult checks that take does not keep what the guest says as it is.
func TestTakeBoundsTheResult(t *testing.T) {
	m, guest, _ := machineWith(t)
	if _, err := io.WriteString(guest, runningLine+`{"op":"ended","result":{"Reason":"stopped","ExitCode":3,"Left":[1]}}`+"\n"+doneLine); err != nil {
		t.Fatal(err)
	}
	if err := m.take(); err != nil {
		t.Fatal(err)
	}
	if m.result.Reason != sandbox.ReasonKilled || m.result.Left != nil || m.result.ExitCode != 3 {
		t.Errorf("the result is %+v", m.result)
	}
}

// TestTakeRefusesASecondEnd checks that a guest cannot extend its deadline: each end sets it anew.
func TestTakeRefusesASecondEnd(t *testing.T) {
	m, guest, r := machineWith(t)
	if _, err := io.WriteString(guest, endedLine+endedLine+eventLine(1)+doneLine); err != nil {
		t.Fatal(err)
	}
	if err := m.take(); err == nil || len(r.events()) != 0 {
		t.Errorf("the second end is accepted; then %q", r.events())
	}
}

func TestTakeReportsAFault(t *testing.T) {
	for name, program := range map[string]bool{"of the guest": false, "of the file": true} {
		t.Run(name, func(t *testing.T) {
			m, guest, r := machineWith(t)
			if _, err := fmt.Fprintf(guest, `{"op":"fault","fault":"bad","program":%t}`+"\n"+eventLine(1), program); err != nil {
				t.Fatal(err)
			}
			if err := m.take(); err != nil {
				t.Fatal(err)
			}
			if err := <-m.running; err == nil || err.Error() != "bad" || errors.Is(err, sandbox.ErrProgram) != program {
				t.Errorf("the error is %v", err)
			}
			if got := r.events(); len(got) != 0 {
				t.Errorf("the events are %q", got)
			}
		})
	}
}

// TestPrepare checks the exchange with a guest until the program is held.
func TestPrepare(t *testing.T) {
	const ready = `{"op":"ready","pid":7,"run":{"path":"/s","what":"w","why":"y"},"notes":["n"]}` + "\n"
	for name, test := range map[string]struct {
		hello, ready string
		fails        string
		program      bool
	}{
		"the program is held":              {`{"op":"hello"}` + "\n", ready, "", false},
		"the file is at fault":             {`{"op":"hello"}` + "\n", `{"op":"fault","fault":"bad","program":true}` + "\n", "bad", true},
		"the guest is at fault":            {`{"op":"hello"}` + "\n", `{"op":"fault","fault":"bad"}` + "\n", "bad", false},
		"something else than hello":        {doneLine, "", "did not boot", false},
		"text that is not JSON":            {"login:\n", "", "did not boot", false},
		"the guest ends before hello":      {"", "", "did not boot", false},
		"the guest ends before ready":      {`{"op":"hello"}` + "\n", "", "prepare the file", false},
		"something else than ready":        {`{"op":"hello"}` + "\n", runningLine, "does not say what it runs", false},
		"ready without a run":              {`{"op":"hello"}` + "\n", `{"op":"ready","pid":7}` + "\n", "does not say what it runs", false},
		"ready without a pid":              {`{"op":"hello"}` + "\n", `{"op":"ready","run":{"path":"/s"}}` + "\n", "does not say what it runs", false},
		"ready with a pid that is below 0": {`{"op":"hello"}` + "\n", `{"op":"ready","pid":-1,"run":{"path":"/s"}}` + "\n", "does not say what it runs", false},
	} {
		t.Run(name, func(t *testing.T) {
			m, guest, _ := machineWith(t)
			m.options.Entry, m.options.Args, m.options.MemoryMB = "bin/x", []string{"a b", "\x01"}, 99
			const content = "the file\n{}\n"
			said := make(chan order, 1)
			go func() {
				defer close(said)
				defer guest.Close()
				_, _ = io.WriteString(guest, test.hello)
				in := newReader(guest)
				msg, err := in.next()
				if err != nil || msg.Order == nil {
					return
				}
				got, _ := io.ReadAll(io.LimitReader(in.lines, msg.Order.Bytes))
				if string(got) == content {
					said <- *msg.Order
				}
				_, _ = io.WriteString(guest, test.ready)
			}()
			if test.hello == "" {
				_ = guest.Close()
			}
			err := m.prepare(strings.NewReader(content), int64(len(content)))
			_ = m.port.Close()
			o, ordered := <-said
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || errors.Is(err, sandbox.ErrProgram) != test.program {
					t.Errorf("the error is %v, without %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !ordered || o.Entry != "bin/x" || !slices.Equal(o.Args, m.options.Args) || o.MemoryMB != 99 || o.Timeout != time.Hour {
				t.Errorf("the order is %+v (with the file: %t)", o, ordered)
			}
			if m.PID() != 7 || m.Run().Path != "/s" {
				t.Errorf("the guest runs %+v as %d", m.Run(), m.PID())
			}
		})
	}
}

// support is the result of sandbox.Check on this machine.
var support = sync.OnceValue(sandbox.Check)

// withProcess gives a machine a program in a sandbox in the place of QEMU.
func withProcess(t *testing.T, m *Machine) {
	t.Helper()
	if s := support().Sandbox; !s.OK && os.Geteuid() != 0 {
		t.Skip(s.Detail)
	}
	p, err := sandbox.Start(context.Background(), os.DevNull, sandbox.Options{
		Timeout: time.Hour, MemoryMB: 64, Log: m.options.Log, Program: &sandbox.Program{Argv: []string{"/bin/sleep", "3600"}, Stdin: devNull(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	m.qemu = p
}

func devNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// step is what a guest waits for, and then sends.
type step struct{ wait, send string }

// play acts as the guest, and closes its end of the port.
func play(guest net.Conn, steps []step) {
	in := newReader(guest)
	for _, s := range steps {
		if s.wait != "" {
			if msg, err := in.next(); err != nil || msg.Op != s.wait {
				break
			}
		}
		_, _ = io.WriteString(guest, s.send)
	}
	_ = guest.Close()
}

func TestReleaseToTheEnd(t *testing.T) {
	const one = `{"n":1}`
	exited := sandbox.Result{Reason: sandbox.ReasonExited, ExitCode: 3}
	cut := sandbox.Result{Reason: sandbox.ReasonKilled, ExitCode: -1}
	for name, test := range map[string]struct {
		steps   []step
		timeout time.Duration
		stop    bool   // the host stops the machine after the release
		fails   string // part of the error of Release
		program bool   // the error says that the file is at fault
		events  []string
		result  sandbox.Result
	}{
		"a whole run":                 {[]step{{opGo, runningLine + eventLine(1) + endedLine + doneLine}}, time.Hour, false, "", false, []string{one}, exited},
		"a fault of the file":         {[]step{{opGo, `{"op":"fault","fault":"bad","program":true}` + "\n"}}, time.Hour, false, "bad", true, nil, cut},
		"a fault of the guest":        {[]step{{opGo, `{"op":"fault","fault":"bad"}` + "\n"}}, time.Hour, false, "bad", false, nil, cut},
		"a guest that dies at once":   {[]step{{opGo, ""}}, time.Hour, false, "ended", false, []string{"lost"}, cut},
		"a guest that dies later":     {[]step{{opGo, runningLine + eventLine(1)}}, time.Hour, false, "", false, []string{one, "lost"}, cut},
		"a guest that breaks a rule":  {[]step{{opGo, runningLine + eventLine(1) + "x\n" + eventLine(2) + doneLine}}, time.Hour, false, "", false, []string{one, "lost"}, cut},
		"a guest that dies after end": {[]step{{opGo, runningLine + endedLine}}, time.Hour, false, "", false, []string{"lost"}, exited},
		"a stop": {
			[]step{{opGo, runningLine}, {opStop, eventLine(1) + endedLine + doneLine}}, time.Hour, true, "", false, []string{one},
			sandbox.Result{Reason: sandbox.ReasonStopped, ExitCode: 3},
		},
		"a guest that dies at the stop": {
			[]step{{opGo, runningLine}, {opStop, ""}}, time.Hour, true, "", false, []string{"lost"}, sandbox.Result{Reason: sandbox.ReasonStopped, ExitCode: -1},
		},
		"a timeout": {
			[]step{{opGo, runningLine}, {opStop, endedLine + doneLine}}, time.Millisecond, false, "", false, nil, sandbox.Result{Reason: sandbox.ReasonTimeout, ExitCode: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, guest, r := machineWith(t)
			withProcess(t, m)
			m.options.Timeout = test.timeout
			m.Watch(Settings{ContentBytes: 5}, r.sink)
			go play(guest, test.steps)
			err := m.Release()
			switch {
			case test.fails == "" && err != nil:
				t.Errorf("the error of Release is %v", err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails) || errors.Is(err, sandbox.ErrProgram) != test.program):
				t.Errorf("the error of Release is %v, without %q", err, test.fails)
			}
			if test.stop {
				if err := m.Stop(); err != nil {
					t.Error(err)
				}
			}
			wait.Receive(t, "the machine ends", m.Done())
			if got := m.Result(); !reflect.DeepEqual(got, test.result) {
				t.Errorf("the result is %+v, not %+v", got, test.result)
			}
			if got := r.events(); !slices.Equal(got, test.events) {
				t.Errorf("the events are %q, not %q", got, test.events)
			}
			select {
			case <-m.qemu.Done():
			default:
				t.Error("QEMU still runs")
			}
			if err := m.Stop(); err != nil {
				t.Errorf("a Stop after the end: %v", err)
			}
		})
	}
}

// TestReleaseSendsTheSettings checks that the guest gets the settings of Watch.
func TestReleaseSendsTheSettings(t *testing.T) {
	m, guest, r := machineWith(t)
	withProcess(t, m)
	want := Settings{ContentBytes: 5, Environment: "all"}
	m.Watch(want, r.sink)
	got := make(chan message, 1)
	go func() {
		defer guest.Close()
		msg, _ := newReader(guest).next()
		got <- msg
		_, _ = io.WriteString(guest, runningLine+doneLine)
	}()
	if err := m.Release(); err != nil {
		t.Error(err)
	}
	if msg := <-got; msg.Op != opGo || msg.Watch == nil || !reflect.DeepEqual(*msg.Watch, want) {
		t.Errorf("the guest gets %+v", msg)
	}
	wait.Receive(t, "the machine ends", m.Done())
}

// TestStopEndsAMachineThatDoesNotRun checks that Stop returns, and ends QEMU, whatever came before.
func TestStopEndsAMachineThatDoesNotRun(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, m *Machine, guest net.Conn){
		"before Watch":   func(_ *testing.T, m *Machine, _ net.Conn) { m.sink = nil },
		"before Release": func(_ *testing.T, m *Machine, _ net.Conn) {},
		"after a Release that could not send": func(t *testing.T, m *Machine, guest net.Conn) {
			t.Helper()
			_ = guest.Close()
			if err := m.Release(); err == nil {
				t.Error("Release does not fail without a guest")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, guest, _ := machineWith(t)
			withProcess(t, m)
			before(t, m, guest)
			stopped := make(chan error, 1)
			go func() { stopped <- m.Stop() }()
			if err := wait.Receive(t, "Stop returns", stopped); err != nil {
				t.Error(err)
			}
			select {
			case <-m.qemu.Done():
			default:
				t.Error("QEMU still runs")
			}
		})
	}
}

// TestTakeKeepsTheLatestTimeSeen checks that a guest can move the time forward only, up to now.
func TestTakeKeepsTheLatestTimeSeen(t *testing.T) {
	start := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct{ said, want time.Time }{
		"a later time counts":        {start.Add(time.Minute), start.Add(time.Minute)},
		"an earlier time is ignored": {start.Add(-time.Minute), start},
		"a time to come is ignored":  {start.Add(1000 * time.Hour), start},
		"the zero time is ignored":   {time.Time{}, start},
	} {
		t.Run(name, func(t *testing.T) {
			m, guest, _ := machineWith(t)
			m.seen = start
			text, err := json.Marshal(message{Op: opSeen, Time: test.said})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(guest, string(text)+"\n"+runningLine+endedLine+doneLine); err != nil {
				t.Fatal(err)
			}
			if err := m.take(); err != nil {
				t.Fatal(err)
			}
			if got := m.Seen(); !got.Equal(test.want) {
				t.Errorf("the time is %s, not %s", got, test.want)
			}
		})
	}
}
