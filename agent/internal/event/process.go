package event

import (
	"strconv"
	"strings"
	"time"

	"ospulse/agent/internal/syscalls"
)

// Process is the process that acted: metadata in the contract.
type Process struct {
	PID       int
	Name      string    // of the image, without its folder
	StartTime time.Time // PID and StartTime identify a process, also when its pid is used again
	ParentPID int       // 0: not known
	ThreadID  int       // 0: the process as a whole
	UserID    int
	CgroupID  uint64 // 0: not known
	// ContainerID is the container that the process is in, as its engine names it; ""
	// outside of containers.
	ContainerID string
	// RootPath is the root directory of the process, from the root of its mount namespace,
	// and MountNamespace the number of that namespace. They are set only if one of them is
	// not the agent's.
	RootPath       string
	MountNamespace uint32
}

// AppendJSON appends the process as the JSON object of metadata.
func (p *Process) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.process(p)
	return o.end()
}

func (o *object) metadata(p *Process) { o.object("metadata", func(o *object) { o.process(p) }) }

func (o *object) process(p *Process) {
	o.text("processName", p.Name)
	o.number("processId", int64(p.PID))
	o.time("processStartTime", p.StartTime)
	o.positive("parentProcessId", int64(p.ParentPID))
	o.positive("threadId", int64(p.ThreadID))
	o.number("userId", int64(p.UserID))
	if p.CgroupID != 0 {
		o.number("cgroupId", int64(p.CgroupID))
	}
	o.some("containerId", p.ContainerID)
	o.some("rootPath", p.RootPath)
	o.positive("mountNamespace", int64(p.MountNamespace))
}

// Result is the result of a system call.
type Result struct {
	Syscall string    // openat, execve …; "" if the event does not come from a system call
	Args    [6]uint64 // as the program passed them
	Return  int64     // negative: the negated errno
	Compat  bool      // a 32-bit call
}

// Failed reports whether the call failed.
func (r *Result) Failed() bool { return r.Return < 0 && r.Return >= -4095 }

func (o *object) result(r *Result) {
	o.some("syscall", r.Syscall)
	if r.Failed() {
		o.number("status", r.Return)
		o.text("error", Errno(r.Return))
	} else {
		o.number("status", 0)
	}
	if r.Syscall != "" {
		o.number("returnValue", r.Return)
	}
	o.flag("compat32", r.Compat)
}

// Creation is a process_creation: a process began to run an image. Actor is its
// parent, as in the contract.
type Creation struct {
	Actor            Process
	Result           Result
	Time             time.Time
	New              Process // the process that runs the image
	NewUserName      string  // of New.UserID; "": not known
	ImagePath        string  // the image, as the kernel found it
	FilePath         string  // resolved path of the script that the program asked for; "" if it asked for the image
	Given            string  // the path as the program passed it, if it differs
	Interpreter      string  // the interpreter of a script
	Args             []string
	ArgsCut          bool // there were more arguments
	CurrentDirectory string
	Environment      []string // NAME=value; nil: unknown
	EnvironmentCut   bool     // there were more variables
	Cgroup           string   // its path; "": not known
	SetUserID        bool     // the process runs with the rights of EffectiveUserID, not of New.UserID
	EffectiveUserID  int
	Memory           bool // the image has no name in any file system: memfd, or deleted
}

// CommandLine returns the arguments as one text, quoted for a shell.
func (c *Creation) CommandLine() string { return commandLine(c.Args, c.ArgsCut) }

// maxCommandLine bounds the text of a command line. Its event has all arguments besides, and must
// fit into a batch, also if each byte takes six in JSON.
const maxCommandLine = 128 << 10

func commandLine(args []string, isCut bool) string {
	var out []byte
	for i, arg := range args {
		if len(out)+len(arg) > maxCommandLine {
			out, isCut = append(out, arg[:max(maxCommandLine-len(out), 0)]...), true
			break
		}
		if i > 0 {
			out = append(out, ' ')
		}
		out = appendQuoted(out, arg)
	}
	if isCut {
		out = append(out, " …"...)
	}
	return string(out)
}

