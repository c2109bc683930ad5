package syscalls

// Class is a kind of events that a session can leave out.
type Class uint8

// The classes. They have the same values in bpf/event.h.
const (
	ClassNone       Class = iota // never left out
	ClassReads                   // of files, pipes and terminals
	ClassWrites                  // likewise
	ClassCloses                  // of descriptors that are no sockets
	ClassLookups                 // calls with a path that does not exist
	ClassOpens                   // of files that exist, to read them
	ClassDuplicates              // of descriptors
	ClassTransfers               // over sockets
	ClassPaths                   // events that a rule about paths leaves out
	ClassContents                // not events, but the bytes of reads, writes and transfers
	classes                      // how many there are
)

// Classes are the names of the classes.
var Classes = [classes]string{ //nolint:gochecknoglobals // a constant
	ClassReads: "reads", ClassWrites: "writes", ClassCloses: "closes", ClassLookups: "lookups", ClassOpens: "opens", ClassDuplicates: "duplicates", ClassTransfers: "transfers",
	ClassPaths: "paths", ClassContents: "contents",
}

// String returns the name of the class.
func (c Class) String() string { return Classes[c] }

// Denied reports whether a call was refused: such events are never left out. ret is what the
// call returned.
func Denied(ret int64) bool {
	const operationNotPermitted, permissionDenied, notImplemented = -1, -13, -38
	return ret == operationNotPermitted || ret == permissionDenied || ret == notImplemented
}

// NotFound reports whether a call failed because a path does not exist.
func NotFound(ret int64) bool {
	const noSuchFile, notADirectory = -2, -20
	return ret == noSuchFile || ret == notADirectory
}

// LooksUp reports whether the call fails with an event of ClassLookups if its path does not
// exist.
func (c *Call) LooksUp() bool {
	return c.HasPath() && c.Args[ArgPath1] >= 0 && c.Lookup&3 != LookupText
}

// Class returns the class of the call's events, if the call succeeds, and if it is not about a
// socket.
func (c *Call) Class() Class {
	switch c.Kind {
	case NetTransfer:
		return ClassTransfers
	case Transfer:
		switch c.Operation {
		case "ReadFile":
			return ClassReads
		case "WriteFile":
			return ClassWrites
		}
	}
	switch c.Operation {
	case "CloseFile":
		return ClassCloses
	case "DuplicateHandle":
		return ClassDuplicates
	case "OpenFile":
		if c.Name == "open" || c.Name == "openat" || c.Name == "openat2" {
			return ClassOpens
		}
	}
	return ClassNone
}

// HasPath reports whether rules about paths apply to the call's events. They do not apply to
// calls that change where paths lead, or what the machine does.
func (c *Call) HasPath() bool {
	switch c.Operation {
	case "ChangeRoot", "MountFile", "UnmountFile", "StartSwap", "StopSwap", "StartAccounting", "SetupIoUring", "EnterIoUring", "RegisterIoUring", "SetupAio", "SubmitAio":
		return false
	}
	return c.Kind == File || c.Kind == Transfer || c.Kind == Symlink || c.Kind == Attribute
}
