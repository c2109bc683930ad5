package database

import (
	"net"
	"slices"
	"sync"

	"ospulse/internal/models"
)

// maxPeers is how many ends of connections are remembered: a server has one for
// each address, and there may be standbys.
const maxPeers = 8

// peers remembers where the newest connections to the database lead. Its methods
// may be called at any time.
type peers struct {
	mu   sync.Mutex
	list []models.DatabasePeer
}

// note remembers the other end of a connection.
func (p *peers) note(c net.Conn) {
	var peer models.DatabasePeer
	switch remote := c.RemoteAddr().(type) {
	case *net.TCPAddr:
		peer.Address = remote.AddrPort().String()
	case *net.UnixAddr:
		peer.PID = peerPID(c)
	}
	if peer == (models.DatabasePeer{}) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(known models.DatabasePeer) bool { return known == peer })
	if p.list = append(p.list, peer); len(p.list) > maxPeers {
		p.list = slices.Delete(p.list, 0, 1)
	}
}

// Peers gives where the connections to the database lead; nothing for a database
// in this process.
func (db *DB) Peers() []models.DatabasePeer {
	d, ok := db.dialect.(*postgresDialect)
	if !ok {
		return nil
	}
	d.peers.mu.Lock()
	defer d.peers.mu.Unlock()
	return slices.Clone(d.peers.list)
}
