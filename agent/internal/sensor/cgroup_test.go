//go:build linux

package sensor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ospulse/agent/internal/event"
)

func TestContainerOf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for path, want := range map[string]string{
		"":                                      "",
		"/":                                     "",
		"/user.slice/session-1.scope":           "",
		"/docker/" + id:                         id,
		"/docker/" + id + "/init.scope":         id,
		"/system.slice/docker-" + id + ".scope": id,
		"/machine.slice/libpod-" + id + ".scope/container":                                                           id,
		"/machine.slice/libpod-conmon-" + id + ".scope":                                                              "",
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-" + id + ".scope": id,
		"/kubepods.slice/kubepods-burstable.slice/crio-" + id + ".scope":                                             id,
		"/kubepods/burstable/pod123e4567-e89b-12d3-a456-426614174000/" + id:                                          id,
		"/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:" + id:                        id,
		"/docker/" + strings.Repeat("a", 64) + "/docker/" + id:                                                       id,
		"/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890":                          "0123456789abcdef0123456789abcdef-1234567890",
		"/lxc.payload.web/system.slice/cron.service":                                                                 "web",
		"/machine.slice/systemd-nspawn@db.service/payload":                                                           "db",
		"/docker/" + id[:63]: "",
		"/x" + id:            "",
	} {
		if got := containerOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestUnifiedMount(t *testing.T) {
	const mounts = "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:26 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids\n" +
		"31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw\n"
	if got := unifiedMount([]byte(mounts)); got != "/sys/fs/cgroup/unified" {
		t.Errorf("got %q", got)
	}
	if got := unifiedMount([]byte("24 1 0:22 / /sys rw - sysfs sysfs rw\n")); got != "" {
		t.Errorf("got %q where there is none", got)
	}
}

// TestContainersAreNamedAsRoot runs a program in a cgroup named as container engines do, in
// each cgroup version that this machine has.
func TestContainersAreNamedAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	parents := map[string]string{}
	if at := s.decoder.cgroups.mount; at != nil {
		parents["version 2"] = at.Name()
	}
	if pids := "/sys/fs/cgroup/pids"; s.decoder.cgroups.version1 {
		if _, err := os.Stat(pids); err == nil {
			parents["version 1"] = pids
		}
	}
	if len(parents) == 0 {
		t.Fatal("this machine has no cgroups")
	}
	for version, parent := range parents {
		t.Run(version, func(t *testing.T) {
			id := strings.Repeat("0123456789abcde", 4) + "beef"
			dir := filepath.Join(parent, "docker-"+id+".scope")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			run(t, "mkfifo", work+"/pipe")
			cmd, release := held(t, work, "/bin/sh", "-c", "read -r _ < pipe; cat /etc/hostname; true")
			defer func() { // its processes have ended
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			}()
			if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
				t.Fatal(err)
			}
			var l log
			begun := make(chan struct{}) // in version 1, the sensor must look the cgroup up while the process runs
			w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, func(e *event.Event) {
				if l.add(e); len(l.events) == 1 {
					close(begun)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			release()
			<-begun
			if err := os.WriteFile(work+"/pipe", []byte("\n"), 0); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			closeWatch(t, w)
			opened := 0
			for _, e := range l.events {
				switch d := e.Data.(type) {
				case *event.File:
					opened++
					if d.Actor.ContainerID != id {
						t.Fatalf("%s of %s is in container %q", d.Operation, d.Path, d.Actor.ContainerID)
					}
				case *event.Creation:
					if d.Cgroup != "/docker-"+id+".scope" || d.Actor.ContainerID != id {
						t.Errorf("%s began in cgroup %q, container %q", d.ImagePath, d.Cgroup, d.Actor.ContainerID)
					}
				}
			}
			if opened == 0 {
				t.Error("no file event was reported")
			}
		})
	}
}
