package powerloss

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pageSize is the unit in which the page cache writes and discards data. sectorSize is
// the unit in which a disk writes.
const (
	pageSize   = 4096
	sectorSize = 512
)

// Rules make the model ignore syncs, so that a test can check that it detects the loss.
type Rules struct {
	IgnoreSyncs    bool // a sync does nothing
	IgnoreDirSyncs bool // a sync of a folder does nothing
}

// Disk is a model of the files under a folder: the page cache, which the program sees,
// and the disk, which remains after a power loss. It guarantees what POSIX does, and no
// more:
//
// - A sync that succeeds puts everything on the disk that was written before it began.
// Until then each page is on the disk or not, in any order, after any of its writes
// or torn between two of them.
// - A sync that fails leaves each page on the disk or not, and clean: a later sync does
// not write it until the program writes to it again.
// - A new, renamed or removed entry is on the disk after a sync of its folder. Until
// then it may or may not be.
type Disk struct {
	root    string
	rules   Rules
	random  *rand.Rand
	cached  map[string]*node // names in the page cache, including folders
	durable map[string]*node // names on the disk
	pending []*entry         // in the order of their calls
	syncs   map[int]snapshot
}

// node is a file or a folder.
type node struct {
	isDir       bool
	cache, disk []byte
	dirty       map[int64][][]byte // by page: its content after each write since it was clean, oldest first
	truncations []int64            // sizes that may not be on the disk yet
}

// entry is a change of a folder that is not synced.
type entry struct {
	path  string
	node  *node  // nil if the entry is removed
	after *entry // an entry that must be made first
}

// snapshot is the unsynced state of a node when a sync begins.
type snapshot struct {
	node        *node
	versions    map[int64]int // by page: number of versions
	truncations int
	entries     []*entry
}

// NewDisk returns the model of an empty folder.
func NewDisk(root string, rules Rules, random *rand.Rand) *Disk {
	return &Disk{root: root, rules: rules, random: random, cached: map[string]*node{root: {isDir: true}}, durable: map[string]*node{root: {isDir: true}}, syncs: map[int]snapshot{}}
}

// Apply replays an operation.
func (d *Disk) Apply(op Op) error {
	n := d.cached[op.Path]
	if n == nil && op.Kind != Create && op.Kind != Mkdir && op.Kind != Answer {
		return fmt.Errorf("operation %d on %s, which does not exist", op.Kind, op.Path)
	}
	switch op.Kind {
	case Create:
		if n == nil {
			d.enter(op.Path, &node{dirty: map[int64][][]byte{}}, nil)
		}
	case Mkdir:
		d.enter(op.Path, &node{isDir: true}, nil)
	case Remove:
		d.enter(op.Path, nil, nil)
	case Rename:
		made := d.enter(op.To, n, nil)
		d.enter(op.Path, nil, made)
	case Write:
		n.write(op.Offset, op.Data)
	case Truncate:
		n.truncate(op.Offset)
	case SyncBegin:
		d.syncs[op.Sync] = d.snapshot(op.Path, n)
	case SyncEnd:
		d.sync(d.syncs[op.Sync], op.Failed)
		delete(d.syncs, op.Sync)
	case Answer, SetTime:
	}
	return nil
}

func (d *Disk) enter(path string, n *node, after *entry) *entry {
	if n == nil {
		delete(d.cached, path)
	} else {
		d.cached[path] = n
	}
	e := &entry{path, n, after}
	d.pending = append(d.pending, e)
	return e
}

func (d *Disk) snapshot(path string, n *node) snapshot {
	s := snapshot{node: n, versions: map[int64]int{}, truncations: len(n.truncations)}
	for page, versions := range n.dirty {
		s.versions[page] = len(versions)
	}
	for _, e := range d.pending {
		if filepath.Dir(e.path) == path {
			s.entries = append(s.entries, e)
		}
	}
	return s
}

func (d *Disk) sync(s snapshot, failed bool) {
	if d.rules.IgnoreSyncs || d.rules.IgnoreDirSyncs && s.node.isDir {
		return
	}
	if !failed { // after a failure, the entries may or may not be on the disk
		for _, e := range s.entries {
			if i := slices.Index(d.pending, e); i >= 0 {
				d.pending = slices.Delete(d.pending, i, i+1)
				d.make(d.durable, e)
			}
		}
	}
	n := s.node
	for _, size := range n.truncations[:min(s.truncations, len(n.truncations))] {
		n.disk = n.disk[:min(size, int64(len(n.disk)))]
	}
	n.truncations = n.truncations[min(s.truncations, len(n.truncations)):]
	for _, page := range slices.Sorted(maps.Keys(s.versions)) {
		versions := n.dirty[page]
		count := min(s.versions[page], len(versions)) // a truncation may have removed some
		if count == 0 {
			continue
		}
		if !failed || d.random.IntN(2) == 0 {
			n.disk = put(n.disk, page, versions[count-1])
		}
		if n.dirty[page] = versions[count:]; len(n.dirty[page]) == 0 {
			delete(n.dirty, page)
		}
	}
}

// make applies a change of a folder.
func (d *Disk) make(names map[string]*node, e *entry) {
	if e.node == nil {
		delete(names, e.path)
	} else {
		names[e.path] = e.node
	}
}