// appendQuoted appends an argument, in quotes if a shell would split it.
func appendQuoted(out []byte, arg string) []byte {
	plain := arg != ""
	for i := range len(arg) {
		switch c := arg[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		case c == '-', c == '_', c == '.', c == '/', c == ':', c == '=', c == ',', c == '+', c == '@', c == '%':
		default:
			plain = false
		}
	}
	if plain {
		return append(out, arg...)
	}
	out = append(out, '\'')
	for i := range len(arg) {
		if arg[i] == '\'' {
			out = append(out, `'\''`...)
		} else {
			out = append(out, arg[i])
		}
	}
	return append(out, '\'')
}

// AppendJSON appends the data of the event.
func (c *Creation) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", c.Result.Syscall)
	o.text("imagePath", c.ImagePath)
	o.some("filePath", c.FilePath)
	o.some("givenPath", c.Given)
	o.some("interpreter", c.Interpreter)
	o.arguments(c.Args, c.ArgsCut)
	o.text("currentDirectory", c.CurrentDirectory)
	o.number("newProcessId", int64(c.New.PID))
	o.time("newProcessStartTime", c.New.StartTime)
	o.number("newUserId", int64(c.New.UserID))
	o.some("newUserName", c.NewUserName)
	if c.SetUserID {
		o.number("effectiveUserId", int64(c.EffectiveUserID))
	}
	o.some("cgroup", c.Cgroup)
	o.flag("memoryImage", c.Memory)
	o.environment(c.Environment, c.EnvironmentCut)
	o.result(&c.Result)
	o.time("timestamp", c.Time)
	o.metadata(&c.Actor)
	return o.end()
}

func (o *object) arguments(args []string, isCut bool) {
	o.text("commandLine", commandLine(args, isCut))
	o.texts("arguments", args)
	o.flag("argumentsTruncated", isCut)
}

// FailedExec is the process_operation of an exec that failed: the process keeps its old
// image. A shell that searches PATH for a command makes many of these.
type FailedExec struct {
	Actor   Process
	Result  Result
	Time    time.Time
	Path    string // the file to run, resolved
	Given   string // the path as the program passed it, if it differs
	Args    []string
	ArgsCut bool // there were more arguments
}

// AppendJSON appends the data of the event.
func (f *FailedExec) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", "execve") // also for execveat: the member syscall has the name of the call
	o.flag("fromMemory", true)    // see File.FromMemory
	o.text("filePath", f.Path)
	o.some("givenPath", f.Given)
	o.arguments(f.Args, f.ArgsCut)
	o.result(&f.Result)
	o.time("timestamp", f.Time)
	o.metadata(&f.Actor)
	return o.end()
}

// Fork is a process_fork or a thread_creation. The actor is the parent.
type Fork struct {
	Actor    Process
	Result   Result
	Time     time.Time
	New      Process // PID is 0 if the call failed
	Flags    uint64  // of clone
	IsThread bool
}

// AppendJSON appends the data of the event.
func (f *Fork) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", f.Result.Syscall)
	if f.New.PID != 0 {
		if f.IsThread {
			o.number("newThreadId", int64(f.New.ThreadID))
		} else {
			o.number("newProcessId", int64(f.New.PID))
			o.time("newProcessStartTime", f.New.StartTime)
		}
	}
	o.some("flags", CloneFlags(f.Flags))
	o.result(&f.Result)
	o.time("timestamp", f.Time)
	o.metadata(&f.Actor)
	return o.end()
}

// Exit is a process_exit.
type Exit struct {
	Actor  Process
	Time   time.Time
	Code   int // exit code
	Signal int // signal that killed the process; 0: it exited by itself
	Core   bool
}

// AppendJSON appends the data of the event.
func (e *Exit) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", "exit")
	if e.Signal == 0 {
		o.number("exitCode", int64(e.Code))
	} else {
		o.number("signal", int64(e.Signal))
		o.text("signalName", SignalName(e.Signal))
		o.flag("coreDumped", e.Core)
	}
	o.number("status", 0)
	o.time("timestamp", e.Time)
	o.metadata(&e.Actor)
	return o.end()
}

// Operation is a process_operation: an operation on the process itself, on another
// process or on the kernel that concerns neither files nor the network.
type Operation struct {
	Actor  Process
	Result Result
	Time   time.Time
	Name   string // PtraceProcess, SetUserId, LoadModule, CreateMemoryFile …
	Path   string // the module, the namespace, or the name of the memory file, the queue, the key, the host …
	Target int    // the process that the operation acts on; 0: itself

	FromMemory bool // of Path; see File.FromMemory

	Value   string  // that fsconfig sets
	Content Content // likewise, if it is binary
}

