package event

import (
	"encoding/binary"
	"strconv"
	"time"
)

// Content holds the first bytes that a call read or wrote, or of the value that it set.
type Content struct {
	Bytes []byte
	Known bool // false: the agent did not look at the bytes
	Cut   bool // there were more bytes
	Fault bool // the bytes could not be read
}

// append appends the content as a JSON string in the contract's format.
func (c *Content) append(out []byte) []byte {
	if c.Fault && len(c.Bytes) == 0 {
		return append(out, `"<error reading data>"`...)
	}
	return append(AppendHex(append(out, '"'), c.Bytes), '"')
}

func (o *object) content(c *Content) {
	if !c.Known {
		return
	}
	o.key("content")
	o.out = c.append(o.out)
	o.flag("contentTruncated", c.Cut)
}

// File is a file_operation.
type File struct {
	Actor     Process
	Result    Result
	Time      time.Time
	Operation string // ReadFile, WriteFile, OpenFile …
	Handle    int    // descriptor; -1: none
	Path      string // resolved: links and dots are followed, from the root of the process; "": not known
	Given     string // the path as the program passed it, if it differs
	NewPath   string // resolved; the new name of a rename or a link, or the destination of a copy
	NewGiven  string // the path as the program passed it, if it differs
	Attribute string // the name of an extended attribute
	// PathGuessed says that a link in a path was gone when the agent resolved it. From
	// that link on, the path is the program's text.
	PathGuessed bool
	// FromMemory says that the agent read a path from the program's memory. A thread that
	// changes it during the call can make the agent see another path than the kernel.
	FromMemory bool
	Target     string // the text of a symbolic link
	NewHandle  int    // descriptor that dup made; -1: none
	Transfer   bool   // the call moves bytes: Result.Return of them
	Content    Content
	Flags      string // flags of open
	Struct     []byte // the struct that the call read, such as times; nil if it could not be read
	Ring       string // operation handed to an io_uring; its result is not known
	Aio        string // operation handed to native AIO; its result is not known
	Deleted    bool   // the file has no name any more
	Outside    bool   // the file is not below the root of the process; its path begins at the root of a mount namespace
	Inode      uint64 // 0: not known
	Device     uint32 // of the file system, as the kernel encodes it; known if Inode is
	Mode       uint32 // 0: not known

	FileSystemType, MountOptions string // the texts that mount passed
}

// Bytes returns the number of bytes that the call moved.
func (f *File) Bytes() int64 { return max(f.Result.Return, 0) }

// Writes reports whether an open asks to write, to create or to empty the file.
func (f *File) Writes() bool {
	const writeOnly, readWrite, create, truncate = 1, 2, 0o100, 0o1000
	flags := uint64(create) // unknown
	switch f.Result.Syscall {
	case "open":
		flags = f.Result.Args[1]
	case "openat":
		flags = f.Result.Args[2]
	case "openat2":
		if len(f.Struct) >= 8 {
			flags = binary.NativeEndian.Uint64(f.Struct)
		}
	}
	return flags&(writeOnly|readWrite|create|truncate) != 0 || f.Operation == "CreateFile"
}

// inode writes what identifies a file, if it is known. The device of its file system is as in
// /proc/self/mountinfo: 8:1.
func (o *object) inode(inode uint64, device uint32) {
	if inode == 0 {
		return
	}
	o.number("inode", int64(inode))
	o.key("deviceId")
	o.out = strconv.AppendUint(append(o.out, '"'), uint64(device>>20), 10)
	o.out = strconv.AppendUint(append(o.out, ':'), uint64(device&(1<<20-1)), 10)
	o.out = append(o.out, '"')
}

// AppendJSON appends the data of the event.
func (f *File) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", f.Operation)
	o.some("ioUringOperation", f.Ring)
	o.some("aioOperation", f.Aio)
	if f.Handle >= 0 {
		o.key("handle")
		o.out = append(o.out, `"0x`...)
		o.out = strconv.AppendUint(o.out, uint64(f.Handle), 16)
		o.out = append(o.out, '"')
		o.number("fd", int64(f.Handle))
	}
	if f.Path == "" {
		o.key("filePath")
		o.out = append(o.out, "null"...)
	} else {
		o.text("filePath", f.Path)
	}
	o.some("givenPath", f.Given)
	o.some("newFilePath", f.NewPath)
	o.some("newGivenPath", f.NewGiven)
	o.flag("pathGuessed", f.PathGuessed)
	o.flag("fromMemory", f.FromMemory)
	o.some("linkTarget", f.Target)
	o.some("attribute", f.Attribute)
	if f.NewHandle >= 0 {
		o.number("newFd", int64(f.NewHandle))
	}
	if f.Transfer {
		o.number("bytesTransferred", f.Bytes())
	}
	o.content(&f.Content)
	o.some("flags", f.Flags)
	o.change(f)
	o.flag("deleted", f.Deleted)
	o.flag("outsideRoot", f.Outside)
	o.inode(f.Inode, f.Device)
	if f.Mode != 0 {
		o.key("fileMode")
		o.out = append(o.out, '"')
		o.out = strconv.AppendUint(append(o.out, '0'), uint64(f.Mode), 8)
		o.out = append(o.out, '"')
	}
	o.result(&f.Result)
	o.time("timestamp", f.Time)
	o.metadata(&f.Actor)
	return o.end()
}
