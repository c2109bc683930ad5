package analysis

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Story is the rollup of what programs did: one deed for each program, kind of deed and
// object. It leaves out what says little: forks, exits, closes, maps, sockets that are made,
// and packets, unless they answer a connection. Reads of a program count as one deed. It is not safe for concurrent use.
type Story struct {
	limits   Limits
	bytes    int64
	deeds    map[deedKey]*Deed
	order    []*Deed // by the first event
	programs map[int64]*program
	lives    map[string]*life // of files, by path
	starts   map[int64]*Deed  // by pid: the program that it runs
	home     string           // the home folder of the first program
	leftOut  int64
	reader   deedReader
}

// deedKey identifies a deed.
type deedKey struct{ program, kind, object, other string }

// Deed is what a program did to an object, once or several times.
type Deed struct {
	Kind    string // a key of sentences.yaml
	Program string
	PID     *int64 // of the first event
	Object  string // a path, command line, address, name or URL
	Other   string // the second path, the operation
	Result  string // what came of it, in words; "" if nothing was reported
	Bytes   int64  // that were moved
	Events  int64
	Seqs    []int64 // of the first events
	Seen

	child, parent int64  // pids, of ran
	confirms      bool   // it only tells what became of a connection that was begun
	file          string // that ran: a script, or the program
	image         string // the program
}

// program is what is known of a process.
type program struct {
	parent  int64
	file    string // that it runs
	fetched *Deed  // its last HTTP request, or connection

	isParent bool // it started another program
}

// life is what happened to a file.
type life struct {
	wrote, mode, renamed, deleted *Deed // the first ones
	fetched                       *Deed // what its writer had asked before
	ran                           []*Deed
}

// Limits of a deed.
const (
	maxDeedSeqs = 20
	maxDeedText = 1024 // bytes of an object
	deedBytes   = 480
	lifeBytes   = 160

	maxGenerations = 64 // of processes, of which each started the next
	maxPIDs        = 65_536
)

// NewStory returns an empty story.
func NewStory(limits Limits) *Story {
	return &Story{limits: limits, deeds: map[deedKey]*Deed{}, programs: map[int64]*program{}, lives: map[string]*life{}, starts: map[int64]*Deed{}}
}

// StoryTypes returns the event types that Story reads.
func StoryTypes() []string {
	return []string{models.TypeFile, models.TypeProcessCreation, "process_operation", models.TypeNetwork, models.TypePacket, models.TypeHTTP, "registry_operation"}
}

// Home returns the home folder of the first program, "" if it is unknown.
func (s *Story) Home() string { return s.home }

// Bytes returns about how much memory the story takes.
func (s *Story) Bytes() int64 { return s.bytes }

// Add adds an event, with the values of StoryKeys as JSON, nil for missing ones. The caller
// adds events in the order of Seq.
func (s *Story) Add(e *models.Event, values [][]byte) {
	d, ok := s.reader.read(e, values)
	if !ok {
		return
	}
	d.Program = s.nameOf(e.PID, d.Program)
	key := d.key()
	if d.Kind == "read" {
		key.object = ""
	}
	known := s.deeds[key]
	if d.Kind == "not_connected" {
		if begun := s.deeds[deedKey{d.Program, "connected", d.Object, d.Other}]; begun != nil && begun.Kind == "connecting" {
			known = begun
		}
	}
	if d.confirms {
		if known != nil && (d.Kind == "connected" || known.Kind == "connecting") {
			known.Kind, known.Result = d.Kind, d.Result
		}
		return
	}
	if known == nil {
		if len(s.deeds) >= s.limits.Groups || s.bytes >= s.limits.Bytes {
			s.leftOut++
			return
		}
		known = &Deed{
			Kind: d.Kind, Program: strings.Clone(d.Program), PID: e.PID, Object: strings.Clone(d.Object), Other: strings.Clone(d.Other),
			child: d.child, file: strings.Clone(d.file), image: strings.Clone(d.image),
		}
		if e.PID != nil {
			known.PID, known.parent = new(*e.PID), *e.PID
		}
		s.deeds[deedKey{known.Program, key.kind, strings.Clone(key.object), known.Other}] = known
		s.order = append(s.order, known)
		s.bytes += deedBytes + 2*int64(len(d.Program)+len(d.Object)+len(d.Other)+len(d.file)+len(d.image))
	} else if d.Kind == "read" && known.Object != d.Object {
		known.Object = strings.Clone(folderOf(known.Object, d.Object))
	}
	known.count(e, &d)
	s.follow(known, &d)
	if s.home == "" && d.Kind == "ran" {
		s.home = strings.TrimSuffix(text(jsonscan.Find(values[storyEnvironment], "HOME"), maxPathLen), "/")
	}
}

