//go:build linux

package sensor

// The programs are compiled by the clang of Debian 12 (14.0.6): the object files
// are committed, and agent/bpf/check.sh says whether they are what it makes.
//
//go:generate go tool bpf2go -go-package sensor -target amd64,arm64 -no-global-types -cflags "-O2 -g -Wall -Werror -mcpu=v2" bpf ../../bpf/ospulse.bpf.c