// Arguments returns the numeric arguments of the call: those of the set*id family, of
// ptrace and the like. It returns none for a call whose arguments point to memory.
func (p *Operation) Arguments() []int64 {
	c := syscalls.ByName(p.Result.Syscall)
	if c == nil {
		return nil
	}
	args := make([]int64, c.Plain)
	for i := range args {
		args[i] = int64(p.Result.Args[i])
		if strings.HasPrefix(p.Name, "Set") { // of 32 bits
			args[i] &= 1<<32 - 1
			if args[i] == 1<<32-1 {
				args[i] = -1 // it keeps the present ID
			}
		}
	}
	return args
}

// AppendJSON appends the data of the event.
func (p *Operation) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", p.Name)
	o.some("filePath", p.Path)
	o.flag("fromMemory", p.FromMemory)
	o.positive("targetProcessId", int64(p.Target))
	if arguments := p.Arguments(); len(arguments) > 0 {
		o.key("arguments")
		o.out = append(o.out, '[')
		for i, arg := range arguments {
			if i > 0 {
				o.out = append(o.out, ',')
			}
			o.out = strconv.AppendInt(o.out, arg, 10)
		}
		o.out = append(o.out, ']')
	}
	p.meaning(&o)
	o.result(&p.Result)
	o.time("timestamp", p.Time)
	o.metadata(&p.Actor)
	return o.end()
}

// Meaning returns the names of what the arguments say, as text: option: PR_SET_NAME.
func (p *Operation) Meaning() string {
	o := begin(nil)
	p.meaning(&o)
	return o.plain()
}

// meaning writes the names of what the arguments say.
func (p *Operation) meaning(o *object) {
	args := &p.Result.Args
	signal := func(n uint64) {
		if int32(n) > 0 { // 0 only asks whether the process is there
			o.text("signalName", SignalName(int(int32(n))))
		}
	}
	switch p.Result.Syscall {
	case "kill", "tkill", "rt_sigqueueinfo", "pidfd_send_signal":
		signal(args[1])
	case "tgkill", "rt_tgsigqueueinfo":
		signal(args[2])
	case "prctl":
		o.text("option", controls[uint32(args[0])])
	case "fsconfig":
		if command := uint32(args[1]); command < uint32(len(configs)) {
			o.text("option", configs[command])
		}
		o.some("value", p.Value)
		o.content(&p.Content)
	case "mprotect", "pkey_mprotect", "mmap", "mmap2":
		o.text("protection", protection(args[2]))
		o.number("length", int64(args[1]))
	}
}

// Lost is an events_lost: events that the agent could not deliver.
type Lost struct {
	Count    uint64 // 0: not known
	Reason   string // ReasonOverrun …
	From, To time.Time
	CPU      int // -1: the loss does not belong to one CPU
}

// Reasons of loss.
const (
	ReasonOverrun   = "ring_buffer_overrun"
	ReasonSpoolFull = "spool_full"
	ReasonTooLarge  = "event_too_large"
	ReasonKilled    = "agent_killed" // events that the agent had in memory; their number is not known
	// ReasonPackets counts packets that found no room in the capture buffer. The agent
	// does not know whose packets they were.
	ReasonPackets = "packet_capture_overrun"
	// ReasonHTTP counts connections, requests and answers that the agent gave up at a
	// bound on memory. The agent still reports the calls that moved their bytes.
	ReasonHTTP = "http_bound"
	// ReasonParserFailed and ReasonParserFull count transfers that were not parsed because
	// the parser failed or had too much to do, and connections whose unfinished messages a
	// failure lost. The agent still reports the calls.
	ReasonParserFailed = "parser_failed"
	ReasonParserFull   = "parser_overrun"
	// ReasonHeld counts packets of watched processes that the agent gave up before it
	// knew their owner.
	ReasonHeld = "packet_attribution_overrun"
	// ReasonGuest means that a virtual machine ended before it had sent all events.
	ReasonGuest = "virtual_machine_ended"
)

// AppendJSON appends the data of the event.
func (l *Lost) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.positive("count", int64(l.Count))
	o.text("reason", l.Reason)
	o.time("from", l.From)
	o.time("to", l.To)
	if l.CPU >= 0 {
		o.number("cpu", int64(l.CPU))
	}
	return o.end()
}
