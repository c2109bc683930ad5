package handlers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/labstack/echo/v5"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// drainTimeout is how long a refused client may continue to send.
const drainTimeout = 5 * time.Second

// tinyBody is the memory that a request gets at once for the body size that it
// declares, in bytes. A body of up to smallBody gets the rest after it has sent
// tinyBody. A larger one is read in parts of up to maxPart.
const (
	tinyBody  = 4 << 10
	smallBody = 64 << 10
	maxPart   = 1 << 20
)

// The media types of bodies.
const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"
)

// readBody reads a body of one of the given media types, of at most maxBytes after
// decompression. A missing Content-Type means the first type, because some agents omit
// it. It removes a byte order mark.
func readBody(c *echo.Context, maxBytes int64, types ...string) ([]byte, error) {
	request := c.Request()
	if header := request.Header.Get("Content-Type"); header != "" && header != types[0] {
		mediaType, _, err := mime.ParseMediaType(header)
		if err != nil || !slices.Contains(types, mediaType) && !strings.HasSuffix(mediaType, "+json") {
			return nil, models.Errorf(models.CodeUnsupportedMedia, "the Content-Type must be %s, not %.100q", strings.Join(types, " or "), header)
		}
	}
	tooLarge := models.Errorf(models.CodeTooLarge, "the body is larger than the %d MB that are taken", maxBytes>>20)
	if request.ContentLength > maxBytes {
		return nil, tooLarge
	}
	if n := request.ContentLength; n >= 0 && n <= tinyBody && request.Header.Get("Content-Encoding") == "" {
		body := make([]byte, n)
		if _, err := io.ReadFull(request.Body, body); err != nil {
			return nil, bodyError(err)
		}
		return jsonscan.TrimBOM(body), nil
	}
	claim := claimOf(c)
	content, err := decompress(request, http.MaxBytesReader(c.Response(), request.Body, maxBytes), maxBytes, claim.take)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	body, err := readAll(content, request.ContentLength, maxBytes, claim)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	if models.ErrorCode(err) == models.CodeOverloaded {
		return nil, err
	}
	if err != nil {
		return nil, bodyError(err)
	}
	return jsonscan.TrimBOM(body), nil
}

// readAll reads r to its end, about expected bytes. It returns an *http.MaxBytesError
// for more than maxBytes, and holds not much more than that, because it joins the parts
// only at the end. It claims memory beyond tinyBody before it allocates it.
func readAll(r io.Reader, expected, maxBytes int64, claim *bodyClaim) ([]byte, error) {
	var full [][]byte
	part := make([]byte, 0, tinyBody)
	for size := int64(0); ; {
		if len(part) == cap(part) {
			next := min(2*cap(part), maxPart)
			isRest := full == nil && expected >= int64(cap(part)) && expected <= smallBody
			if isRest {
				next = int(expected) + 1 // one more, to detect the end
			}
			if err := claim.take(next); err != nil {
				return nil, err
			}
			if isRest {
				part = append(make([]byte, 0, next), part...)
			} else {
				full = append(full, part)
				part = make([]byte, 0, next)
			}
		}
		n, err := r.Read(part[len(part):cap(part)])
		part = part[:len(part)+n]
		if size += int64(n); size > maxBytes {
			return nil, &http.MaxBytesError{Limit: maxBytes}
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return nil, err
		case full == nil:
			return part, nil
		default:
			parts := claim.size
			if err := claim.take(int(size)); err != nil {
				return nil, err
			}
			body := slices.Concat(append(full, part)...)
			claim.giveBack(parts)
			return body, nil
		}
	}
}

