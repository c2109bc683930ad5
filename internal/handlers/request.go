package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// readBody reads a JSON body of at most maxBytes. A missing Content-Type is
// taken for JSON, as half-broken agents mean it so.
func readBody(c *echo.Context, maxBytes int64) ([]byte, error) {
	request := c.Request()
	if header := request.Header.Get("Content-Type"); header != "" {
		mediaType, _, err := mime.ParseMediaType(header)
		if err != nil || mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
			return nil, models.Errorf(models.CodeUnsupportedMedia, "the Content-Type must be application/json, not %.100q", header)
		}
	}
	if encoding := request.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, models.Errorf(models.CodeUnsupportedMedia, "the Content-Encoding %.100q is not taken here", encoding)
	}
	tooLarge := models.Errorf(models.CodeTooLarge, "the body is larger than the %d MB that are taken", maxBytes>>20)
	if request.ContentLength > maxBytes {
		return nil, tooLarge
	}
	var body bytes.Buffer
	if request.ContentLength > 0 {
		body.Grow(int(request.ContentLength) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(c.Response(), request.Body, maxBytes)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge
		}
		return nil, bodyError(err)
	}
	return body.Bytes(), nil
}

// bodyError is for a body that ended or stalled before it was whole.
func bodyError(err error) error {
	return models.Wrap(err, models.CodeInvalid, "the body ended before it was complete")
}

// readJSON reads a JSON object into v. Unknown fields, wrong types and text
// after the object are errors that name what is wrong.
func readJSON(c *echo.Context, maxBytes int64, v any) error {
	body, err := readBody(c, maxBytes)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return models.Errorf(models.CodeInvalid, "the body is empty: a JSON object is expected")
	}
	if _, err := jsonscan.Check(body); err != nil {
		return models.Errorf(models.CodeInvalid, "malformed JSON: %v", err)
	}
	if jsonscan.Kind(body) != '{' {
		return models.Errorf(models.CodeInvalid, "the body must be a JSON object, not %s", jsonscan.KindName(body))
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return models.Errorf(models.CodeInvalid, "%s must be %s, not %s", wrong.Field, typeName(wrong), wrong.Value)
	}
	if err != nil { // an unknown field: encoding/json has no type for it
		return models.Errorf(models.CodeInvalid, "%.200s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func typeName(wrong *json.UnmarshalTypeError) string {
	switch kind := wrong.Type.Kind().String(); {
	case strings.HasPrefix(kind, "int"):
		return "a whole number"
	case kind == "slice":
		return "an array"
	default:
		return "a " + kind
	}
}

// sessionIDParam gives the session id of the path; one that cannot be an id is
// not_found.
func sessionIDParam(c *echo.Context) (string, error) {
	id := c.Param("sessionId")
	if unescaped, err := url.PathUnescape(id); err == nil {
		id = unescaped
	}
	return id, checkSessionID(id)
}

func checkSessionID(id string) error {
	if !models.ValidID(id) {
		return models.Errorf(models.CodeNotFound, "session %.100q does not exist", id)
	}
	return nil
}

// limitParam reads limit, 1 to maximum.
func limitParam(c *echo.Context, otherwise, maximum int) (int, error) {
	text := c.QueryParam("limit")
	if text == "" {
		return otherwise, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maximum {
		return 0, models.Errorf(models.CodeInvalid, "limit must be a whole number from 1 to %d, not %.100q", maximum, text)
	}
	return limit, nil
}

// timeParam reads a time; the zero time when it is not given.
func timeParam(c *echo.Context, name string) (time.Time, error) {
	text := c.QueryParam(name)
	if text == "" {
		return time.Time{}, nil
	}
	// An unescaped + of an offset arrives as a space.
	if t, ok := wire.ParseTime(strings.ReplaceAll(text, " ", "+")); ok {
		return t, nil
	}
	if t, ok := wire.ParseTime(text); ok {
		return t, nil
	}
	return time.Time{}, models.Errorf(models.CodeInvalid, "%s must be an RFC 3339 time such as 2026-11-22T18:57:39Z, not %.100q", name, text)
}

// drain reads what is left of a body that was refused, within bounds, so that a
// client that is still sending gets to read why.
func drain(c *echo.Context, maxBytes int64) {
	controller := http.NewResponseController(c.Response())
	if controller.SetReadDeadline(time.Now().Add(5*time.Second)) == nil {
		_, _ = io.CopyN(io.Discard, c.Request().Body, maxBytes) // whatever it is, it is thrown away
	}
}
