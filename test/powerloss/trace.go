// Package powerloss shows which files of a program remain after a power loss at any
// moment. Parse reads the system calls of the real program from a log of strace, and
// Disk replays them on a model of the page cache and the disk.
//
// The package does not depend on the content of the files.
package powerloss

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// StraceArguments returns the arguments of strace, before those of the program, for a
// log that Parse can read. The process that is started is the program itself; strace
// ends after it.
func StraceArguments(log string) []string {
	return []string{
		"-D", "-f", "--seccomp-bpf", "-y", "-xx", "-ttt", "-s", "67108864", "-e", "signal=none", "-o", log,
		"-e", "trace=open,openat,creat,mkdir,mkdirat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range," +
			"copy_file_range,sendfile,splice,lseek,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,utimensat",
	}
}

// Kind is the kind of an Op.
type Kind int

// The kinds of operations.
const (
	Create    Kind = iota // Path, unless it exists
	Write                 // Data at Offset of Path
	Truncate              // Path to Offset bytes
	SyncBegin             // of Path, a file or a folder; Sync is the same in its SyncEnd
	SyncEnd               // with Failed after an error
	Mkdir                 // Path
	Remove                // Path, a file or a folder
	Rename                // Path to To
	Answer                // Data is the beginning of an HTTP answer that is sent
	SetTime               // the modification time of Path to Time
)

// Op is one operation of the program.
type Op struct {
	Kind     Kind
	Path, To string // absolute
	Offset   int64
	Data     []byte
	Sync     int
	Failed   bool
	Time     time.Time // when a Write began, if the log has times
}

// Parse reads a log of strace, made with StraceArguments. It returns the operations
// under the folder root, in the order in which they ended, and the HTTP answers at the
// time when they began. An unknown call under root is an error.
func Parse(log io.Reader, root string) ([]Op, error) {
	p := &parser{root: root, begun: map[string]string{}, syncs: map[string]int{}, offsets: map[string]int64{}, times: map[string]time.Time{}}
	lines := bufio.NewReaderSize(log, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return p.ops, nil // the truncated line is a call that did not end
		}
		if err != nil {
			return nil, err
		}
		if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("line %d: %w: %.300s", n, err, line)
		}
	}
}

type parser struct {
	root    string
	ops     []Op
	begun   map[string]string // by thread: the text of the unfinished call
	syncs   map[string]int    // by thread: the unfinished sync
	nextID  int
	offsets map[string]int64     // by file descriptor: the offset for write
	times   map[string]time.Time // by thread: when its last call began
}

func (p *parser) line(line string) error {
	thread, text, _ := strings.Cut(line, " ")
	text = strings.TrimLeft(text, " ")
	at, text, err := cutTime(text)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(text, "+++"):
		return nil
	case strings.HasPrefix(text, "<... "):
		_, rest, ok := strings.Cut(text, " resumed>")
		if !ok {
			return errors.New("a call that is resumed has no name")
		}
		text = p.begun[thread] + rest
		delete(p.begun, thread)
		return p.end(thread, text)
	}
	p.times[thread] = at
	whole := !strings.HasSuffix(text, " <unfinished ...>")
	text = strings.TrimSuffix(text, " <unfinished ...>")
	if err := p.begin(thread, text); err != nil {
		return err
	}
	if whole {
		return p.end(thread, text)
	}
	p.begun[thread] = text
	return nil
}

// begin handles calls that have an effect when they begin.
func (p *parser) begin(thread, text string) error {
	name, rest, _ := strings.Cut(text, "(")
	switch name {
	case "fsync", "fdatasync":
		path, err := fdPath(rest)
		if err != nil || !p.isOurs(path) {
			return err
		}
		p.nextID++
		p.syncs[thread] = p.nextID
		p.ops = append(p.ops, Op{Kind: SyncBegin, Path: path, Sync: p.nextID})
	case "write":
		const http = `, "\x48\x54\x54\x50\x2f` // HTTP/
		if at := strings.Index(rest, http); at > 0 && at < 200 {
			data, err := quoted(rest, 0)
			p.ops = append(p.ops, Op{Kind: Answer, Data: data})
			return err
		}
	}
	return nil
}

// end handles a call that has ended.
func (p *parser) end(thread, text string) error {
	at := strings.LastIndex(text, " = ")
	if at < 0 { // the program was killed
		return nil
	}
	call, result := strings.TrimRight(text[:at], " "), text[at+3:]
	name, arguments, _ := strings.Cut(strings.TrimSuffix(call, ")"), "(")
	failed := strings.HasPrefix(result, "-1 ") || strings.HasPrefix(result, "?")
	switch name {
	case "fsync", "fdatasync":
		id, ok := p.syncs[thread]
		delete(p.syncs, thread)
		if path, err := fdPath(arguments); err != nil || !ok {
			return err
		} else if !strings.HasPrefix(result, "?") {
			p.ops = append(p.ops, Op{Kind: SyncEnd, Path: path, Sync: id, Failed: failed})
		}
		return nil
	case "open", "openat", "creat":
		if failed {
			return nil
		}
		return p.opened(arguments, result)
	}
	if failed {
		return nil
	}
	switch name {
	case "write", "pwrite64", "ftruncate", "lseek":
		return p.onFile(name, arguments, result, p.times[thread])
	case "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir":
		return p.onName(name, arguments)
	case "utimensat":
		return p.onTime(arguments)
	}
	if strings.Contains(arguments, encode(p.root)) {
		return errors.New("a call that the model does not know")
	}
	return nil
}

