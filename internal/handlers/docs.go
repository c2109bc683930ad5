package handlers

import (
	"net/http"
	"sync"

	"github.com/labstack/echo/v5"

	"ospulse/internal/apidoc"
)

// docsHandler serves the description of the API. It converts the description at the first
// request, because most runs of the program get none.
type docsHandler struct {
	load func() ([]byte, error)
}

func newDocsHandler(version string) *docsHandler {
	return &docsHandler{sync.OnceValues(func() ([]byte, error) { return apidoc.JSON(version) })}
}

// openAPI sends the OpenAPI document.
func (h *docsHandler) openAPI(c *echo.Context) error {
	document, err := h.load()
	if err != nil {
		return err
	}
	c.Response().Header().Set("X-Content-Type-Options", "nosniff")
	return c.JSONBlob(http.StatusOK, document)
}
