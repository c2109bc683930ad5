package service

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxUploadNameLen limits the bytes of a name that is sent to an agent: less than file
// systems allow, so that the agent can add to it.
const maxUploadNameLen = 200

// storedName returns an uploader's file name as it is stored: any text that a database
// accepts.
func storedName(name string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(name, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

// uploadName converts an uploader's file name to a name that is valid in any folder of
// Windows and other systems. It takes the last element, also of a Windows path; removes
// control characters, and blanks and dots at the end; replaces characters that Windows
// forbids in names by _; puts _ before names of Windows devices; and shortens long names
// but keeps the extension. If nothing is left, it returns the beginning of the hash.
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

// trimEnd removes what Windows ignores at the end of a name.
func trimEnd(name string) string {
	return strings.TrimRightFunc(name, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
}

// isDevice reports whether Windows treats a name as a device. It does so with any
// extension, in any case, and with the superscript digits of Latin-1
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
