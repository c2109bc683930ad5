// Command goprogram is what the tests of the sensors run: files and processes
// from many threads.
package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

func main() {
	dir := os.Args[1]
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name := filepath.Join(dir, "go"+strconv.Itoa(i))
			for range 20 {
				if os.WriteFile(name, []byte(name), 0o600) != nil || os.Rename(name, name+".renamed") != nil {
					os.Exit(1)
				}
				if data, err := os.ReadFile(name + ".renamed"); err != nil || string(data) != name {
					os.Exit(1)
				}
			}
		})
	}
	all.Wait()
	if out, err := exec.Command("/bin/echo", "from go").Output(); err != nil || string(out) != "from go\n" {
		os.Exit(1)
	}
	os.Exit(5)
}