// nameOf returns the name of a process: that of the script which it runs, or else of its
// program.
func (s *Story) nameOf(pid *int64, name string) string {
	if pid == nil {
		return name
	}
	if start := s.starts[*pid]; start != nil && start.file != start.image {
		return path.Base(start.file)
	}
	return name
}

// key returns what identifies a deed. A file that is created and written is one deed, and so
// are one that is opened and read, and a connection that is begun and made.
func (d *Deed) key() deedKey {
	kind := d.Kind
	switch kind {
	case "created":
		kind = "wrote"
	case "opened":
		kind = "read"
	case "connecting":
		kind = "connected"
	}
	return deedKey{d.Program, kind, d.Object, d.Other}
}

// count adds an event to a deed.
func (d *Deed) count(e *models.Event, now *Deed) {
	switch now.Kind {
	case "wrote", "read", "not_connected":
		d.Kind = now.Kind
	case "connected":
		d.Kind, d.Result = now.Kind, ""
	}
	d.see(e)
	d.Events++
	d.Bytes += now.Bytes
	if len(d.Seqs) < maxDeedSeqs {
		d.Seqs = append(d.Seqs, e.Seq)
	}
	if now.Result != "" {
		d.Result = strings.Clone(now.Result)
	}
}

// follow notes what a deed means to files and processes.
func (s *Story) follow(d, now *Deed) {
	switch d.Kind {
	case "ran":
		if len(s.programs) >= maxPIDs {
			clear(s.programs) // better to know too little than to grow
			clear(s.starts)
		}
		s.starts[now.child] = d
		if p := s.programs[d.parent]; p != nil {
			p.isParent = true
		}
		s.programs[now.child] = &program{parent: d.parent, file: d.file}
		for _, file := range []string{now.file, now.image} {
			if l := s.lives[file]; l != nil {
				if !slices.Contains(l.ran, d) && len(l.ran) < maxDeedSeqs {
					l.ran = append(l.ran, d)
				}
				break
			}
		}
	case "fetched", "connected":
		if p := s.programOf(d); p != nil && (d.Kind == "fetched" || p.fetched == nil) {
			p.fetched = d
		}
	case "wrote", "created":
		l := s.lifeOf(d.Object)
		if l == nil || l.wrote != nil && (l.wrote.Bytes > 0 || d.Bytes == 0) {
			return
		}
		l.wrote = d
		if p := s.programOf(d); p != nil {
			l.fetched = p.fetched
		}
	case "renamed":
		if l := s.lives[d.Object]; l != nil {
			l.renamed = d
			delete(s.lives, d.Object)
			s.lives[d.Other] = l
		}
	case "mode", "executable", "rights":
		if l := s.lives[d.Object]; l != nil && (l.mode == nil || l.mode.Kind == "mode") {
			l.mode = d
		}
	case "deleted":
		if l := s.lives[d.Object]; l != nil {
			l.deleted = d
		}
		if s.isOwn(d.parent, d.Object) {
			d.Kind = "deleted_itself"
		}
	}
}

// lifeOf returns the life of a file, nil if there is no room for another one.
func (s *Story) lifeOf(path string) *life {
	l := s.lives[path]
	if l == nil {
		if s.bytes >= s.limits.Bytes {
			return nil
		}
		l = &life{}
		s.lives[path] = l
		s.bytes += lifeBytes
	}
	return l
}

func (s *Story) programOf(d *Deed) *program {
	if d.PID == nil {
		return nil
	}
	p := s.programs[*d.PID]
	if p == nil && len(s.programs) < maxPIDs {
		p = &program{}
		s.programs[*d.PID] = p
	}
	return p
}

// isOwn reports whether a process or one of those that started it runs a file.
func (s *Story) isOwn(pid int64, file string) bool {
	for range maxGenerations {
		p := s.programs[pid]
		if p == nil {
			return false
		}
		if p.file == file {
			return true
		}
		pid = p.parent
	}
	return false
}

// folderOf returns the folder that has both paths, or a folder and a path.
func folderOf(a, b string) string {
	if !strings.HasPrefix(a, "/") || !strings.HasPrefix(b, "/") {
		return a
	}
	for folder := strings.TrimSuffix(path.Dir(a+"x"), "/"); ; folder = strings.TrimSuffix(path.Dir(folder), "/") {
		if folder == "" || strings.HasPrefix(b, folder+"/") {
			return folder + "/"
		}
	}
}