func (p *parser) opened(arguments, result string) error {
	path, err := fdPath(result)
	if err != nil || !p.isOurs(path) {
		return err
	}
	fd, _, _ := strings.Cut(result, "<")
	p.offsets[fd] = 0
	if strings.Contains(arguments, "O_APPEND") {
		return errors.New("a file is opened to append")
	}
	if strings.Contains(arguments, "O_CREAT") {
		p.ops = append(p.ops, Op{Kind: Create, Path: path})
	}
	if strings.Contains(arguments, "O_TRUNC") {
		p.ops = append(p.ops, Op{Kind: Truncate, Path: path})
	}
	return nil
}

func (p *parser) onFile(name, arguments, result string, began time.Time) error {
	path, err := fdPath(arguments)
	if err != nil || !p.isOurs(path) {
		return err
	}
	fd, _, _ := strings.Cut(arguments, "<")
	result, _, _ = strings.Cut(result, " ")
	returned, err := strconv.ParseInt(result, 10, 64)
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(arguments[strings.LastIndex(arguments, " ")+1:], 10, 64)
	if err != nil && name != "lseek" {
		return err
	}
	op := Op{Path: path, Offset: last}
	switch name {
	case "ftruncate":
		op.Kind = Truncate
	case "lseek":
		p.offsets[fd] = returned
		return nil
	default:
		op.Kind, op.Time = Write, began
		if op.Data, err = quoted(arguments, 0); err != nil || int64(len(op.Data)) < returned {
			return fmt.Errorf("%d bytes were written, and the log has %d: %w", returned, len(op.Data), err)
		}
		op.Data = op.Data[:returned]
		if name == "write" {
			op.Offset = p.offsets[fd]
			p.offsets[fd] += returned
		}
	}
	p.ops = append(p.ops, op)
	return nil
}

func (p *parser) onName(name, arguments string) error {
	first, err := quoted(arguments, 0)
	if err != nil || !p.isOurs(string(first)) {
		return err
	}
	op := Op{Path: filepath.Clean(string(first))}
	switch {
	case strings.HasPrefix(name, "mkdir"):
		op.Kind = Mkdir
	case strings.HasPrefix(name, "rename"):
		to, err := quoted(arguments, 1)
		if err != nil {
			return err
		}
		op.Kind, op.To = Rename, filepath.Clean(string(to))
	default:
		op.Kind = Remove
	}
	p.ops = append(p.ops, op)
	return nil
}

func (p *parser) onTime(arguments string) error {
	path, err := quoted(arguments, 0)
	if err != nil || !p.isOurs(string(path)) {
		return err
	}
	var seconds, nanoseconds int64
	at := max(strings.LastIndex(arguments, "{tv_sec="), 0)
	if _, err := fmt.Sscanf(arguments[at:], "{tv_sec=%d, tv_nsec=%d}", &seconds, &nanoseconds); err != nil {
		return fmt.Errorf("read a time: %w", err)
	}
	p.ops = append(p.ops, Op{Kind: SetTime, Path: filepath.Clean(string(path)), Time: time.Unix(seconds, nanoseconds)})
	return nil
}

// cutTime removes and returns the start time of a call, in seconds, if the line has
// one.
func cutTime(text string) (time.Time, string, error) {
	first, rest, _ := strings.Cut(text, " ")
	seconds, fraction, ok := strings.Cut(first, ".")
	if !ok || strings.Trim(seconds+fraction, "0123456789") != "" {
		return time.Time{}, text, nil
	}
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, "", err
	}
	micros, err := strconv.ParseInt(fraction, 10, 64)
	return time.Unix(s, micros*1000), rest, err
}

// isOurs reports whether path is root or below it, and was not deleted.
func (p *parser) isOurs(path string) bool {
	return (path == p.root || strings.HasPrefix(path, p.root+"/")) && !strings.HasSuffix(path, " (deleted)")
}

// fdPath returns the path in the first fd<path> of a text, or "" if the descriptor has
// none.
func fdPath(text string) (string, error) {
	_, text, ok := strings.Cut(text, "<")
	text, _, closed := strings.Cut(text, ">")
	if !ok || !closed {
		return "", nil
	}
	path, err := decode(text)
	return string(path), err
}

// quoted returns the nth quoted string.
func quoted(text string, n int) ([]byte, error) {
	parts := strings.Split(text, `"`) // hexadecimal strings have no quotes
	if len(parts) < 2*n+3 || strings.HasPrefix(parts[2*n+2], "...") {
		return nil, errors.New("a string is missing or cut")
	}
	return decode(parts[2*n+1])
}

// decode parses \x00\x01…
func decode(text string) ([]byte, error) {
	out := make([]byte, 0, len(text)/4)
	for ; len(text) >= 4 && text[:2] == `\x`; text = text[4:] {
		high, low := digit(text[2]), digit(text[3])
		if high < 0 || low < 0 {
			break
		}
		out = append(out, byte(high<<4|low))
	}
	if text != "" {
		return nil, fmt.Errorf("the text %.20q is not hexadecimal", text)
	}
	return out, nil
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// encode is the inverse of decode.
func encode(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&out, `\x%02x`, c)
	}
	return out.String()
}
