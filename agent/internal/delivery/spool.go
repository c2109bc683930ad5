//go:build linux

package delivery

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ospulse/agent/internal/durable"
)

var (
	errFull   = errors.New("the spool is full")
	errClosed = errors.New("the spool is closed")
)

// lossReserve is what the spool takes beyond its limit of reports of loss: that
// there was no room must not be lost for want of room.
const lossReserve = 256 << 10

// syncInterval is how much a power cut can cost of what was spooled.
const syncInterval = time.Second

// spool keeps batches in files until they are delivered. Records are appended to
// the newest segment and marked when they are done with; a segment without live
// records is deleted. A run never appends to a segment of an earlier one.
//
// What append has written survives the end of the program, kill -9 too, as the
// kernel has it. It survives a power cut after the next sync that does not fail. A
// mark that a power cut undoes makes a batch be sent again, with its old key.
//
// After a sync that failed the kernel may have dropped what it could not write, and a
// later one that succeeds proves nothing. Such a segment gets no more records, and
// what was appended to it since it was last synced is to be appended again.
//
// Its methods are safe for concurrent use.
type spool struct {
	dir      string
	maxBytes int64
	segBytes int64
	lock     *os.File
	unclean  bool // the earlier run did not end by close

	mu       sync.Mutex
	segments map[uint32]*segment
	newest   uint32
	active   *os.File // the newest segment, nil when there is none to append to
	ended    []ended  // segments that get no more records, and are not synced yet
	dirty    bool     // something was appended to active since the last sync
	renamed  bool     // files came since the last sync
	first    uint64   // events that were ever appended
	bytes    int64    // of all files
	events   int64    // in live records
	closed   bool

	fsync func(*os.File) error // (*os.File).Sync, but for tests
}

// ended is a segment that gets no more records.
type ended struct {
	number uint32
	file   *os.File
}

type segment struct {
	size  int64
	live  int  // records
	isBad bool // a sync of it failed
}

// ref is where a record is.
type ref struct {
	segment, offset, size, count uint32
}

// leftover is a record of an earlier run.
type leftover struct {
	session string
	ref     ref
}

// openSpool opens the spool in dir, which it makes when it is not there. It gives
// what earlier runs left, in order, and what of it was lost.
func openSpool(dir string, maxBytes int64) (*spool, []leftover, []damage, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("make the spool's folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open the spool: %w", err)
	}
	s := &spool{dir: dir, maxBytes: maxBytes, segBytes: min(max(maxBytes/16, 64<<10), 4<<20), lock: lock, segments: map[uint32]*segment{}, fsync: (*os.File).Sync}
	var left []leftover
	var damages []damage
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("another agent uses the spool %s: %w", dir, err), lock.Close())
	}
	info, err := lock.Stat()
	if err == nil {
		s.unclean = info.Size() > 0
		_, err = lock.WriteAt([]byte("in use\n"), 0)
		if errors.Is(err, syscall.ENOSPC) {
			err = nil // it only tells the next run less
		}
	}
	if err == nil {
		left, damages, err = s.load()
	}
	if err == nil {
		var old []leftover
		var oldDamages []damage
		old, oldDamages, err = s.takeOld()
		left, damages = append(left, old...), append(damages, oldDamages...)
	}
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("open the spool %s: %w", dir, err), lock.Close())
	}
	return s, left, damages, nil
}

const segmentSuffix = ".segment"

func (s *spool) path(number uint32) string {
	return filepath.Join(s.dir, fmt.Sprintf("%010d%s", number, segmentSuffix))
}

// load finds what earlier runs left.
func (s *spool) load() ([]leftover, []damage, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, err
	}
	var numbers []uint32
	firsts := map[uint32]*uint64{}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), segmentSuffix)
		number, err := strconv.ParseUint(name, 10, 32)
		if !ok || err != nil {
			continue
		}
		s.newest = max(s.newest, uint32(number))
		first, err := s.segmentFirst(uint32(number))
		if err != nil {
			return nil, nil, err
		}
		numbers, firsts[uint32(number)] = append(numbers, uint32(number)), first
	}
	slices.Sort(numbers)
	var left []leftover
	var damages []damage
	for _, number := range numbers {
		records, broken, err := s.loadSegment(number, firsts[number], firsts[number+1])
		if err != nil {
			return nil, nil, err
		}
		left, damages = append(left, records...), append(damages, broken...)
	}
	return left, damages, nil
}

