package handlers_test

import (
	"context"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"ospulse/internal/handlers"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everyone is a service.Keys that requires no key.
type everyone struct{}

func (everyone) Identify(context.Context, service.Credential, netip.Addr) (models.Actor, context.Context, error) {
	return models.Actor{Role: models.RoleAdmin}, context.Background(), nil
}

// unaudited is a service.Audit that records nothing.
type unaudited struct{ handlers.AuditService }

func (unaudited) Begin(context.Context, *models.AuditEntry) error { return nil }

func (unaudited) Record(context.Context, *models.AuditEntry) {}
