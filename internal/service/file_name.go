package service

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxUploadNameLen is how many bytes of a name are sent to an agent: what the
// file systems of both worlds take, with room for what an agent adds.
const maxUploadNameLen = 200

// storedName gives an uploader's file name as it is kept: any text that a
// database holds.
func storedName(name string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(name, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

// uploadName makes, of an uploader's file name, one that names a file in any folder
// of Windows or of any other system: its last element (of a Windows path too) without
// control characters, without blanks and dots at the end, with _ for what Windows
// takes in no name (a colon names a drive or a stream there) and before what it takes
// for a device, not too long, its extension kept. A name of which nothing is left
// becomes the beginning of the hash.
func uploadName(fileName, sha256 string) string {
	name := path.Base(strings.ReplaceAll(fileName, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r) || r == utf8.RuneError:
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		}
		return r
	}, name)
	name = trimEnd(strings.TrimSpace(name))
	if strings.Trim(name, "./ ") == "" {
		return sha256[:16] + ".bin"
	}
	if isDevice(name) {
		name = "_" + name
	}
	if len(name) <= maxUploadNameLen {
		return name
	}
	extension := path.Ext(name)
	if len(extension) > 20 {
		extension = ""
	}
	cut := maxUploadNameLen - len(extension)
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return trimEnd(name[:cut] + extension)
}

// trimEnd leaves out what Windows leaves out at the end of a name.
func trimEnd(name string) string {
	return strings.TrimRightFunc(name, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
}

// isDevice reports whether Windows takes a name for that of a device, which it does
// with any extension, in any case and with the superscript digits of Latin-1
// (https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file).
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	switch base = strings.ToUpper(strings.TrimSpace(base)); base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.ContainsAny(port, "0123456789¹²³")
}
