package database

import (
	"net"
	"slices"
	"sync"

	"ospulse/internal/models"
)

// maxPeers limits the remembered peers. A server has one for each of its addresses, and
// there may be standbys.
const maxPeers = 8

// peers remembers the other ends of the newest connections to the database. It is safe
// for concurrent use.
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

// Peers returns the other ends of the newest connections to the database. It returns nil
// for SQLite, which runs in this process.
func (db *DB) Peers() []models.DatabasePeer {
	d, ok := db.dialect.(*postgresDialect)
	if !ok {
		return nil
	}
	d.peers.mu.Lock()
	defer d.peers.mu.Unlock()
	return slices.Clone(d.peers.list)
}
