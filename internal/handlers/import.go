package handlers

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
)

// ImportService imports bundles. *service.Imports implements it and documents its
// contract.
type ImportService interface {
	Import(ctx context.Context, content io.Reader, asCopy bool) (*models.Session, error)
}

type importHandler struct {
	imports  ImportService
	maxBytes int64
}

// The media types of a bundle as the body itself, as browsers and tools name them.
const (
	zipType      = "application/zip"
	zipTypeOld   = "application/x-zip-compressed"
	binaryType   = "application/octet-stream"
	formDataType = "multipart/form-data"
)

// session imports a bundle, from the body or a form field named file, and answers with
// the new session.
func (h *importHandler) session(c *echo.Context) error {
	asCopy, err := boolParam(c, "new_id")
	if err != nil {
		return err
	}
	request := *c.Request()
	limit := h.maxBytes + multipartOverhead
	if request.ContentLength > limit {
		return h.tooLarge(nil)
	}
	request.Body = http.MaxBytesReader(c.Response(), request.Body, limit)
	content, err := h.content(&request)
	if err != nil {
		return err
	}
	session, err := h.imports.Import(request.Context(), bundleUpload{content, h}, asCopy)
	if err != nil {
		return err
	}
	n := note(c)
	n.sessionID = session.ID
	n.changed(nil, map[string]string{"imported_from": session.ImportedFrom})
	c.Response().Header().Set("Location", "./"+url.PathEscape(session.ID)) // relative: a proxy may serve the API under any path
	return c.JSON(http.StatusCreated, newSessionView(session))
}

// content returns the bundle of a request.
func (h *importHandler) content(request *http.Request) (io.Reader, error) {
	header := request.Header.Get("Content-Type")
	mediaType, _, err := mime.ParseMediaType(header)
	switch {
	case err == nil && (mediaType == zipType || mediaType == zipTypeOld || mediaType == binaryType):
		if encoding := request.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
			return nil, models.Errorf(models.CodeUnsupportedMedia, "a bundle is compressed already: send it without a Content-Encoding")
		}
		return request.Body, nil
	case err == nil && mediaType == formDataType:
		reader, err := request.MultipartReader()
		if err != nil {
			return nil, models.Wrap(err, models.CodeInvalid, "the form has no boundary")
		}
		file, _, err := filePart(reader)
		return file, err
	default:
		return nil, models.Errorf(models.CodeUnsupportedMedia, "the Content-Type must be %s, or %s with the bundle in a field named file, not %.100q", zipType, formDataType, header)
	}
}

func (h *importHandler) tooLarge(err error) error {
	return models.Wrap(err, models.CodeTooLarge, "the bundle is larger than the %d MB that are taken: IMPORT_MAX_MB", h.maxBytes>>20)
}

// bundleUpload is a bundle that a client sends. All its read errors are the request's
// fault.
type bundleUpload struct {
	io.Reader
	h *importHandler
}

func (u bundleUpload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return n, u.h.tooLarge(err)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = uploadError(err)
	}
	return n, err
}