func (n *node) write(offset int64, data []byte) {
	if end := offset + int64(len(data)); end > int64(len(n.cache)) {
		n.cache = append(n.cache, make([]byte, end-int64(len(n.cache)))...)
	}
	copy(n.cache[offset:], data)
	for page := offset / pageSize; page*pageSize < offset+int64(len(data)); page++ {
		n.touch(page)
	}
}

// touch records the content of a page.
func (n *node) touch(page int64) {
	end := min((page+1)*pageSize, int64(len(n.cache)))
	n.dirty[page] = append(n.dirty[page], bytes.Clone(n.cache[page*pageSize:end]))
}

func (n *node) truncate(size int64) {
	if size > int64(len(n.cache)) {
		n.write(size-1, []byte{0})
		return
	}
	n.cache = n.cache[:size]
	n.truncations = append(n.truncations, size)
	for page := range n.dirty {
		if page*pageSize >= size {
			delete(n.dirty, page)
		}
	}
	if size%pageSize > 0 {
		n.touch(size / pageSize)
	}
}

// put overwrites a page of a file.
func put(file []byte, page int64, content []byte) []byte {
	if end := page*pageSize + int64(len(content)); end > int64(len(file)) {
		file = append(file, make([]byte, end-int64(len(file)))...)
	}
	copy(file[page*pageSize:], content)
	return file
}

// Crash writes into the folder dir what a power loss leaves at this moment. The model
// itself continues unchanged.
func (d *Disk) Crash(dir string) error {
	names := maps.Clone(d.durable)
	made := map[*entry]bool{}
	// Most file systems apply the changes in order; POSIX permits any order.
	ordered, upTo := d.random.IntN(2) == 0, d.random.IntN(len(d.pending)+1)
	for i, e := range d.pending {
		isMade := d.random.IntN(2) == 0
		if ordered {
			isMade = i < upTo
		}
		if after := e.after; after != nil && !made[after] && slices.Contains(d.pending, after) {
			isMade = false
		}
		if isMade {
			made[e] = true
			d.make(names, e)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(names)) { // a folder precedes its entries
		to := filepath.Join(dir, strings.TrimPrefix(path, d.root))
		parent, ok := names[filepath.Dir(path)]
		if path != d.root && (!ok || !parent.isDir) {
			delete(names, path) // the folder was lost, and so is this
			continue
		}
		var err error
		if n := names[path]; n.isDir {
			err = os.MkdirAll(to, 0o700)
		} else {
			err = os.WriteFile(to, n.crash(d.random), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// crash returns the remains of a file.
func (n *node) crash(random *rand.Rand) []byte {
	out := bytes.Clone(n.disk)
	for _, size := range n.truncations[:random.IntN(len(n.truncations)+1)] {
		out = out[:min(size, int64(len(out)))]
	}
	// In a third of the cases all dirty pages are lost, and in another third none is.
	often := random.IntN(3)
	for _, page := range slices.Sorted(maps.Keys(n.dirty)) {
		versions := n.dirty[page]
		k := random.IntN(len(versions) + 1)
		switch often {
		case 0:
			k = 0
		case 1:
			k = len(versions)
		}
		if k == 0 {
			continue
		}
		content := versions[k-1]
		if often == 2 && random.IntN(2) == 0 {
			content = n.torn(page, content, random)
		}
		out = put(out, page, content)
	}
	return out
}

// torn returns a page in which some sectors have their old content on the disk.
func (n *node) torn(page int64, content []byte, random *rand.Rand) []byte {
	content = bytes.Clone(content)
	for sector := 0; sector < len(content); sector += sectorSize {
		if random.IntN(2) == 0 {
			continue
		}
		old := make([]byte, min(sectorSize, len(content)-sector))
		if from := page*pageSize + int64(sector); from < int64(len(n.disk)) {
			copy(old, n.disk[from:])
		}
		copy(content[sector:], old)
	}
	return content
}

// Diff returns the operations that turn the model's page cache into the real files,
// except for names that end with one of ignored. A killed program may have made a call
// that is missing in the log.
func (d *Disk) Diff(ignored ...string) ([]Op, error) {
	var ops []Op
	there := map[string]bool{}
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		there[path] = true
		n := d.cached[path]
		switch {
		case err != nil || slices.ContainsFunc(ignored, func(end string) bool { return strings.HasSuffix(path, end) }):
			return err
		case e.IsDir() && n == nil:
			ops = append(ops, Op{Kind: Mkdir, Path: path})
		case e.IsDir():
		case n == nil:
			n = &node{}
			ops = append(ops, Op{Kind: Create, Path: path})
			fallthrough
		default:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			ops = append(ops, n.diff(path, content)...)
		}
		return nil
	})
	for path := range d.cached {
		if !there[path] {
			ops = append(ops, Op{Kind: Remove, Path: path})
		}
	}
	return ops, err
}

func (n *node) diff(path string, content []byte) (ops []Op) {
	if len(content) < len(n.cache) {
		ops = append(ops, Op{Kind: Truncate, Path: path, Offset: int64(len(content))})
	}
	for from := 0; from < len(content); from += pageSize {
		to := min(from+pageSize, len(content))
		if to > len(n.cache) || !bytes.Equal(content[from:to], n.cache[from:to]) {
			ops = append(ops, Op{Kind: Write, Path: path, Offset: int64(from), Data: content[from:to]})
		}
	}
	return ops
}
