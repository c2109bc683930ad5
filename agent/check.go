//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/vm"
)

// capability is a feature of the agent that this machine may not support.
type capability struct {
	Name      string `json:"name"`
	Supported bool   `json:"supported"`
	Reason    string `json:"reason,omitempty"` // why not
	Remedy    string `json:"remedy,omitempty"` // what to do about it
}

// capabilities returns what this machine supports. isolation is SPAWN_ISOLATION. spawnFault says
// why files cannot be spawned, as "reason; what to do about it"; "" if they can.
func capabilities(eyes eyes, isolation, spawnFault string) []capability {
	list := []capability{{Name: "process list", Supported: true}, {Name: "process start and stop", Supported: true}}
	full := capability{Name: "files, network, HTTP and every exec (eBPF)", Supported: eyes.fault == nil}
	if eyes.fault != nil {
		full.Reason, full.Remedy = sensorReason(eyes.fault)
	}
	packets := capability{Name: "packets", Supported: eyes.packetFault == nil}
	if eyes.packetFault != nil {
		packets.Reason, packets.Remedy = packetReason(eyes.packetFault)
	}
	place := "a sandbox"
	if isolation == "vm" {
		place = "a virtual machine"
	}
	spawn := capability{Name: "spawning files in " + place + " (mode 3)", Supported: spawnFault == ""}
	if spawnFault != "" {
		spawn.Reason, spawn.Remedy, _ = strings.Cut(spawnFault, "; ")
	}
	others := capability{Name: "exclusion of a database that another user runs", Supported: os.Geteuid() == 0}
	if !others.Supported {
		others.Reason, others.Remedy = "the agent cannot see the sockets of other users' processes", "run as root"
	}
	list = append(list, full, packets, spawn, others)
	if isolation == "vm" {
		kvm := capability{Name: "virtual machines at full speed (KVM)", Supported: vm.HasKVM()}
		if !kvm.Supported {
			kvm.Reason, kvm.Remedy = "/dev/kvm is missing, or not every user may open it; a start takes about a minute", "switch virtualization on in the firmware, and sudo chmod 666 /dev/kvm"
		}
		list = append(list, kvm)
	}
	return list
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
