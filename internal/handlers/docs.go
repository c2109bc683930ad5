package handlers

import (
	"net/http"
	"sync"

	"github.com/labstack/echo/v5"

	"ospulse/internal/apidoc"
)

// docsHandler serves the description of the API. It renders the description at the first
// request, because most runs of the program get none.
type docsHandler struct {
	load func() (*apidoc.Documentation, error)
}

func newDocsHandler(version string) *docsHandler {
	return &docsHandler{sync.OnceValues(func() (*apidoc.Documentation, error) { return apidoc.Render(version) })}
}

// openAPI sends the OpenAPI document.
func (h *docsHandler) openAPI(c *echo.Context) error {
	docs, err := h.load()
	if err != nil {
		return err
	}
	c.Response().Header().Set("X-Content-Type-Options", "nosniff")
	return c.JSONBlob(http.StatusOK, docs.JSON)
}

// page sends the description as an HTML page without scripts. The browser loads nothing
// else for it.
func (h *docsHandler) page(c *echo.Context) error {
	docs, err := h.load()
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("Content-Security-Policy", docs.Policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	return c.HTMLBlob(http.StatusOK, docs.Page)
}
