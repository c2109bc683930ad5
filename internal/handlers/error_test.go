package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/service"
)

// everyone identifies every request.
type everyone struct{}

func (everyone) Identify(context.Context, service.Credential, netip.Addr) (models.Actor, context.Context, error) {
	return models.Actor{}, context.Background(), nil
}

// TestCanceled: only a client that has gone is the reason for 499. For another one, work that was
// cut off can be tried again.
func TestCanceled(t *testing.T) {
	e := echo.New()
	e.HTTPErrorHandler = handleError(slog.New(slog.DiscardHandler))
	e.Use((&access{keys: everyone{}}).middleware)
	e.GET("/", func(*echo.Context) error { return fmt.Errorf("read: %w", context.Canceled) })
	for want, isGone := range map[int]bool{http.StatusServiceUnavailable: false, statusClientGone: true} {
		ctx, cancel := context.WithCancel(t.Context())
		if isGone {
			cancel()
		}
		answer := httptest.NewRecorder()
		e.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		if answer.Code != want || (answer.Header().Get("Retry-After") != "") == isGone {
			t.Errorf("the answer is %d %v %s, want %d", answer.Code, answer.Header(), answer.Body, want)
		}
		cancel()
	}
}
