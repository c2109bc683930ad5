package analysis

import (
	"cmp"
	"slices"
	"strings"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// File counts the operations on one path.
type File struct {
	Path string
	// Events of each kind; every event counts once.
	Reads, Writes, Creates, Renames, Deletes, Others int64
	Failed                                           int64 // of these events, as far as agents report it
	BytesRead, BytesWritten                          int64
	RenamedTo                                        string // by the last rename that reports it; "" if none does
	Seen

	// The processes with the most events, and how many there are. Only in pages.
	Processes    []ProcessCount
	ProcessCount int

	processes []uint32 // places in the table
}

// events returns the number of events.
func (f *File) events() int64 {
	return f.Reads + f.Writes + f.Creates + f.Renames + f.Deletes + f.Others
}

// Files is the rollup of file_operation events by path. It is not safe for concurrent
// use.
type Files struct {
	limits Limits
	bytes  int64

	places map[string]uint32 // in files, by path
	files  []File

	processes     []processKey
	processPlaces map[processKey]uint32
	pairs         map[[2]uint32]int64 // events, by file and process
	actions       map[string]action   // of some operations

	// Of the last event, because the next one often has the same.
	lastFile    uint32
	lastProcess uint32

	others      int64
	withoutPath int64
	truncated   bool
}

// NewFiles returns an empty rollup.
func NewFiles(limits Limits) *Files {
	return &Files{limits: limits, places: map[string]uint32{}, processPlaces: map[processKey]uint32{}, pairs: map[[2]uint32]int64{}, actions: map[string]action{}}
}

// FileTypes returns the event types that Files reads.
func FileTypes() []string { return []string{models.TypeFile} }

// The members of data that Files reads, in the order of FileKeys.
const (
	fileSize = iota
	fileSizeOther
	fileNewPath
	fileFlags
	fileStatus
)

// FileKeys returns the members of data that Files reads.
func FileKeys() []string {
	return []string{"bytesTransferred", "bytes_transferred", "newFilePath", "flags", "status"}
}

// Bytes returns about how much memory the rollup takes.
func (d *Files) Bytes() int64 { return d.bytes }

// maxPathLen is the most bytes of a path; the target of an event is no longer.
const maxPathLen = 4096

// Add adds an event, with the values of FileKeys as JSON, nil for missing ones. The
// caller adds events in the order of Seq. Add keeps the event's texts, but not the
// values.
func (d *Files) Add(e *models.Event, values [][]byte) {
	path := deref(e.Target)
	if path == "" {
		d.withoutPath++
		return
	}
	size := values[fileSize]
	if size == nil {
		size = values[fileSizeOther]
	}
	action := d.actionOf(deref(e.Operation), values[fileFlags])
	hasFailed := wire.Failed(values[fileStatus])
	newPath := ""
	if !hasFailed {
		newPath = text(values[fileNewPath], maxPathLen)
	}
	d.add(e, path, action, moved(size), hasFailed, newPath)
	// The target of a copy or a link is a file of its own in the list.
	switch {
	case newPath == "" || newPath == path:
	case action == actionCopy:
		d.add(e, newPath, actionWrite, moved(size), false, "")
	case action == actionLink:
		d.add(e, newPath, actionCreate, 0, false, "")
	}
}

func (d *Files) add(e *models.Event, path string, action action, size int64, hasFailed bool, newPath string) {
	place, known := d.lastFile, int(d.lastFile) < len(d.files) && d.files[d.lastFile].Path == path
	if !known {
		place, known = d.places[path]
	}
	if !known {
		if len(d.files) >= d.limits.Groups || d.bytes >= d.limits.Bytes {
			d.others++
			d.truncated = true
			return
		}
		place = uint32(len(d.files))
		d.files = append(d.files, File{Path: path})
		d.places[path] = place
		d.bytes += fileBytes + int64(len(path))
	}
	d.lastFile = place
	f := &d.files[place]
	f.see(e)
	switch action {
	case actionRead, actionCopy:
		f.Reads++
		f.BytesRead += size
	case actionWrite:
		f.Writes++
		f.BytesWritten += size
	case actionCreate:
		f.Creates++
	case actionRename:
		f.Renames++
		if newPath != "" {
			d.bytes += int64(len(newPath) - len(f.RenamedTo))
			f.RenamedTo = newPath
		}
	case actionDelete:
		f.Deletes++
	default:
		f.Others++
	}
	if hasFailed {
		f.Failed++
	}
	d.addProcess(f, place, e)
}

// addProcess counts the event for its process, unless there are too many.
func (d *Files) addProcess(f *File, file uint32, e *models.Event) {
	key := processOf(e)
	process, known := d.lastProcess, int(d.lastProcess) < len(d.processes) && d.processes[d.lastProcess] == key
	if !known {
		process, known = d.processPlaces[key]
	}
	if !known {
		if d.bytes >= d.limits.Bytes {
			d.truncated = true
			return
		}
		process = uint32(len(d.processes))
		d.processes = append(d.processes, key)
		d.processPlaces[key] = process
		d.bytes += processBytes + int64(len(key.name))
	}
	d.lastProcess = process
	pair := [2]uint32{file, process}
	count := d.pairs[pair]
	if count == 0 {
		if d.bytes >= d.limits.Bytes {
			d.truncated = true
			return
		}
		f.processes = append(f.processes, process)
		d.bytes += pairBytes
	}
	d.pairs[pair] = count + 1
}

// action is the effect of an operation on a file.
type action uint8

const (
	actionOther action = iota
	actionRead
	actionWrite
	actionCreate
	actionRename
	actionDelete
	actionCopy // reads it and writes another file
	actionLink // adds a name to it
	actionOpen // creates it if its flags say so
)

// actions are prefixes of operations, after the removal of Windows's system call
// prefixes. The first match counts.
var actions = []struct { //nolint:gochecknoglobals // a constant
	prefix string
	action action
}{
	{"readdir", actionOther}, {"readlink", actionOther}, {"read", actionRead}, {"write", actionWrite},
	{"createfilemapping", actionOther}, {"createsection", actionOther}, {"createhardlink", actionLink},
	{"create", actionCreate}, {"symlink", actionCreate},
	{"rename", actionRename}, {"move", actionRename}, {"replace", actionRename},
	{"delete", actionDelete}, {"remove", actionDelete}, {"unlink", actionDelete},
	{"copy", actionCopy}, {"link", actionLink},
}

// maxActions is the most operations whose action Files keeps. Agents report some tens.
const maxActions = 1000

// actionOf is the function actionOf, with its results kept.
func (d *Files) actionOf(operation string, flags []byte) action {
	action, known := d.actions[operation]
	if !known {
		action = actionOf(operation)
		if len(d.actions) < maxActions {
			d.actions[operation] = action
		}
	}
	if action != actionOpen {
		return action
	}
	if strings.Contains(text(flags, 256), "O_CREAT") {
		return actionCreate
	}
	return actionOther
}

// actionOf returns the action of an operation by its name: that of this project's agent
// (ReadFile, OpenFile, RenameFile …) or of a controller on Windows (ReadFile,
// NtCreateFile, MoveFileExW …). The agent's OpenFile creates if its flags say so, as
// creat does; no event reports whether the file existed before.
func actionOf(operation string) action {
	name := strings.ToLower(operation)
	if rest, ok := strings.CutPrefix(name, "nt"); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(name, "zw"); ok {
		name = rest
	}
	for i := range actions {
		if strings.HasPrefix(name, actions[i].prefix) {
			return actions[i].action
		}
	}
	if name == "openfile" {
		return actionOpen
	}
	return actionOther
}

// FileSort is a sort key of files. The largest value is first, but paths ascend.
type FileSort string

// The sorts.
const (
	FilesByPath         FileSort = "path"
	FilesByEvents       FileSort = "events"
	FilesByReads        FileSort = "reads"
	FilesByWrites       FileSort = "writes"
	FilesByCreates      FileSort = "creates"
	FilesByRenames      FileSort = "renames"
	FilesByDeletes      FileSort = "deletes"
	FilesByBytesRead    FileSort = "bytes_read"
	FilesByBytesWritten FileSort = "bytes_written"
	FilesByLast         FileSort = "last" // last event
)

// FileSorts returns all sorts, the default first.
func FileSorts() []FileSort {
	return []FileSort{
		FilesByEvents, FilesByPath, FilesByReads, FilesByWrites, FilesByCreates, FilesByRenames, FilesByDeletes, FilesByBytesRead, FilesByBytesWritten, FilesByLast,
	}
}

func (s FileSort) position(f *File) Position {
	at := Position{Name: f.Path}
	switch s {
	case FilesByReads:
		at.Number = f.Reads
	case FilesByWrites:
		at.Number = f.Writes
	case FilesByCreates:
		at.Number = f.Creates
	case FilesByRenames:
		at.Number = f.Renames
	case FilesByDeletes:
		at.Number = f.Deletes
	case FilesByBytesRead:
		at.Number = f.BytesRead
	case FilesByBytesWritten:
		at.Number = f.BytesWritten
	case FilesByLast:
		at.Number = f.LastMicros
	case FilesByEvents:
		at.Number = f.events()
	case FilesByPath:
	}
	return at
}

// FilePage is a page of files, and counts of the events that it leaves out.
type FilePage struct {
	Files       []File
	Next        *Position // where the next page begins, nil if there is none
	Total       int       // selected paths
	Others      int64     // events with paths beyond the limits
	WithoutPath int64     // events without a path
	Truncated   bool      // some paths, or some of their processes, are left out
}

// maxProcesses is the most processes in a page per file.
const maxProcesses = 10

// Page returns up to limit selected files after a position in the order of sort; nil
// selects all.
func (d *Files) Page(selected func(path string) bool, sort FileSort, after *Position, limit int) FilePage {
	places, total := first(len(d.files),
		func(i int) bool { return selected == nil || selected(d.files[i].Path) },
		func(i int) Position { return sort.position(&d.files[i]) }, after, limit+1)
	page := FilePage{Total: total, Others: d.others, WithoutPath: d.withoutPath, Truncated: d.truncated}
	if len(places) > limit {
		places = places[:limit]
		next := sort.position(&d.files[places[limit-1]])
		page.Next = &next
	}
	for _, place := range places {
		f := d.files[place]
		f.Processes, f.ProcessCount, f.processes = d.processesOf(uint32(place)), len(f.processes), nil
		page.Files = append(page.Files, f)
	}
	return page
}

// processesOf returns the processes with the most events of a file.
func (d *Files) processesOf(file uint32) []ProcessCount {
	var counts []ProcessCount
	for _, process := range d.files[file].processes {
		counts = append(counts, d.processes[process].count(d.pairs[[2]uint32{file, process}]))
	}
	slices.SortStableFunc(counts, func(a, b ProcessCount) int { return cmp.Compare(b.Count, a.Count) })
	return counts[:min(len(counts), maxProcesses)]
}
