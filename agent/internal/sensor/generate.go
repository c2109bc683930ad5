//go:build linux

package sensor

// The eBPF programs are compiled with clang 14.0.6 of Debian 12. The object files are
// committed; agent/bpf/check.sh checks that they match the sources.
//
//go:generate go tool bpf2go -go-package sensor -target amd64,arm64 -no-global-types -cflags "-O2 -g -Wall -Werror -mcpu=v2" bpf ../../bpf/ospulse.bpf.c
