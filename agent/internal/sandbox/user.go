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

// The users that samples are run as by root; systemd's UIDS-GIDS.md has this range
// unused. Each sandbox has one of its own, so that none can touch another's.
const firstUser, users = 1_900_000_000, 1_000_000

// newCredential gives a user that owns nothing, if this program may change to one.
func newCredential() (*syscall.Credential, string) {
	if os.Geteuid() != 0 {
		return nil, ""
	}
	n, err := rand.Int(rand.Reader, big.NewInt(users))
	if err != nil {
		n = new(big.Int) // it does not fail
	}
	id := uint32(firstUser + n.Int64())
	if !mapped(id) {
		return &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}},
			"samples share the user nobody: this machine (a container) has no others"
	}
	return &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}, ""
}

const nobody = 65534

// mapped reports whether there is such a user in this user namespace.
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
