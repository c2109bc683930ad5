// Package sensor watches programs through eBPF: raw tracepoints at the system
// calls and at the scheduler's news of processes, and uprobes in OpenSSL. What is
// watched is decided in the kernel; what is seen comes through one ring buffer
// and is made into events here. It knows nothing of sessions at the backend, of
// files on their way there, or of how a program was started.
package sensor
