//go:build linux

package sensor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"path"
	"strconv"
	"strings"
	"time"

	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
	"ospulse/agent/internal/syscalls"
)

// process is a running process, as far as the decoder knows it.
type process struct {
	start       uint64 // CLOCK_BOOTTIME, ns
	name        string
	parentPID   int
	parentStart uint64
	cgroupID    uint64 // of cgroup
	cgroup      cgroup
	root        string // its root directory, if its root or its mount namespace is not the agent's
	mounts      uint32 // its mount namespace, likewise
}

// decoder converts records to events. It keeps state that spans records, such as the
// names of processes. Only one goroutine may use it.
type decoder struct {
	clock     *clock.Clock
	processes map[uint32]*process
	// nameOf returns the name of a process that no record has named; "" if it has ended.
	nameOf func(pid uint32) string
	// lookup calls procfs.Follow for the first of the processes that has the view. ok is
	// false if there is no such process, or no answer in time.
	lookup  func(pids []int, seen view, dir, rest string, followLast bool) (full string, isThere, ok bool)
	cgroups *cgroups
	record  record
	http    *httpConnections
	// ask asks the parser about data of sessions, which happened at a time. answered gets
	// the answers in the order of the questions, or one error, and reports events to the
	// same sessions. ask returns false if the parser did not get the question.
	ask func(q *parser.Question, sessions uint64, at time.Time, answered func(a *parser.Answer, err error, emit func(*event.Event))) bool
	// withoutTransfers are the sessions that leave out what sockets transfer.
	withoutTransfers uint64
	// dnsSockets holds the sockets used for DNS. The value is the size of the next
	// message if the program transferred a TCP message's length by itself, else 0.
	dnsSockets map[uint64]int64
	// contentBytes is the most bytes of a transfer that an event keeps.
	contentBytes int
	environment  string            // a setting of event.KeepVariables
	parts        map[uint32]*parts // by process
	partsBytes   int               // of all parts
	pending      *pending.Budget   // counts them
	// exits are the latest process exits. If two threads end at the same moment, both
	// may report the end of their process.
	exits [256]exitOf
}

// parts are the parts of a long argv and of a long environment that came before the record of
// the exec.
type parts struct {
	time  uint64 // of the exec, by which its records know each other
	lists [2]struct {
		count uint32 // of parts that came without a gap
		text  []byte
	}
}

// maxPartsBytes bounds the parts of execs whose record is still to come. The kernel sends them
// together, so that there are more only if records were lost.
const maxPartsBytes = 16 << 20

type exitOf struct {
	pid   uint32
	start uint64
}

func newDecoder(clock *clock.Clock, contentBytes int, nameOf func(pid uint32) string, cgroups *cgroups, pending *pending.Budget) *decoder {
	return &decoder{
		clock: clock, contentBytes: contentBytes, nameOf: nameOf, cgroups: cgroups, pending: pending,
		lookup:    func([]int, view, string, string, bool) (string, bool, bool) { return "", false, false },
		processes: map[uint32]*process{}, parts: map[uint32]*parts{}, http: newHTTPConnections(), dnsSockets: map[uint64]int64{},
	}
}

func (d *decoder) wall(boottime uint64) time.Time {
	return d.clock.Wall(boottime)
}

// start returns a start time; the zero time if it is unknown.
func (d *decoder) start(boottime uint64) time.Time {
	if boottime == 0 {
		return time.Time{}
	}
	return d.wall(boottime)
}

// process returns the process that caused the record.
func (d *decoder) process(r *record) *process {
	p := d.processes[r.pid]
	if p == nil || p.start != r.start {
		p = &process{start: r.start, parentPID: int(r.parentPID), parentStart: r.parentStart}
		if p.name = d.nameOf(r.pid); p.name == "" {
			p.name = string(r.comm)
		}
		d.processes[r.pid] = p
	}
	if p.cgroupID != r.cgroup {
		p.cgroupID, p.cgroup = r.cgroup, d.cgroups.of(r.cgroup, r.pid, p.cgroup)
	}
	if r.kind != recordTLS && r.kind != recordMore { // whose records do not have it
		p.root, p.mounts = "", 0
		if r.root.set {
			root := r.root.info()
			p.root, p.mounts = root.path, root.fmode
		}
	}
	return p
}

