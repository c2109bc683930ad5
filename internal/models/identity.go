package models

// BackendIdentity identifies this process to an agent on the same machine, even if the
// two run in different containers.
type BackendIdentity struct {
	BootID       string // of the machine; all its containers have the same
	PIDNamespace string // as /proc/self/ns/pid names it
	PID          int    // in that namespace
	StartTicks   int64  // start of the process, in clock ticks since boot
	Database     []DatabasePeer
	Proof        string // made with the key that backend and agent share; "" without a key
}

// DatabasePeer is the other end of a connection to the database: an address for TCP, a
// process for a Unix socket.
type DatabasePeer struct {
	Address    string // host:port; "" for a Unix socket
	PID        int    // in the backend's namespace; 0 for TCP
	StartTicks int64  // start of that process; 0 for TCP
}
