//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// capability is a feature of the agent that this machine may not support.
type capability struct {
	Name      string `json:"name"`
	Supported bool   `json:"supported"`
	Reason    string `json:"reason,omitempty"` // why not
	Remedy    string `json:"remedy,omitempty"` // what to do about it
}

// capabilities returns what this machine supports. The arguments say why the eBPF sensor,
// packets and spawning do not work; nil or "" if they do. The format of spawnFault is
// "reason; what to do about it".
func capabilities(sensorFault, packetFault error, spawnFault string) []capability {
	list := []capability{{Name: "process list", Supported: true}, {Name: "process start and stop", Supported: true}}
	full := capability{Name: "files, network, HTTP and every exec (eBPF)", Supported: sensorFault == nil}
	if sensorFault != nil {
		full.Reason, full.Remedy = sensorReason(sensorFault)
	}
	packets := capability{Name: "packets", Supported: packetFault == nil}
	if packetFault != nil {
		packets.Reason, packets.Remedy = packetReason(packetFault)
	}
	spawn := capability{Name: "spawning files in a sandbox (mode 3)", Supported: spawnFault == ""}
	if spawnFault != "" {
		spawn.Reason, spawn.Remedy, _ = strings.Cut(spawnFault, "; ")
	}
	others := capability{Name: "exclusion of a database that another user runs", Supported: os.Geteuid() == 0}
	if !others.Supported {
		others.Reason, others.Remedy = "the agent cannot see the sockets of other users' processes", "run as root"
	}
	return append(list, full, packets, spawn, others)
}

// sensorReason returns why the eBPF sensor does not work, and what to do about it.
func sensorReason(err error) (reason, remedy string) {
	release := kernelRelease()
	var major, minor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor) // an unreadable release counts as 0.0: too old
	switch {
	case major < 5 || major == 5 && minor < 8:
		return "the kernel " + release + " is too old", "run Linux 5.8 or newer"
	case os.Geteuid() != 0:
		return "it needs root (or the capabilities BPF, PERFMON, SYS_PTRACE and SYS_RESOURCE)", "run as root: sudo ospulse-agent"
	}
	if _, statErr := os.Stat("/sys/kernel/btf/vmlinux"); statErr != nil {
		return "the kernel has no BTF (/sys/kernel/btf/vmlinux)", "run a kernel with CONFIG_DEBUG_INFO_BTF=y; the kernels of all big distributions have it"
	}
	return err.Error(), "in a container, run it privileged and with --pid=host; with a locked-down kernel (kernel_lockdown(7)), lift the lockdown"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// writeTable writes the capabilities as a table for people.
func writeTable(w io.Writer, list []capability, user int) error {
	_, _ = fmt.Fprintf(w, "Linux %s, user %d\n\n", kernelRelease(), user)
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "FEATURE\tSUPPORTED\tWHY NOT\tWHAT TO DO")
	for _, c := range list {
		yes := "yes"
		if !c.Supported {
			yes = "no"
		}
		_, _ = fmt.Fprintln(table, strings.TrimRight(strings.Join([]string{c.Name, yes, c.Reason, c.Remedy}, "\t"), "\t"))
	}
	return table.Flush()
}
