// Command gotls is a sample for the sensor's tests: servers and their clients in one program,
// which talk HTTP/1 and HTTP/2 over Go's TLS, and HTTP/2 without TLS, at the same time.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
)

const (
	clients  = 10 // the last two without TLS
	requests = 5
)

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	check(err)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func main() {
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.EnableHTTP2 = true
	server.StartTLS()
	plain := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	var unencrypted http.Protocols
	unencrypted.SetUnencryptedHTTP2(true)
	plain.Config.Protocols = &unencrypted
	plain.Start()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			url := server.URL
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: i%2 == 0}
			switch {
			case i >= clients-2:
				url, transport = plain.URL, &http.Transport{Protocols: &unencrypted}
			case i%4 == 3:
				direct(server.Listener.Addr().String(), i)
				return
			}
			for j := range requests {
				body := bytes.Repeat([]byte{byte('a' + i)}, 1000*j+1)
				response, err := (&http.Client{Transport: transport}).Post(fmt.Sprintf("%s/%d/%d", url, i, j), "text/plain", bytes.NewReader(body))
				check(err)
				got, err := io.ReadAll(response.Body)
				check(err)
				response.Body.Close()
				if !bytes.Equal(got, body) {
					panic("another body")
				}
			}
			transport.CloseIdleConnections()
		})
	}
	all.Wait()
	server.Close()
	plain.Close()
}

// direct reads into its stack.
func direct(address string, i int) {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	check(err)
	for j := range requests {
		body := bytes.Repeat([]byte{byte('a' + i)}, 1000*j+1)
		_, err := fmt.Fprintf(conn, "POST /%d/%d HTTP/1.1\r\nHost: direct.test\r\nContent-Length: %d\r\n\r\n%s", i, j, len(body), body)
		check(err)
		var got []byte
		for !bytes.HasSuffix(got, body) {
			got = append(got, part(conn, j)...)
		}
	}
	check(conn.Close())
}

// part reads from a deep and growing stack.
//
//go:noinline
func part(conn *tls.Conn, depth int) []byte {
	var room [512]byte
	if depth > 0 {
		return append(part(conn, depth-1), room[:0]...)
	}
	n, err := conn.Read(room[:])
	check(err)
	return bytes.Clone(room[:n])
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
