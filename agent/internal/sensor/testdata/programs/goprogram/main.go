// Command goprogram is a sample for the sensor's tests. It uses files and processes from
// many threads, and fetches over HTTP and TLS. Its arguments are a folder and the URLs of
// the servers.
package main

import (
	"crypto/tls"
	"io"
	"net/http"
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
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	for _, url := range os.Args[2:] {
		response, err := (&http.Client{Transport: transport}).Get(url + "/chunked")
		if err != nil {
			os.Exit(1)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			os.Exit(1)
		}
		response.Body.Close()
	}
	os.Exit(5)
}