// segmentFirst gives how many events were before a segment; nil if its header is
// damaged.
func (s *spool) segmentFirst(number uint32) (*uint64, error) {
	file, err := os.Open(s.path(number))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	first, err := readSegmentHeader(file)
	if errors.Is(err, errForeign) {
		return nil, nil //nolint:nilnil // that it is not known is no error
	}
	return &first, err
}

// loadSegment finds what is left in one segment. Damaged parts are mended, so
// that they are found, and told of, once.
func (s *spool) loadSegment(number uint32, first, next *uint64) ([]leftover, []damage, error) {
	file, err := os.OpenFile(s.path(number), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	seg := &segment{size: info.Size()}
	if seg.size > 1<<32-1 {
		return nil, nil, fmt.Errorf("%s is too large to be a segment", file.Name())
	}
	if first != nil {
		s.first = max(s.first, *first)
	}
	var left []leftover
	var damages []damage
	err = scan(file, seg.size, first, next, func(offset int64, r record) {
		s.first = max(s.first, r.first+uint64(r.count))
		if r.done {
			return
		}
		seg.live++
		s.events += int64(r.count)
		left = append(left, leftover{r.session, ref{number, uint32(offset), uint32(r.size()), r.count}})
	}, func(d damage) {
		s.first = max(s.first, d.first+d.count)
		if d.to.IsZero() {
			d.to = info.ModTime()
		}
		damages = append(damages, d)
	})
	if err != nil {
		return nil, nil, err
	}
	for _, d := range damages {
		if err := mend(file, seg, d); err != nil {
			return nil, nil, err
		}
	}
	if seg.live == 0 {
		return nil, damages, os.Remove(file.Name())
	}
	s.segments[number] = seg
	s.bytes += seg.size
	return left, damages, nil
}

// mend cuts off a damaged end, and makes of another damaged part a record that is
// done with.
func mend(file *os.File, seg *segment, d damage) error {
	if d.end == seg.size {
		seg.size = d.offset
		return file.Truncate(d.offset)
	}
	if d.end-d.offset < recordHeader {
		return nil // too short for that: it is found again, of no events
	}
	payload := d.end - d.offset - recordHeader
	r := record{payload: uint32(payload), count: uint32(min(d.count, 1<<32-1)), first: d.first, from: d.from, to: d.to, done: true}
	_, err := file.WriteAt(r.appendHeader(nil), d.offset)
	return err
}

// append adds a batch. errFull is for one that is beyond the limit, or for which
// the disk has no room; must lets it use the reserve.
func (s *spool) append(b *batch, payload []byte, must bool) (ref, error) {
	limit := s.maxBytes
	if must {
		limit += lossReserve
	}
	return s.appendWithin(b, payload, limit)
}

func (s *spool) appendWithin(b *batch, payload []byte, limit int64) (ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ref{}, errClosed
	}
	r := record{
		key: b.key, session: b.session[:min(len(b.session), 0xffff)], payload: uint32(len(payload)), checksum: crc32.Checksum(payload, castagnoli),
		count: uint32(b.count), from: b.from, to: b.to,
	}
	if s.bytes+r.size()+segmentHeader > limit || r.payload > maxPayload {
		return ref{}, errFull
	}
	if s.active != nil && s.segments[s.newest].size >= s.segBytes {
		s.endSegment()
	}
	if s.active == nil {
		if err := s.newSegment(); err != nil {
			return ref{}, full(err)
		}
	}
	seg := s.segments[s.newest]
	r.first = s.first
	out := append(r.appendHeader(make([]byte, 0, r.size())), payload...)
	if _, err := s.active.WriteAt(out, seg.size); err != nil {
		// Half a record is none. If it cannot even be cut off, the next goes to
		// another file, and the next run cuts it.
		if cutErr := s.active.Truncate(seg.size); cutErr != nil {
			s.endSegment()
		}
		return ref{}, full(err)
	}
	at := ref{s.newest, uint32(seg.size), uint32(len(out)), r.count}
	seg.size += int64(len(out))
	seg.live++
	s.bytes += int64(len(out))
	s.events += int64(r.count)
	s.first += uint64(r.count)
	s.dirty = true
	return at, nil
}

// full makes errFull of a disk that takes nothing, whatever the reason: the spool
// is no place for events then.
func full(err error) error { return fmt.Errorf("%w: %w", errFull, err) }

