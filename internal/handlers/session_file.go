package handlers

import (
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/sample"
	"ospulse/internal/service"
)

// filePassword is the usual password of zips with malware samples. It is not secret.
const filePassword = "infected"

// file sends a session's target file in an encrypted zip, so that nothing opens it by
// accident, or with raw=true unchanged. Both are downloads of a type that no browser
// shows or runs.
func (h *catalogHandler) file(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	raw, err := boolParam(c, "raw")
	if err != nil {
		return err
	}
	stored, err := h.sessions.OpenFile(c.Request().Context(), id)
	if err != nil {
		return err
	}
	defer stored.Content.Close()
	if raw {
		return sendRaw(c, stored)
	}
	return sendZip(c, stored)
}

// setDownload sets the headers of an answer that browsers save as a file of this name
// and type.
func setDownload(header http.Header, name, contentType string) {
	header.Set("Content-Type", contentType)
	header.Set("Content-Disposition", disposition(name))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Cache-Control", "private, no-store")
}

// disposition returns a Content-Disposition after RFC 6266: the name in ASCII for old
// clients, and the exact name in the encoding of RFC 8187.
func disposition(name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	// PathEscape does not escape these characters; RFC 8187 requires it.
	encoded := strings.NewReplacer("&", "%26", "+", "%2B", "=", "%3D", ":", "%3A", "@", "%40", "$", "%24").Replace(url.PathEscape(name))
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, ascii, encoded)
}

// sendRaw sends the bytes unchanged, or a range of them.
func sendRaw(c *echo.Context, file *service.StoredFile) error {
	writer := newPatientWriter(c.Response(), sendTimeout)
	setDownload(writer.Header(), file.Name, "application/octet-stream")
	writer.Header().Set("ETag", `"`+file.SHA256+`"`)
	http.ServeContent(writer, c.Request(), "", time.Time{}, file.Content)
	return brokenOff(writer.finish())
}

// sendZip sends the bytes in an encrypted zip.
func sendZip(c *echo.Context, file *service.StoredFile) error {
	if file.SizeBytes > sample.MaxZippedBytes {
		return models.Errorf(models.CodeConflict, "the file is larger than the 4 GB that fit into a zip of this kind: add raw=true to get it as it is")
	}
	entry := sample.ZipEntry{Name: file.Name, Modified: file.AddedAt, SizeBytes: file.SizeBytes}
	isHead := c.Request().Method == http.MethodHead
	if !isHead {
		var err error
		if entry.CRC32, err = checksum(file); err != nil {
			return err
		}
	}
	writer := newPatientWriter(c.Response(), sendTimeout)
	setDownload(writer.Header(), file.Name+".zip", "application/zip")
	writer.Header().Set("Content-Length", strconv.FormatInt(sample.ZipSizeBytes(entry), 10))
	writer.WriteHeader(http.StatusOK)
	if isHead {
		return nil
	}
	if err := sample.WriteZip(writer, entry, filePassword, file.Content); err != nil {
		return brokenOff(err)
	}
	return brokenOff(writer.finish())
}

// checksum returns the CRC-32 of a file. In a zip it precedes the content, so the file
// is read twice.
func checksum(file *service.StoredFile) (uint32, error) {
	sum := crc32.NewIEEE()
	size, err := io.Copy(sum, file.Content)
	if err == nil && size != file.SizeBytes {
		err = models.Errorf(models.CodeInternal, "the content of this file is damaged: %d of %d bytes are on this machine", size, file.SizeBytes)
	}
	if err == nil {
		_, err = file.Content.Seek(0, io.SeekStart)
	}
	return sum.Sum32(), err
}
