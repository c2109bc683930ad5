package models

// BackendIdentity is what identifies this process to an agent on the same machine,
// also across containers.
type BackendIdentity struct {
	BootID       string // of the machine: the same in all its containers
	PIDNamespace string // as /proc names it
	PID          int    // in that namespace
	StartTicks   int64  // when the process began, in the kernel's ticks
	Database     []DatabasePeer
	Proof        string // by the key that the agent has too; "" without one
}

// DatabasePeer is where a connection to the database leads: an address for TCP, a
// process for a Unix socket.
type DatabasePeer struct {
	Address    string // host:port; "" for a Unix socket
	PID        int    // in the backend's namespace; 0 for TCP
	StartTicks int64  // of that process
}
