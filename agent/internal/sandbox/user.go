//go:build linux

package sandbox

import (
	"crypto/rand"
	"math/big"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// The range of user ids for samples that root runs. systemd's UIDS-GIDS.md lists it as
// unused. Each sandbox gets its own user, so no sample can touch another's files.
const firstUser, users = 1_900_000_000, 1_000_000

// newCredential returns a user that owns nothing, or nil if the agent is not root. The text
// is a note for the user of the agent, or "".
func newCredential() (*syscall.Credential, string) {
	if os.Geteuid() != 0 {
		return nil, ""
	}
	n, err := rand.Int(rand.Reader, big.NewInt(users))
	if err != nil {
		n = new(big.Int) // rand.Int does not fail
	}
	id := uint32(firstUser + n.Int64())
	if !mapped(id) {
		return &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}},
			"samples share the user nobody: this machine (a container) has no other user ids for them"
	}
	return &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}, ""
}

const nobody = 65534

// IsUser reports whether only samples run as a user.
func IsUser(id int) bool { return id >= firstUser && id < firstUser+users }

// mapped reports whether this user namespace has the user id.
func mapped(id uint32) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(f[0], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && uint64(id) >= first && uint64(id) < first+count {
			return true
		}
	}
	return false
}
