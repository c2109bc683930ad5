package e2e

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/internal/models"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// TestDiskLowRetainsAsRoot checks that DISK_LOW=retain keeps a small disk from filling:
// events are stored on and on, refused at times, and the oldest ones expire. Nothing is
// corrupted.
func TestDiskLowRetainsAsRoot(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal("mount a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := startBackend(t, map[string]string{"DATA_DIR": dir, "SEAL_AFTER": "never", "MIN_FREE_MB": "16", "RETAIN_DAYS": "3650", "DISK_LOW": "retain"})
	body := numbered(500, 4000) // 2 MB
	acked, refused := int64(0), 0
	for deadline := time.Now().Add(wait.Patience); acked < 25_000; {
		last, status, err := b.postNumbered(body)
		switch {
		case err == nil && status == http.StatusOK:
			acked = last
		case err == nil && status == http.StatusServiceUnavailable && time.Now().Before(deadline):
			refused++
			wait.For(t, "space", func() bool { return b.send("POST", "/api/events", `{"event_type":"x"}`).status == http.StatusOK })
		default:
			t.Fatalf("after %d events and %d refusals: %d %v", acked, refused, status, err)
		}
	}
	c := b.session(models.UnassignedID).Completeness
	if !c.Complete || c.Expected < acked || c.Expired == 0 || c.Present != c.Expected-c.Expired || c.Expirations[0].Rule != "DISK_LOW" {
		t.Errorf("%d events were acknowledged, and %d batches refused: %+v", acked, refused, c)
	}
	b.stop()
	db := dbtest.SQLite(t)
	db.Path = filepath.Join(dir, "ospulse.db")
	var verdict string
	if err := dbtest.Open(t, db).Read(t.Context()).Raw("PRAGMA integrity_check").Scan(&verdict).Error; err != nil || verdict != "ok" {
		t.Errorf("the database is %q, %v", verdict, err)
	}
}