// decompress decodes the request's Content-Encoding, and claims the memory for that.
// Closing the result does not close the body.
func decompress(request *http.Request, body io.Reader, maxBytes int64, claim func(n int) error) (io.ReadCloser, error) {
	switch encoding := strings.ToLower(request.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return io.NopCloser(body), nil
	case "gzip":
		if err := claim(gzipBytes); err != nil {
			return nil, err
		}
		content, err := gzip.NewReader(body)
		if err != nil {
			return nil, models.Wrap(err, models.CodeInvalid, "the body is not gzip, as its Content-Encoding says")
		}
		return content, nil
	case "zstd":
		buffered := bufio.NewReaderSize(body, zstd.HeaderMaxSize)
		start, _ := buffered.Peek(zstd.HeaderMaxSize) // a shorter body has no larger window
		var header zstd.Header
		window := uint64(0)
		if header.Decode(start) == nil {
			window = min(max(header.WindowSize, header.FrameContentSize), maxWindow)
		}
		if err := claim(int(window) + gzipBytes); err != nil {
			return nil, err
		}
		content, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(maxBytes)), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, models.Wrap(err, models.CodeInvalid, "the body is not zstd, as its Content-Encoding says")
		}
		return content.IOReadCloser(), nil
	default:
		return nil, models.Errorf(models.CodeUnsupportedMedia, "the Content-Encoding must be gzip or zstd, not %.100q", encoding)
	}
}

// gzipBytes is about the memory of a decoder, and maxWindow the zstd window that RFC
// 8878 recommends all decoders to support.
const (
	gzipBytes = 64 << 10
	maxWindow = 8 << 20
)

// bodyError returns the error of a body that ended or stalled too early.
func bodyError(err error) error {
	return models.Wrap(err, models.CodeInvalid, "the body ended before it was complete, or is not encoded as its header says")
}

// readJSON reads a JSON object into v. Its error names unknown fields, wrong types and
// text after the object.
func readJSON(c *echo.Context, maxBytes int64, v any) error {
	return decodeJSON(c, maxBytes, v, true)
}

// readOpenJSON is readJSON for objects that may have unknown members.
func readOpenJSON(c *echo.Context, maxBytes int64, v any) error {
	return decodeJSON(c, maxBytes, v, false)
}

func decodeJSON(c *echo.Context, maxBytes int64, v any, closed bool) error {
	body, err := readBody(c, maxBytes, jsonType)
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
	if closed {
		decoder.DisallowUnknownFields()
	}
	err = decoder.Decode(v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return models.Errorf(models.CodeInvalid, "%s must be %s, not %.100s", wrong.Field, typeName(wrong), wrong.Value)
	}
	if fault, ok := errors.AsType[*models.Error](err); ok { // from a field's own UnmarshalJSON
		return fault
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
	case kind == "struct":
		return "an object"
	default:
		return "a " + kind
	}
}

// sessionIDParam returns the session id of the path, and not_found if it cannot be an
// id.
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

// limitParam reads a limit, 1 to maximum; otherwise is the default.
func limitParam(c *echo.Context, name string, otherwise, maximum int) (int, error) {
	text := c.QueryParam(name)
	if text == "" {
		return otherwise, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maximum {
		return 0, models.Errorf(models.CodeInvalid, "%s must be a whole number from 1 to %d, not %.100q", name, maximum, text)
	}
	return limit, nil
}

// boolParam reads true or false; the default is false.
func boolParam(c *echo.Context, name string) (bool, error) {
	switch text := c.QueryParam(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, models.Errorf(models.CodeInvalid, "%s must be true or false, not %.100q", name, text)
	}
}

// timeParam reads a time; the default is the zero time.
func timeParam(c *echo.Context, name string) (time.Time, error) {
	text := c.QueryParam(name)
	if text == "" {
		return time.Time{}, nil
	}
	// An unescaped + in an offset arrives as a space.
	if t, ok := models.ParseTime(strings.ReplaceAll(text, " ", "+")); ok {
		return t, nil
	}
	if t, ok := models.ParseTime(text); ok {
		return t, nil
	}
	return time.Time{}, models.Errorf(models.CodeInvalid, "%s must be an RFC 3339 time such as 2026-11-22T18:57:39Z, not %.100q", name, text)
}

// drain reads the rest of the body of a refused request, for at most drainTimeout, so
// that a client that is still sending can read the answer. It does not tell a client
// that waits for 100 Continue to send.
func drain(c *echo.Context) {
	request := c.Request()
	if request.ContentLength == 0 || request.Header.Get("Expect") != "" {
		return
	}
	if http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(drainTimeout)) == nil {
		_, _ = io.Copy(io.Discard, request.Body) // the content does not matter
	}
}
