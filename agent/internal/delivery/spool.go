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
	errTorn   = errors.New("a sync of the spool failed, and what it may have lost is written first")
)

// lossReserve is the space beyond the limit that only reports of loss may use, in bytes. A
// full spool must still accept the report that it was full.
const lossReserve = 256 << 10

// syncInterval is the longest span of spooled events that a power cut can lose.
const syncInterval = time.Second

// spool keeps batches in files until they are delivered. It appends records to the newest
// segment, marks records that are done, and deletes a segment without live records. A run
// never appends to a segment of an earlier run.
//
// A record that append has written is in the kernel, so it survives the end of the program,
// even kill -9. It survives a power cut after the next successful sync. If a power cut
// undoes a mark, the batch is sent again with its old key.
//
// After a failed sync, the kernel may have dropped data that it could not write, and a later
// successful sync proves nothing. Such a segment and all newer ones get no more records. The
// caller must append their records again, in their order, with again. Until it calls mended,
// append takes nothing: a newer record would come before them.
//
// Its methods are safe for concurrent use.
type spool struct {
	dir      string
	maxBytes int64
	segBytes int64
	lock     *os.File
	unclean  bool // the previous run did not end with close

	mu       sync.Mutex
	segments map[uint32]*segment
	newest   uint32
	active   *os.File // the newest segment; nil if append must create one
	ended    []ended  // full segments that are not synced yet
	dirty    bool     // active has records since the last sync
	renamed  bool     // segments were created since the last sync
	first    uint64   // number of events ever appended
	bytes    int64    // of all files
	events   int64    // in live records
	closed   bool
	torn     bool // records must be appended again before others

	fsync func(*os.File) error // (*os.File).Sync; tests replace it
}

// ended is a full segment that is not synced yet.
type ended struct {
	number uint32
	file   *os.File
}

type segment struct {
	size  int64
	live  int  // records
	isBad bool // a sync of it, or of an older one, failed
}

// ref is the place of a record.
type ref struct {
	segment, offset, size, count uint32
}

// leftover is a record of an earlier run.
type leftover struct {
	session string
	ref     ref
}

// openSpool opens the spool in dir and creates dir if necessary. It returns the records that
// earlier runs left, in order, and the damaged parts. It returns an error if another agent
// uses the spool.
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
			err = nil // the next run cannot tell that this one was killed
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

// load reads the segments of earlier runs.
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

// segmentFirst returns the number of events before a segment, or nil if the segment's header
// is damaged.
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

// loadSegment reads the live records of one segment. It repairs damaged parts, so that they
// are reported only once.
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

// mend truncates a damaged end of a segment. It turns any other damaged part into a record
// that is done.
func mend(file *os.File, seg *segment, d damage) error {
	if d.end == seg.size {
		seg.size = d.offset
		return file.Truncate(d.offset)
	}
	if d.end-d.offset < recordHeader {
		return nil // too short for a record: the next run finds it again, with no events
	}
	payload := d.end - d.offset - recordHeader
	r := record{payload: uint32(payload), count: uint32(min(d.count, 1<<32-1)), first: d.first, from: d.from, to: d.to, done: true}
	_, err := file.WriteAt(r.appendHeader(nil), d.offset)
	return err
}

// append adds a batch and returns its place. The error wraps errFull if the limit is reached
// or the disk cannot store the batch, and it is errTorn after a failed sync. With must, append
// may use lossReserve.
func (s *spool) append(b *batch, payload []byte, must bool) (ref, error) {
	limit := s.maxBytes
	if must {
		limit += lossReserve
	}
	return s.appendWithin(b, payload, limit, false)
}

// again adds a batch of a bad segment. It may use lossReserve.
func (s *spool) again(b *batch, payload []byte) (ref, error) {
	return s.appendWithin(b, payload, s.maxBytes+lossReserve, true)
}

// mended says that append may add batches again. It reports whether it could not before.
func (s *spool) mended() (wasTorn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wasTorn, s.torn = s.torn, false
	return wasTorn
}

func (s *spool) appendWithin(b *batch, payload []byte, limit int64, isAgain bool) (ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ref{}, errClosed
	case s.torn && !isAgain:
		return ref{}, errTorn
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
		// Remove the incomplete record, and the segment if it has no other. If the record
		// stays, the next one goes to another file, and the next run truncates this one.
		if cutErr := s.active.Truncate(seg.size); cutErr != nil {
			s.endSegment()
		} else {
			s.drop(s.newest)
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

// full wraps any write error in errFull: whatever the cause, the spool cannot take events
// now.
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

// endSegment closes the newest segment for appending. The next sync syncs it.
func (s *spool) endSegment() {
	if s.dirty {
		s.ended = append(s.ended, ended{s.newest, s.active})
	} else {
		_ = s.active.Close()
	}
	s.active, s.dirty = nil, false
	s.drop(s.newest)
}

// drop deletes a segment if it has no live records. If that fails, the next run deletes the
// segment.
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

// read returns the batch of a record. The error wraps errDamaged if the record is damaged or
// missing; the batch is then nil or has no payload.
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

// done marks a record as done. If the mark fails, the next run may send the batch again, and
// the backend recognises the repeated key.
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

// sync flushes appended records to the disk. It can take long, and append does not wait for
// it. A segment whose sync fails is bad from then on.
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
		if err := s.fsync(f.file); !errors.Is(err, os.ErrClosed) { // drop closed the file, because the segment has no live records
			faults[i] = err
		}
	}
	var dirFault error
	if renamed {
		dirFault = s.syncDir()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		if f.file != active {
			_ = f.file.Close()
		}
	}
	for i, f := range files { // the oldest first
		if faults[i] != nil || dirFault != nil {
			s.tear(f.number)
			break
		}
	}
	return errors.Join(append(faults, dirFault)...)
}

// tear marks a segment and all newer ones as bad.
func (s *spool) tear(from uint32) {
	s.torn = true
	for number, seg := range s.segments {
		seg.isBad = seg.isBad || number >= from
	}
	if s.active != nil {
		_ = s.active.Close()
	}
	for _, f := range s.ended {
		_ = f.file.Close()
	}
	s.active, s.ended, s.dirty = nil, nil, false
}

// isBad reports whether a sync of the segment, or of an older one, failed.
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

// backlog returns the number of events in live records and the size of all files.
func (s *spool) backlog() (events, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.bytes
}

// close closes the spool and keeps its content. isSafe says that everything in it is
// synced; otherwise the next run reports a possible loss.
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
	if !isSafe { // the lock file keeps its content, so the next run is unclean
		return s.lock.Close()
	}
	return errors.Join(s.lock.Truncate(0), s.lock.Close())
}
