//go:build linux

package judge

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// network is how a proxy treats traffic.
type network int

const (
	passing  network = iota
	cut              // connections are reset, and new ones are refused
	halfOpen         // connections stay open, and no data passes
	mute             // the backend's data passes, the answers do not
	delayed          // all data is delayed
	unheard          // a connection is reset instead of the answer to COMMIT
)

// proxy is the network between a backend and one PostgreSQL server.
type proxy struct {
	listener net.Listener

	mu       sync.Mutex
	upstream string
	state    network
	changed  chan struct{} // closed when state changes
	conns    map[*net.TCPConn]struct{}
}

// delay is the delay of each piece of data in the state delayed.
const delay = 60 * time.Millisecond

func newProxy(t testing.TB, upstream string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, upstream: upstream, changed: make(chan struct{}), conns: map[*net.TCPConn]struct{}{}}
	t.Cleanup(func() { l.Close(); p.set(cut) })
	go p.serve()
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // the proxy was closed
		}
		go p.connect(conn.(*net.TCPConn))
	}
}

// set changes the network.
func (p *proxy) set(state network) {
	p.mu.Lock()
	p.state = state
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if state == cut {
		p.reset()
	}
}

// redirect replaces the server behind the proxy.
func (p *proxy) redirect(upstream string) {
	p.mu.Lock()
	p.upstream = upstream
	p.mu.Unlock()
	p.reset()
}

// reset resets all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.SetLinger(0) // a RST, not a FIN
		_ = conn.Close()
	}
}

func (p *proxy) get() (network, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

// connect forwards one connection.
func (p *proxy) connect(client *net.TCPConn) {
	p.mu.Lock()
	upstream, state := p.upstream, p.state
	p.mu.Unlock()
	if state == cut {
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	conn, err := net.DialTimeout("tcp", upstream, 5*time.Second)
	if err != nil {
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	server := conn.(*net.TCPConn)
	p.mu.Lock()
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.forward(server, client, false) })
	both.Go(func() { p.forward(client, server, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
	_ = client.Close()
	_ = server.Close()
}

// forward forwards one direction of a connection until it ends.
func (p *proxy) forward(to, from *net.TCPConn, isAnswer bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		for {
			state, changed := p.get()
			if state == delayed {
				<-time.After(delay)
			}
			if state != halfOpen && (state != mute || !isAnswer) {
				break
			}
			<-changed
		}
		if state, _ := p.get(); state == unheard && isAnswer && bytes.Contains(buffer[:n], []byte("COMMIT\x00")) {
			_ = to.SetLinger(0)
			_ = to.Close()
			_ = from.Close()
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}