// The members of data that Story reads, in the order of StoryKeys.
const (
	storyStatus = iota
	storyError
	storyNewPath
	storyFlags
	storyMoved
	storyCommand
	storyArguments
	storyImage
	storyScript
	storyChild
	storyProtocol
	storyTo
	storyToPort
	storyFrom
	storyFromPort
	storyDNS
	storyRequest
	storyResponse
	storyHTTPKind
	storyRole
	storyTargetPID
	storyEnvironment
	storyLinkTarget
	storyMode
	storyOwner
	storyGroup
	storyFileMode
	storyTCPFlags
)

// StoryKeys returns the members of data that Story reads.
func StoryKeys() []string {
	return []string{
		"status", "error", "newFilePath", "flags", "bytesTransferred", "commandLine", "arguments", "imagePath", "filePath", "newProcessId",
		"protocol", "dst", "dst_port", "src", "src_port", "dns", "request", "response", "kind", "role", "targetProcessId", "environment", "linkTarget",
		"mode", "ownerId", "groupId", "fileMode", "tcpFlags",
	}
}

// deedReader reads what an event tells. The zero value is ready.
type deedReader struct {
	actions map[string]action
}

// read returns the deed of an event. Its texts may be part of the event.
func (r *deedReader) read(e *models.Event, values [][]byte) (d Deed, ok bool) {
	d.Program = deref(e.ProcessName)
	switch e.EventType {
	case models.TypeFile:
		ok = r.file(&d, e, values)
	case models.TypeProcessCreation:
		ok = ran(&d, values)
	case models.TypeNetwork:
		ok = network(&d, deref(e.Operation), values)
	case models.TypePacket:
		ok = packet(&d, values)
	case models.TypeHTTP:
		ok = flow(&d, values)
	case "process_operation":
		ok = called(&d, e, values)
	case "registry_operation":
		operation := deref(e.Operation)
		d.Kind, d.Object, d.Other = "registry", deref(e.Target), operation
		lower := strings.ToLower(operation)
		ok = d.Object != "" && !wire.Failed(values[storyStatus]) && (strings.Contains(lower, "set") || strings.Contains(lower, "create") || strings.Contains(lower, "delete"))
	}
	d.Object, d.Other = cut(d.Object), cut(d.Other)
	return d, ok
}

func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxDeedText)], "\ufffd")
}

// isPlace reports whether a path names a file, and not a pipe, a socket or a standard device.
func isPlace(path string) bool {
	if strings.HasPrefix(path, "/") {
		return !strings.HasPrefix(path, "/dev/null") && !strings.HasPrefix(path, "/dev/tty") && !strings.HasPrefix(path, "/dev/pts/") && !strings.HasPrefix(path, "/proc/self/fd/")
	}
	return len(path) > 2 && (path[1] == ':' || path[:2] == `\\` || path[0] == '\\')
}

// file reads a file_operation.
func (r *deedReader) file(d *Deed, e *models.Event, values [][]byte) bool {
	d.Object = deref(e.Target)
	if !isPlace(d.Object) {
		return false
	}
	operation := deref(e.Operation)
	if wire.Failed(values[storyStatus]) {
		d.Kind, d.Result = "refused", reason(values[storyStatus], values[storyError])
		return d.Result == permissionDenied
	}
	if r.actions == nil {
		r.actions = map[string]action{}
	}
	act, known := r.actions[operation]
	if !known {
		act = actionOf(operation)
		if len(r.actions) < maxActions {
			r.actions[strings.Clone(operation)] = act
		}
	}
	if act == actionOpen && strings.Contains(text(values[storyFlags], 256), "O_CREAT") {
		act = actionCreate
	}
	lower := strings.ToLower(operation)
	switch {
	case act == actionRead && moved(values[storyMoved]) > 0:
		d.Kind = "read"
	case act == actionWrite:
		d.Kind, d.Bytes = "wrote", moved(values[storyMoved])
	case act == actionCopy:
		d.Object = text(values[storyNewPath], maxPathLen)
		d.Kind, d.Bytes = "wrote", moved(values[storyMoved])
		return isPlace(d.Object)
	case act == actionCreate && strings.Contains(lower, "directory"):
		d.Kind = "folder"
	case strings.HasPrefix(lower, "symlink"):
		d.Kind, d.Other = "linked", text(values[storyLinkTarget], maxPathLen)
	case act == actionLink:
		d.Kind, d.Object, d.Other = "linked", text(values[storyNewPath], maxPathLen), d.Object
	case act == actionCreate:
		d.Kind = "created"
	case act == actionRename:
		d.Kind, d.Other = "renamed", text(values[storyNewPath], maxPathLen)
	case act == actionDelete:
		d.Kind = "deleted"
	case lower == "truncatefile":
		d.Kind = "wrote"
	case lower == "changemode":
		d.Other = text(values[storyMode], 16)
		d.Kind = kindOfMode(d.Other, text(values[storyFileMode], 16))
	case lower == "changeowner":
		d.Kind, d.Other = "owner", owner(values[storyOwner], values[storyGroup])
	case lower == "setattribute":
		d.Kind = "attribute"
	default:
		return false
	}
	return true
}

