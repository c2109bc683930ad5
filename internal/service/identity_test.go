package service

import (
	"os"
	"runtime"
	"testing"

	"ospulse/internal/models"
)

// TestProof has the same values as the agent's TestProof.
func TestProof(t *testing.T) {
	identity := &models.BackendIdentity{
		BootID: "b", PIDNamespace: "pid:[4026531836]", PID: 7, StartTicks: 1234,
		Database: []models.DatabasePeer{{Address: "127.0.0.1:5432"}, {PID: 9, StartTicks: 99}},
	}
	const want = "4ad8f7b1ca7e53be9b684330049aacab1978eaf18e25c235d8620b4573611862"
	if got := proof(identity, "a key of 16 bytes", "nonce"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTell(t *testing.T) {
	peers := func() []models.DatabasePeer {
		return []models.DatabasePeer{{Address: "127.0.0.1:5432"}, {PID: os.Getpid()}, {PID: 1 << 30}}
	}
	identity := NewIdentity("a key of 16 bytes", peers).Tell("nonce")
	if runtime.GOOS != "linux" {
		if identity != nil {
			t.Errorf("%+v", identity)
		}
		return
	}
	if identity.PID != os.Getpid() || identity.StartTicks == 0 || len(identity.Proof) != 64 || len(identity.Database) != 2 || identity.Database[1].StartTicks != identity.StartTicks {
		t.Errorf("%+v", identity)
	}
	for _, none := range []*models.BackendIdentity{NewIdentity("", peers).Tell("nonce"), NewIdentity("a key of 16 bytes", peers).Tell("")} {
		if none.Proof != "" {
			t.Errorf("without a key or a nonce: %+v", none)
		}
	}
}