func (d *decoder) actor(r *record) event.Process {
	p := d.process(r)
	return event.Process{
		PID:            int(r.pid),
		Name:           p.name,
		StartTime:      d.start(r.start),
		ParentPID:      p.parentPID,
		ThreadID:       int(r.tid),
		UserID:         int(r.uid),
		CgroupID:       r.cgroup,
		ContainerID:    p.cgroup.container,
		RootPath:       p.root,
		MountNamespace: p.mounts,
	}
}

func result(r *record, c *syscalls.Call) event.Result {
	res := event.Result{Args: r.args, Return: r.ret, Compat: r.flags&headerCompat != 0}
	if c != nil && c.Name != syscalls.UringName && c.Name != syscalls.AioName {
		res.Syscall = c.Name
	}
	return res
}

// decode calls emit with the events of a record. Meanwhile d.record.sessions are the
// sessions that they belong to.
func (d *decoder) decode(raw []byte, emit func(*event.Event)) error {
	r := &d.record
	if err := r.parse(raw); err != nil {
		return err
	}
	switch r.kind {
	case recordSyscall:
		if c := r.call(); c != nil {
			d.syscall(r, c, emit)
		}
	case recordFork:
		emit(d.fork(r))
	case recordExec:
		emit(d.exec(r))
	case recordExit:
		if e := d.exit(r); e != nil {
			emit(e)
		}
	case recordPart:
		d.part(r)
	case recordMore:
		d.http.more(d, r)
	case recordTLS:
		d.http.tls(d, r)
	}
	return nil
}

func (d *decoder) fork(r *record) *event.Event {
	pid := uint32(r.args[0])
	parent := d.process(r)
	at := d.wall(r.time)
	data := &event.Fork{
		Actor:    d.actor(r),
		Result:   event.Result{Syscall: "clone", Return: int64(r.args[1])},
		Time:     at,
		New:      event.Process{PID: int(pid), ThreadID: int(r.args[1]), StartTime: d.start(r.args[2]), ParentPID: int(r.pid)},
		Flags:    r.args[3],
		IsThread: pid == r.pid,
	}
	if c := r.call(); c != nil {
		data.Result.Syscall = c.Name
		if c.Name == "fork" || c.Name == "vfork" {
			data.Flags = 0
		}
	}
	e := &event.Event{Type: event.TypeProcessFork, Time: at, Data: data}
	if data.IsThread {
		e.Type = event.TypeThreadCreation
		data.New.StartTime = data.Actor.StartTime
		return e
	}
	d.processes[pid] = &process{start: r.args[2], name: parent.name, parentPID: int(r.pid), parentStart: r.start, cgroupID: parent.cgroupID, cgroup: parent.cgroup}
	data.New.Name = parent.name
	return e
}

// part keeps a part of an exec's argv or environment.
func (d *decoder) part(r *record) {
	kind, s := 0, &r.argv
	if r.env.set {
		kind, s = 1, &r.env
	}
	p := d.parts[r.pid]
	if p == nil || p.time != r.time {
		d.forget(r.pid) // of an earlier exec, whose record was lost
		p = &parts{time: r.time}
		d.parts[r.pid] = p
	}
	if list := &p.lists[kind]; uint64(list.count) == r.args[0] {
		list.count++
		list.text = append(list.text, s.body...)
		d.keepParts(len(s.body))
	}
	if d.partsBytes > maxPartsBytes || d.pending.IsExceeded() {
		clear(d.parts)
		d.keepParts(-d.partsBytes)
	}
}

// keepParts counts bytes of parts; a negative number those that are no longer kept.
func (d *decoder) keepParts(bytes int) {
	d.partsBytes += bytes
	d.pending.Add(bytes)
}

