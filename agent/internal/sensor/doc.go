// Package sensor watches programs through eBPF: raw tracepoints at system calls and at the
// scheduler's fork, exec and exit of processes, and uprobes in libraries for TLS. The kernel side
// decides which processes to report. It sends records through one ring buffer, which this
// package converts to events. The package is independent of the backend's sessions, of
// sending events, and of how programs are started.
package sensor
