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

// uploadName makes, of an uploader's file name, one that names a file in any
// folder: its last element (of a Windows path too) without control characters,
// with _ for what Windows takes in no name (a colon names a drive or a stream
// there), not too long, its extension kept. A name of which nothing is left
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
	name = strings.TrimSpace(name)
	if strings.Trim(name, "./ ") == "" {
		return sha256[:16] + ".bin"
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
	return name[:cut] + extension
}
