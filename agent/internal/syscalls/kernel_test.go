//go:build linux

package syscalls

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestNumbers compares the table with the one of golang.org/x/sys, which is made from the
// kernel's: a call that a newer version of it has must get its place here.
func TestNumbers(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	constant := regexp.MustCompile(`SYS_(\w+)\s*=\s*(\d+)`)
	for file, number := range map[string]func(*Entry) int{
		"amd64": func(e *Entry) int { return e.AMD64 }, "arm64": func(e *Entry) int { return e.ARM64 }, "386": func(e *Entry) int { return e.I386 },
	} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+file+".go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range constant.FindAllStringSubmatch(string(text), -1) {
			name := strings.ToLower(match[1])
			switch {
			case name == "arch_specific_syscall": // where the numbers of an architecture begin
				continue
			case name == "mmap" && file == "386":
				name = "old_mmap"
			}
			e := Table[name]
			if want, _ := strconv.Atoi(match[2]); e.Name == "" || number(&e) != want {
				t.Errorf("%s of %s is %+v, want number %d", name, file, e, want)
			}
		}
	}
}

// ofKernel are the names in the kernel of functions that have other names than their calls.
var ofKernel = map[string]string{
	"newuname": "uname", "newstat": "stat", "newlstat": "lstat", "newfstat": "fstat", "sendfile64": "sendfile", "umount": "umount2",
	"sysctl": "_sysctl", "llseek": "_llseek", "mmap_pgoff": "mmap2", "oldumount": "umount",
}

// elsewhere are calls of other architectures, whose names every kernel has, and two that are
// only in socketcall.
var elsewhere = regexp.MustCompile(`^(s390_|spu_|pciconfig_|rtas$|subpage_prot$|sync_file_range2$|ni_syscall$|gethostname$|send$|recv$)`)

// TestOfThisKernel checks that the table has each system call of the kernel that runs here.
func TestOfThisKernel(t *testing.T) {
	prefix := map[string]string{"amd64": "__x64_sys_", "arm64": "__arm64_sys_"}[runtime.GOARCH]
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Log("this kernel has no BTF: ", err)
		return
	}
	found := 0
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		function, ok := typ.(*btf.Func)
		if !ok {
			continue
		}
		name, ok := strings.CutPrefix(function.Name, prefix)
		if !ok {
			continue
		}
		if found++; elsewhere.MatchString(name) {
			continue
		}
		if other := ofKernel[name]; other != "" {
			name = other
		}
		if Table[name].Name == "" { // a form of a call for programs of 32 bits
			name = regexp.MustCompile(`^(ia32_|old_)|(16|_time32|32)$`).ReplaceAllString(name, "")
		}
		if Table[name].Name == "" {
			t.Errorf("the kernel has the call %s, and the table lacks it", name)
		}
	}
	if found < 250 {
		t.Errorf("only %d calls were found in the kernel", found)
	}
}