// forget drops the parts of a process.
func (d *decoder) forget(pid uint32) {
	if p := d.parts[pid]; p != nil {
		d.keepParts(-len(p.lists[0].text) - len(p.lists[1].text))
		delete(d.parts, pid)
	}
}

// whole returns the argv (kind 0) or the environment (kind 1) of an exec, of which s is the end,
// and whether something is missing.
func (d *decoder) whole(r *record, kind int, s *section) (list []string, isCut bool) {
	isCut = s.cut() || s.fault()
	if r.parts[kind] == 0 {
		return args(s.body), isCut
	}
	var text []byte
	count := uint32(0)
	if p := d.parts[r.pid]; p != nil && p.time == r.time {
		text, count = p.lists[kind].text, p.lists[kind].count
	}
	if count != r.parts[kind] {
		return args(text), true
	}
	return args(append(text, s.body...)), isCut
}

// args splits NUL-separated arguments.
func args(body []byte) []string {
	if len(body) == 0 {
		return nil
	}
	if body[len(body)-1] == 0 {
		body = body[:len(body)-1]
	}
	return strings.Split(string(body), "\x00")
}

func (d *decoder) exec(r *record) *event.Event {
	p := d.process(r)
	if d.cgroups.version1 { // a container engine moves the process before it executes the container's program
		p.cgroup = d.cgroups.of(r.cgroup, r.pid, p.cgroup)
	}
	at := d.wall(r.time)
	image := r.file.info()
	given, interpreter := d.place(r, 0), cString(&r.paths[1])
	if interpreter == cString(&r.paths[0]) { // no script: the image is what the program asked for
		if given.given = interpreter; interpreter == image.path {
			given.given = ""
		}
		given.full, interpreter = image.path, ""
	}
	data := &event.Creation{
		Result:           event.Result{Syscall: "execve"},
		Time:             at,
		ImagePath:        image.path,
		Interpreter:      interpreter,
		CurrentDirectory: r.cwd.info().path,
		SetUserID:        r.args[1] != uint64(r.uid),
		EffectiveUserID:  int(r.args[1]),
		Memory:           image.deleted,
		Cgroup:           p.cgroup.path,
	}
	data.Args, data.ArgsCut = d.whole(r, 0, &r.argv)
	if r.env.set {
		var entries []string
		entries, data.EnvironmentCut = d.whole(r, 1, &r.env)
		data.Environment = event.KeepVariables(d.environment, entries)
	}
	d.forget(r.pid)
	if c := r.call(); c != nil {
		data.Result.Syscall = c.Name
	}
	if data.Given = given.given; given.full != image.path {
		data.FilePath = given.full
	}
	p.name = cmp.Or(path.Base(image.path), string(r.comm))
	data.New = event.Process{
		PID: int(r.pid), Name: p.name, StartTime: d.start(r.start), ParentPID: p.parentPID, UserID: int(r.uid),
		ThreadID: int(r.tid),
	}
	data.Actor = event.Process{
		PID: p.parentPID, StartTime: d.start(p.parentStart), UserID: int(r.uid), CgroupID: r.cgroup, ContainerID: p.cgroup.container,
		RootPath: p.root, MountNamespace: p.mounts,
	}
	if parent := d.processes[uint32(p.parentPID)]; parent != nil && parent.start == p.parentStart {
		data.Actor.Name, data.Actor.ParentPID = parent.name, parent.parentPID
	} else {
		data.Actor.Name = string(untilNUL(r.parentComm.body))
	}
	return &event.Event{Type: event.TypeProcessCreation, Time: at, Data: data}
}

// exit returns the event of a process's end; nil if it was reported already. The HTTP
// messages that the process leaves unfinished are reported before it.
func (d *decoder) exit(r *record) *event.Event {
	at := d.wall(r.time)
	actor := d.actor(r)
	actor.ThreadID = 0
	if last := d.exits[r.pid%uint32(len(d.exits))]; last == (exitOf{r.pid, r.start}) {
		return nil
	}
	d.exits[r.pid%uint32(len(d.exits))] = exitOf{r.pid, r.start}
	d.http.exited(d, actor, at, r.sessions)
	data := &event.Exit{Actor: actor, Time: at, Signal: int(r.ret & 0x7f), Core: r.ret&0x80 != 0}
	if data.Signal == 0 {
		data.Code = int(r.ret >> 8 & 0xff)
	}
	delete(d.processes, r.pid)
	d.forget(r.pid)
	return &event.Event{Type: event.TypeProcessExit, Time: at, Data: data}
}