// kindOfMode returns the kind of a change to a mode, in octal. file is the file's mode with
// its type; what is no file of data cannot become executable.
func kindOfMode(mode, file string) string {
	const setID, execute, typeMask, regular = 0o6000, 0o111, 0o170000, 0o100000
	bits, err := strconv.ParseUint(mode, 8, 16)
	kind, err2 := strconv.ParseUint(file, 8, 16)
	switch {
	case err != nil || err2 != nil || kind&typeMask != regular || bits&execute == 0:
		return "mode"
	case bits&setID != 0:
		return "rights"
	default:
		return "executable"
	}
}

// owner returns the user and the group that a file gets, of which one may be missing.
func owner(user, group []byte) string {
	var said []string
	if _, ok := jsonscan.Integer(user); ok {
		said = append(said, "user "+string(jsonscan.AppendNumber(nil, user)))
	}
	if _, ok := jsonscan.Integer(group); ok {
		said = append(said, "group "+string(jsonscan.AppendNumber(nil, group)))
	}
	return strings.Join(said, " and ")
}

// ran reads a process_creation.
func ran(d *Deed, values [][]byte) bool {
	d.image, d.file = text(values[storyImage], maxPathLen), text(values[storyScript], maxPathLen)
	if d.file == "" {
		d.file = d.image
	}
	d.Object = text(values[storyCommand], 8*maxDeedText)
	if d.Object == "" {
		d.Object = d.image
	}
	d.Kind = "ran"
	if wire.Failed(values[storyStatus]) {
		d.Kind, d.Result = "not_run", reason(values[storyStatus], values[storyError])
	}
	d.child, _ = jsonscan.Integer(values[storyChild])
	return d.Object != ""
}

// network reads a network_operation.
func network(d *Deed, operation string, values [][]byte) bool {
	protocol := text(values[storyProtocol], 64)
	if protocol == "unix" {
		return false
	}
	d.Object = address(values[storyTo], values[storyToPort])
	if dns := values[storyDNS]; jsonscan.Kind(dns) == '[' {
		return asked(d, dns)
	}
	switch strings.ToLower(operation) {
	case "connect":
		d.Kind = "connected"
		if wire.Failed(values[storyStatus]) {
			switch d.Result = reason(values[storyStatus], values[storyError]); d.Result {
			case inProgress:
				d.Kind, d.Result = "connecting", "no answer yet"
			case connectedBefore:
				d.Result = ""
			default:
				d.Kind = "not_connected"
			}
		}
	case "send", "receive":
		d.Kind, d.confirms = "connected", protocol != "udp"
		if wire.Failed(values[storyStatus]) {
			// What the peer answered. Other errors, such as EAGAIN, say nothing about it.
			d.Kind, d.Result = "not_connected", reason(values[storyStatus], values[storyError])
			return d.confirms && answers[d.Result]
		}
		if protocol == "udp" {
			d.Kind = "sent"
			return operation == "Send" && d.Object != ""
		}
	case "accept":
		d.Kind, d.Object = "accepted", text(values[storyTo], maxHostLen)
	case "listen":
		d.Kind, d.Object = "listened", address(values[storyFrom], values[storyFromPort])
	default:
		return false
	}
	return d.Object != ""
}

// packet reads a packet of TCP that answers a connection.
func packet(d *Deed, values [][]byte) bool {
	d.confirms, d.Object = true, address(values[storyFrom], values[storyFromPort])
	switch text(values[storyTCPFlags], 16) {
	case "SYN, ACK":
		d.Kind = "connected"
	case "RST", "RST, ACK":
		d.Kind, d.Result = "not_connected", refused
	default:
		return false
	}
	return d.Object != ""
}

