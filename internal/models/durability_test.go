package models_test

import (
	"testing"

	"ospulse/internal/models"
)

func TestDurabilityOrder(t *testing.T) {
	best := []models.Durability{"", models.DurabilityReplicated, models.DurabilityDisk, models.DurabilityUnknown, models.WeakDurability("fsync is off")}
	for i, a := range best {
		for j, b := range best {
			if got := a.WorseThan(b); got != (i > j) {
				t.Errorf("%q.WorseThan(%q) is %v", a, b, got)
			}
		}
		if a.Weak() != (i == 4) {
			t.Errorf("%q.Weak() is %v", a, a.Weak())
		}
	}
	if models.WeakDurability("a").WorseThan(models.WeakDurability("b")) {
		t.Error("one weakness is worse than another: the first one that was noted is to stay")
	}
}