func cString(s *section) string { return string(untilNUL(s.body)) }

// place is a path argument of a call.
type place struct {
	full  string // resolved: the path that open reports for the same file
	given string // as the program wrote it; "" if it equals full
	// isGuess reports that full may be wrong: the path could no longer be followed.
	isGuess bool
}

// place returns path argument i; the zero value if there is none. The kernel side has
// followed it as far as the dentry cache goes. place looks up the rest now, when it may
// have changed.
func (d *decoder) place(r *record, i int) place {
	if i >= r.pathCount {
		return place{}
	}
	given := cString(&r.paths[i])
	if r.paths[i].cut() {
		given += "…"
	}
	p := place{full: given}
	if given == "" && r.ret == noEntry { // an empty path is valid only with AT_EMPTY_PATH
		return p
	}
	if dir, rest := &r.dirs[i], &r.rests[i]; dir.set && dir.flags&sectionAbsent == 0 {
		p.full, p.isGuess = d.follow(r, dir, rest)
	}
	if p.full != given {
		p.given = given
	}
	return p
}

// noEntry is -ENOENT, as a call returns it.
const noEntry = -2

// follow returns where the rest of a path leads from a folder.
func (d *decoder) follow(r *record, folder, rest *section) (full string, isGuess bool) {
	dir := folder.info().path
	if len(rest.body) < 4 {
		return dir, false
	}
	text := string(untilNUL(rest.body[4:]))
	if rest.flags&sectionLast == 0 && folder.flags&sectionOutside == 0 {
		seen := view{binary.LittleEndian.Uint32(rest.body), cmp.Or(d.process(r).root, "/")}
		if full, isThere, ok := d.lookup(d.lineage(r), seen, dir, text, rest.flags&sectionFollow != 0); ok {
			return full, !isThere && r.ret >= 0
		}
	}
	isGuess = rest.flags&sectionLast == 0
	text = strings.TrimRight(text, "/")
	if strings.HasPrefix(text, "/") {
		return text, isGuess
	}
	return strings.TrimSuffix(dir, "/") + "/" + text, isGuess
}

// lineage returns the process and its nearest ancestors. If the process has ended, an
// ancestor may see the same files.
func (d *decoder) lineage(r *record) []int {
	pids := []int{int(r.pid)}
	for parent := int(r.parentPID); parent > 0 && len(pids) < 8; {
		pids = append(pids, parent)
		p := d.processes[uint32(parent)]
		if p == nil {
			break
		}
		parent = p.parentPID
	}
	return pids
}

func (d *decoder) syscall(r *record, c *syscalls.Call, emit func(*event.Event)) {
	switch c.Kind {
	case syscalls.Network, syscalls.NetTransfer:
		d.network(r, c, emit)
	case syscalls.Exec:
		emit(d.failedExec(r, c))
	case syscalls.Fork:
		at := d.wall(r.time)
		data := &event.Fork{Actor: d.actor(r), Result: result(r, c), Time: at}
		emit(&event.Event{Type: event.TypeProcessFork, Time: at, Data: data})
	case syscalls.Process:
		emit(d.operation(r, c))
	default:
		if c.When == syscalls.WhenMap && syscalls.IsAnonymous(&r.args) {
			emit(d.operation(r, c))
			return
		}
		if r.socket.set && c.Operation != "CopyFile" && c.Operation != "DuplicateHandle" {
			d.network(r, c, emit)
			return
		}
		emit(d.file(r, c))
		if c.Operation == "CopyFile" && r.file.set && (r.socket.set || r.resultSocket.set) {
			socket := &r.socket
			if r.resultSocket.set {
				socket = &r.resultSocket
			}
			info := socket.socketInfo()
			d.http.copied(d, r, &info)
		}
	}
}