func address(host, port []byte) string {
	name := text(host, maxHostLen)
	if n, ok := jsonscan.Integer(port); ok && name != "" && n > 0 {
		if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		name += ":" + string(jsonscan.AppendNumber(nil, port))
	}
	return name
}

// asked reads DNS messages. The last answer of a name is its result.
func asked(d *Deed, messages []byte) bool {
	message := jsonscan.Element(messages, 0)
	question := jsonscan.Element(jsonscan.Find(message, "questions"), 0)
	d.Kind, d.Object = "asked", text(jsonscan.Find(question, "name"), maxHostLen)
	if string(jsonscan.Find(message, "response")) == "true" {
		d.Result = text(jsonscan.Find(message, "code"), 64)
		if d.Result == "NXDOMAIN" {
			d.Result = "no such name"
		}
		answers := jsonscan.Find(message, "answers")
		for i := 0; ; i++ {
			answer := jsonscan.Element(answers, i)
			if answer == nil {
				break
			}
			if data := text(jsonscan.Find(answer, "data"), maxHostLen); data != "" {
				d.Result = data
			}
		}
	}
	return d.Object != ""
}

// flow reads an HTTP flow.
func flow(d *Deed, values [][]byte) bool {
	request := values[storyRequest]
	method, url := text(jsonscan.Find(request, "method"), 32), text(jsonscan.Find(request, "url"), maxPathLen)
	if url == "" {
		return false
	}
	d.Kind, d.Object = "fetched", method+" "+url
	if string(values[storyRole]) == `"server"` {
		d.Kind = "served"
	}
	if response := values[storyResponse]; jsonscan.Kind(response) == '{' {
		d.Result = string(jsonscan.Find(response, "status_code"))
		d.Bytes = moved(jsonscan.Find(jsonscan.Find(response, "body"), "size"))
	}
	return true
}

// telling are the calls about processes that say something by themselves.
var telling = map[string]bool{ //nolint:gochecknoglobals // a constant
	"creatememoryfile": true, "ptraceprocess": true, "writeprocessmemory": true, "readprocessmemory": true, "loadmodule": true, "unloadmodule": true,
	"loadbpf": true, "unsharenamespace": true, "enternamespace": true, "takehandle": true, "setuserid": true, "sendsignal": true, "mount": true, "changeroot": true,
}

// called reads a process_operation.
func called(d *Deed, e *models.Event, values [][]byte) bool {
	operation := deref(e.Operation)
	if !telling[strings.ToLower(operation)] {
		return false
	}
	d.Kind, d.Object, d.Other = "called", operation, deref(e.Target)
	if _, ok := jsonscan.Integer(values[storyTargetPID]); ok && d.Other == "" {
		d.Other = "process " + string(jsonscan.AppendNumber(nil, values[storyTargetPID]))
	}
	if wire.Failed(values[storyStatus]) {
		d.Kind, d.Result = "tried", reason(values[storyStatus], values[storyError])
	}
	return true
}

// Reasons in words.
const (
	permissionDenied = "permission denied"
	inProgress       = "in progress"
	connectedBefore  = "connected already"
	refused          = "refused"
	noAnswer         = "no answer"
	noWayToNetwork   = "no way to the network"
	noWayToHost      = "no way to the host"
)

// answers are the reasons that say why a connection was not made.
var answers = map[string]bool{refused: true, noAnswer: true, noWayToNetwork: true, noWayToHost: true} //nolint:gochecknoglobals // a constant

// reasons are the words for errors of Linux, and for statuses of Windows.
var reasons = map[string]string{ //nolint:gochecknoglobals // a constant
	"EACCES": permissionDenied, "EPERM": permissionDenied, "ENOENT": "it does not exist", "ENOEXEC": "it is no program", "ECONNREFUSED": refused,
	"ETIMEDOUT": noAnswer, "ENETUNREACH": noWayToNetwork, "EHOSTUNREACH": noWayToHost, "EINPROGRESS": inProgress, "EALREADY": inProgress, "EISCONN": connectedBefore, "ECONNRESET": "reset",
	"-13": permissionDenied, "-1": permissionDenied, "-115": inProgress, "-114": inProgress, "-106": connectedBefore, "-1073741790": permissionDenied, "-1073741772": "it does not exist", "-1073741766": "it does not exist",
}

// reason returns why an operation failed, by the status and the name of the error.
func reason(status, name []byte) string {
	named := text(name, 64)
	for _, said := range []string{named, string(status)} {
		if words := reasons[said]; words != "" {
			return words
		}
	}
	if named != "" {
		return named
	}
	return "it failed"
}
