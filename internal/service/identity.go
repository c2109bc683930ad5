package service

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"

	"ospulse/internal/models"
)

// Identity tells agents which process this backend is. An agent on the same machine then
// does not report the backend: each report would make the backend do more.
type Identity struct {
	key   string
	peers func() []models.DatabasePeer
}

// NewIdentity returns the service. key is the API key of the agent, "" for none. peers
// returns the other ends of the connections to the database.
func NewIdentity(key string, peers func() []models.DatabasePeer) *Identity {
	return &Identity{key, peers}
}

// Tell returns the identity, with a proof for the agent that sent the nonce. It returns
// nil on systems without Linux's /proc.
func (s *Identity) Tell(nonce string) *models.BackendIdentity {
	boot, err1 := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, err2 := os.Readlink("/proc/self/ns/pid")
	started, err3 := startTicks("self")
	if errors.Join(err1, err2, err3) != nil {
		return nil
	}
	identity := &models.BackendIdentity{
		BootID: strings.TrimSpace(string(boot)), PIDNamespace: namespace, PID: os.Getpid(), StartTicks: started, Database: []models.DatabasePeer{},
	}
	for _, peer := range s.peers() {
		if peer.PID > 0 {
			if peer.StartTicks, err1 = startTicks(strconv.Itoa(peer.PID)); err1 != nil {
				continue // the process has ended
			}
		}
		identity.Database = append(identity.Database, peer)
	}
	if s.key != "" && nonce != "" {
		identity.Proof = proof(identity, s.key, nonce)
	}
	return identity
}

// proof returns the HMAC-SHA256 over a fixed first line, the nonce and each part of the
// identity in its order, joined by line feeds. The agent computes the same.
func proof(i *models.BackendIdentity, key, nonce string) string {
	lines := []string{"os-pulse backend identity", nonce, i.BootID, i.PIDNamespace, strconv.Itoa(i.PID), strconv.FormatInt(i.StartTicks, 10)}
	for _, d := range i.Database {
		lines = append(lines, d.Address, strconv.Itoa(d.PID), strconv.FormatInt(d.StartTicks, 10))
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// startTicks reads the start of a process from its stat: field 22. The second field is a
// name in parentheses, which may contain spaces and parentheses.
func startTicks(pid string) (int64, error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, errors.New("the stat file of a process is too short")
	}
	return strconv.ParseInt(string(fields[19]), 10, 64)
}