func (d *decoder) failedExec(r *record, c *syscalls.Call) *event.Event {
	at := d.wall(r.time)
	file := d.place(r, 0)
	data := &event.FailedExec{
		Actor: d.actor(r), Result: result(r, c), Time: at, Path: file.full, Given: file.given, Args: args(r.argv.body), ArgsCut: r.argv.cut(),
	}
	return &event.Event{Type: event.TypeProcess, Time: at, Data: data}
}

func (d *decoder) operation(r *record, c *syscalls.Call) *event.Event {
	at := d.wall(r.time)
	data := &event.Operation{Actor: d.actor(r), Result: result(r, c), Time: at, Name: c.Operation}
	data.Target = syscalls.Target(c.Name, &r.args)
	switch {
	case c.When == syscalls.WhenMap:
		data.Name = "MapMemory"
	case c.Name == "pidfd_getfd": // the file or socket taken from the other process
		if data.Path = r.result.info().path; r.resultSocket.set {
			data.Path = socketPath(&r.resultSocket)
		}
	case r.pathCount > 0:
		data.Path = syscalls.TextOf(c.Name, cString(&r.paths[0]), &r.args)
		data.FromMemory = data.Path != ""
		if c.Flags&syscalls.Config != 0 {
			d.config(data, r)
		}
	case c.Args[syscalls.ArgFd] >= 0 && c.Operation != "SendSignal":
		data.Path = r.file.info().path
	}
	return &event.Event{Type: event.TypeProcess, Time: at, Data: data}
}

// config adds the value that fsconfig sets.
func (d *decoder) config(data *event.Operation, r *record) {
	switch {
	case r.texts[0].set:
		data.Value = cString(&r.texts[0])
	case r.pathCount > 1:
		data.Value = d.place(r, 1).full
	case r.result.set:
		data.Value = r.result.info().path
	case r.socket.set:
		data.Value = socketPath(&r.socket)
	case len(r.messages) > 0:
		data.Content = d.content(r)
	}
}

// content returns the first bytes that a call moved, at most contentBytes. The kernel side
// sends more of some calls.
func (d *decoder) content(r *record) (c event.Content) {
	if r.ret < 0 {
		return c
	}
	return d.data(r)
}

// data returns the first bytes that a call was given or got, also if it failed.
func (d *decoder) data(r *record) (c event.Content) {
	if d.contentBytes == 0 {
		return c
	}
	c.Known = true
	if len(r.messages) == 0 || !r.messages[0].data.set {
		return c
	}
	s := &r.messages[0].data
	n := min(len(s.body), d.contentBytes)
	c.Bytes, c.Cut, c.Fault = bytes.Clone(s.body[:n]), s.cut() || n < len(s.body), s.fault()
	return c
}

// Requests of ioctl that set a file's flags, such as the immutable flag.
const (
	setFlags       = 0x40086602
	setFlagsCompat = 0x40046602
)

// fileEvent is an event and its data in one allocation.
type fileEvent struct {
	event event.Event
	data  event.File
}