func (s *spool) newSegment() error {
	file, err := os.OpenFile(s.path(s.newest+1), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.Write(appendSegmentHeader(nil, s.first)); err != nil {
		return errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	s.newest++
	s.active = file
	s.segments[s.newest] = &segment{size: segmentHeader}
	s.bytes += segmentHeader
	s.renamed = true
	return nil
}

// endSegment ends the newest segment. The next sync syncs it.
func (s *spool) endSegment() {
	if s.dirty {
		s.ended = append(s.ended, ended{s.newest, s.active})
	} else {
		_ = s.active.Close()
	}
	s.active, s.dirty = nil, false
	s.drop(s.newest)
}

// drop deletes a segment once nothing of it is needed any more. One that cannot
// be deleted now is by the next run.
func (s *spool) drop(number uint32) {
	seg := s.segments[number]
	if seg.live > 0 {
		return
	}
	if s.active != nil && number == s.newest {
		_ = s.active.Close()
		s.active, s.dirty = nil, false
	}
	delete(s.segments, number)
	s.bytes -= seg.size
	_ = os.Remove(s.path(number))
}

// read gives the batch of a record; errDamaged if it is not what was written.
func (s *spool) read(at ref) (*batch, error) {
	file, err := os.Open(s.path(at.segment))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	defer file.Close()
	text := make([]byte, at.size)
	if n, err := file.ReadAt(text, int64(at.offset)); n < len(text) {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	r, err := parseRecord(text)
	if err != nil {
		return nil, err
	}
	b := &batch{key: r.key, session: r.session, count: int(r.count), from: r.from, to: r.to, spooled: true, ref: at}
	payload := text[min(r.headerLen(), len(text)):]
	if r.size() != int64(at.size) || crc32.Checksum(payload, castagnoli) != r.checksum {
		return b, errDamaged
	}
	b.packed = payload
	return b, nil
}

// done marks a record as done with. A mark that cannot be made costs a repetition
// at most, after the next start, which the backend knows by its key.
func (s *spool) done(at ref) error {
	err := s.mark(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if seg := s.segments[at.segment]; seg != nil {
		seg.live--
		s.events -= int64(at.count)
		s.drop(at.segment)
	}
	return err
}

func (s *spool) mark(at ref) error {
	file, err := os.OpenFile(s.path(at.segment), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte{1}, int64(at.offset)+doneAt)
	return errors.Join(err, file.Close())
}

// sync brings what was appended to the disk itself. It may take long; append does not
// wait for it. A segment of which it fails is bad from then on.
func (s *spool) sync() error {
	s.mu.Lock()
	files := s.ended
	if s.dirty && s.active != nil {
		files = append(files, ended{s.newest, s.active})
	}
	renamed := s.renamed && len(files) > 0
	s.ended, s.dirty, s.renamed = nil, false, s.renamed && !renamed
	active := s.active
	s.mu.Unlock()
	faults := make([]error, len(files))
	for i, f := range files {
		if err := s.fsync(f.file); !errors.Is(err, os.ErrClosed) { // then nothing of it is needed any more
			faults[i] = err
		}
	}
	var dirFault error
	if renamed {
		dirFault = s.syncDir()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range files {
		isBad := faults[i] != nil || dirFault != nil
		if seg := s.segments[f.number]; seg != nil && isBad {
			seg.isBad = true
		}
		switch {
		case f.file != active:
			_ = f.file.Close()
		case isBad && s.active == active:
			_ = active.Close()
			s.active, s.dirty = nil, false
		}
	}
	return errors.Join(append(faults, dirFault)...)
}

// isBad reports whether a sync of a segment failed.
func (s *spool) isBad(number uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.segments[number]
	return seg != nil && seg.isBad
}

// syncDir makes the names of the segments survive a power cut.
func (s *spool) syncDir() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(s.fsync(dir), dir.Close())
}

// backlog gives the events that wait, and the bytes that the files take.
func (s *spool) backlog() (events, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.bytes
}

// close ends the use of the spool; what is in it stays. isSafe says that all of it was
// synced.
func (s *spool) close(isSafe bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.active != nil {
		_ = s.active.Close()
		s.active = nil
	}
	for _, f := range s.ended {
		_ = f.file.Close()
	}
	if !isSafe { // the next run tells that something may be missing
		return s.lock.Close()
	}
	return errors.Join(s.lock.Truncate(0), s.lock.Close())
}
