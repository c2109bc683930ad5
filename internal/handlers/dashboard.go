package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/labstack/echo/v5"
)

// dashboardPolicy restricts the dashboard's pages, which show data from malware. If
// such data became markup, it could run no script, send nothing anywhere, and not be
// framed. Inline styles are allowed: CodeMirror and Redoc make style elements, and style
// attributes place the rows of long lists. A style can load only what img-src and
// font-src allow. Images may be data: and blob:, for those that a program fetched and a
// user views.
const dashboardPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Cache lifetimes. Names of files under assets contain a hash of the content; browsers
// revalidate all other files at each use.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

const (
	indexName    = "index.html"
	apiPageName  = "api-page.html"
	assetsFolder = "assets/"
)

// dashboardTypes are the media types of the dashboard's files. The machine's own table
// may call a script text/plain, which nosniff would block.
var dashboardTypes = map[string]string{ //nolint:gochecknoglobals // a constant
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".ico":         "image/x-icon",
	".js":          "text/javascript; charset=utf-8",
	".json":        jsonType,
	".map":         jsonType,
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".txt":         "text/plain; charset=utf-8",
	".wasm":        "application/wasm",
	".webmanifest": "application/manifest+json",
	".webp":        "image/webp",
	".woff2":       "font/woff2",
}

// packedTypes are the extensions of files that are already compressed.
var packedTypes = []string{".ico", ".png", ".webp", ".woff2"} //nolint:gochecknoglobals // a constant

// dashboardHandler serves the dashboard's files, which are embedded in the program.
// They are not part of the API, so its description does not list their paths.
type dashboardHandler struct{ files map[string]*dashboardFile } // by path

// newDashboardHandler returns a handler for a folder that has both pages, or one without
// files if folder is nil.
func newDashboardHandler(folder fs.FS) (*dashboardHandler, error) {
	h := &dashboardHandler{map[string]*dashboardFile{}}
	if folder == nil {
		return h, nil
	}
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		mediaType, ok := dashboardTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("no type is known for %s", name)
		}
		h.files[name] = newDashboardFile(name, mediaType, content)
		return nil
	})
	for _, page := range []string{indexName, apiPageName} {
		if err == nil && h.files[page] == nil {
			err = errors.New("there is no " + page)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the dashboard (web/dist) is not as it is built: %w", err)
	}
	return h, nil
}

// paths returns the routes of the dashboard's files and pages.
func (h *dashboardHandler) paths() []string {
	if len(h.files) == 0 {
		return nil
	}
	paths := []string{"/", "/sessions", "/sessions/*", "/rules", "/rules/*", "/findings", "/agents", "/keys", "/audit", "/api/docs/", "/" + assetsFolder + "*"}
	for name := range h.files {
		if !strings.HasPrefix(name, assetsFolder) {
			paths = append(paths, "/"+name)
		}
	}
	slices.Sort(paths)
	return paths
}

// serve sends the file or the page at the path. A page names its files relative to the
// dashboard's folder, because a proxy may serve it under any path.
func (h *dashboardHandler) serve(c *echo.Context) error {
	name := strings.TrimPrefix(c.Request().URL.Path, "/")
	file := h.files[name]
	if file == nil && !strings.HasPrefix(name, assetsFolder) {
		page := indexName // its script renders every other page
		if strings.HasPrefix(name, "api/") {
			page = apiPageName
		}
		file = h.files[page].below(strings.Count(c.Request().URL.EscapedPath(), "/") - 1)
	}
	if file == nil {
		return echo.ErrNotFound
	}
	return file.serve(c)
}

// dashboardFile is a file with its encodings.
type dashboardFile struct {
	mediaType, cacheControl, etag string
	content                       []byte
	packed                        map[string]func() []byte // by coding; each is made once, on first use
}

func newDashboardFile(name, mediaType string, content []byte) *dashboardFile {
	hash := sha256.Sum256(content)
	f := &dashboardFile{
		mediaType: mediaType, cacheControl: cacheNever, content: content,
		etag: base64.RawURLEncoding.EncodeToString(hash[:12]),
	}
	if strings.HasPrefix(name, assetsFolder) {
		f.cacheControl = cacheForever
	}
	if !slices.Contains(packedTypes, path.Ext(name)) {
		f.packed = map[string]func() []byte{
			encodingGzip: sync.OnceValue(func() []byte { return gzipped(content) }),
			encodingZstd: sync.OnceValue(func() []byte { return zstandard(content) }),
		}
	}
	return f
}

// below returns the page for a path that is depth folders below the page's own.
// Addresses in it that begin with "./" lead up as many folders. f may be nil.
func (f *dashboardFile) below(depth int) *dashboardFile {
	if f == nil || depth <= 0 {
		return f
	}
	up := []byte(`="` + strings.Repeat("../", depth))
	return newDashboardFile(indexName, f.mediaType, bytes.ReplaceAll(f.content, []byte(`="./`), up))
}

func (f *dashboardFile) serve(c *echo.Context) error {
	request, header := c.Request(), c.Response().Header()
	content, etag := f.content, f.etag
	if f.packed != nil {
		header.Set("Vary", "Accept-Encoding")
		if encoding := acceptedEncoding(request.Header.Values("Accept-Encoding")); encoding != "" {
			header.Set("Content-Encoding", encoding)
			content, etag = f.packed[encoding](), etag+"-"+encoding
		}
	}
	etag = `"` + etag + `"`
	header.Set("ETag", etag)
	header.Set("Cache-Control", f.cacheControl)
	header.Set("Content-Security-Policy", dashboardPolicy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	if isOneOf(request.Header.Values("If-None-Match"), etag) {
		header.Del("Content-Encoding")
		return c.NoContent(http.StatusNotModified)
	}
	header.Set("Content-Length", strconv.Itoa(len(content)))
	if request.Method == http.MethodHead {
		header.Set("Content-Type", f.mediaType)
		return c.NoContent(http.StatusOK)
	}
	return c.Blob(http.StatusOK, f.mediaType, content)
}

// isOneOf reports whether If-None-Match contains an entity tag (RFC 9110, 13.1.2). An
// intermediate cache may have made it weak.
func isOneOf(headers []string, etag string) bool {
	for item := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		if item = strings.TrimSpace(item); item == "*" || strings.TrimPrefix(item, "W/") == etag {
			return true
		}
	}
	return false
}

// gzipped compresses a file with the best compression: it runs once per file.
func gzipped(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                                 // writes to memory cannot fail
	_ = w.Close()
	return out.Bytes()
}

// zstandard compresses a file well but fast, since a page waits for it. All browsers
// accept this window size (RFC 9659).
func zstandard(content []byte) []byte {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20)) // the options are valid
	return w.EncodeAll(content, nil)
}