func (d *decoder) file(r *record, c *syscalls.Call) *event.Event {
	made := &fileEvent{}
	f := &made.data
	f.Actor, f.Result, f.Time = d.actor(r), result(r, c), d.wall(r.time)
	f.Operation, f.Handle, f.NewHandle = c.Operation, -1, -1
	f.Transfer = c.Kind == syscalls.Transfer
	made.event = event.Event{Type: event.TypeFile, Time: f.Time, Data: f}

	if i := c.Args[syscalls.ArgFd]; i >= 0 {
		f.Handle = int(int32(r.args[i]))
		switch {
		case r.file.set:
			setFile(f, r.file.info())
		case r.socket.set && (c.Operation == "DuplicateHandle" || c.Operation == "CopyFile"):
			f.Path = socketPath(&r.socket)
		}
	}
	switch {
	case c.Flags&syscalls.Struct != 0:
		if len(r.messages) > 0 {
			f.Struct = bytes.Clone(r.messages[0].data.body)
		}
	case c.Flags&syscalls.Value != 0:
		f.Content = d.data(r)
	case c.Args[syscalls.ArgData] >= 0:
		f.Content = d.content(r)
	}
	switch c.Name {
	case syscalls.UringName:
		if f.Ring = event.UringOperation(r.args[0]); r.pathCount == 0 {
			return &made.event
		}
	case syscalls.AioName:
		if f.Aio = event.AioOperation(r.args[0]); len(r.messages) > 0 {
			f.Content = d.content(r)
		}
	case "ioctl":
		if cmd := uint32(r.args[1]); cmd == setFlags || cmd == setFlagsCompat {
			f.Operation, f.Handle = "SetFlags", int(int32(r.args[0]))
			setFile(f, r.result.info())
			return &made.event
		}
	}
	switch {
	case c.Flags&syscalls.ReturnsFD != 0:
		d.opened(f, r, c)
	case c.Operation == "DuplicateHandle":
		if r.ret >= 0 {
			f.NewHandle = int(r.ret)
		}
	case c.Operation == "CopyFile":
		f.NewHandle = int(int32(r.args[c.Args[syscalls.ArgFd2]]))
		switch {
		case r.result.set:
			f.NewPath = r.result.info().path
		case r.resultSocket.set:
			f.NewPath = socketPath(&r.resultSocket)
		case r.socket.set && r.file.set:
			f.NewPath = socketPath(&r.socket)
		}
	case c.Kind == syscalls.Attribute && c.Args[syscalls.ArgFd] >= 0:
		f.Attribute = cString(&r.paths[0])
	case r.pathCount > 0:
		first, second := d.place(r, 0), d.place(r, 1)
		f.Path, f.Given, f.PathGuessed = first.full, first.given, first.isGuess || second.isGuess
		f.FromMemory = f.Ring == ""
		if !r.rests[0].set && r.dirs[0].set && r.dirs[0].flags&sectionAbsent == 0 { // the kernel side found the file
			info := r.dirs[0].info()
			info.path = f.Path
			setFile(f, info)
		}
		switch c.Kind {
		case syscalls.Symlink:
			f.Target = second.full
		case syscalls.Attribute:
			f.Attribute = second.full
		default:
			f.NewPath, f.NewGiven = second.full, second.given
		}
		f.FileSystemType, f.MountOptions = cString(&r.texts[0]), cString(&r.texts[1])
		if c.Name == "unlinkat" && r.args[2]&0x200 != 0 { // AT_REMOVEDIR
			f.Operation = "DeleteDirectory"
		}
	case c.Name == "close_range":
		f.Handle = int(int32(r.args[0]))
	}
	return &made.event
}

// opened fills in the file that a call opened. c returns a descriptor.
func (d *decoder) opened(f *event.File, r *record, c *syscalls.Call) {
	if c.Name == "io_uring_setup" {
		if r.ret >= 0 {
			f.Handle = int(r.ret)
			setFile(f, r.result.info())
		}
		return
	}
	switch c.Name {
	case "open", "openat":
		f.Flags = event.OpenFlags(r.args[c.Args[syscalls.ArgPath1]+1])
	case "creat":
		f.Flags = event.OpenFlags(0o1101)
	}
	given := d.place(r, 0)
	if r.ret < 0 || !r.result.set {
		f.Path, f.Given, f.PathGuessed, f.FromMemory = given.full, given.given, given.isGuess, r.pathCount > 0
		return
	}
	f.Handle = int(r.ret)
	info := r.result.info()
	setFile(f, info)
	if info.fmode&fileIsCreated != 0 {
		f.Operation = "CreateFile"
	}
	if given.full != f.Path {
		f.Given = given.full
	}
}

func setFile(f *event.File, info fileInfo) {
	f.Path, f.Deleted, f.Outside = info.path, info.deleted, info.outside
	f.Inode, f.Device, f.Mode = info.inode, info.device, info.mode
}

func socketPath(s *section) string {
	return "socket:[" + strconv.FormatUint(s.socketInfo().inode, 10) + "]"
}
