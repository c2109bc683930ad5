//go:build linux

// Package program identifies a file and decides how to run it: by the kernel, by an
// interpreter, or not at all. The content, the #! line and the name decide. The
// package reads a bounded part of each file and executes nothing.
//
// It must not know sandboxes, archives or sessions. The caller's Lookup finds the
// interpreters.
package program

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// Rank orders the files of an archive: the program that the user means is most likely
// the one with the highest rank.
type Rank int

// The ranks.
const (
	RankNone    Rank = iota // cannot be run
	RankGuess               // a script, recognized by its text alone
	RankNamed               // a script, recognized by its name
	RankProgram             // a program, or a script with a #! line
)

// File describes a file and how to run it.
type File struct {
	What        string   // the kind of file, with an article: "a Python script"
	Why         string   // the reason for the decision
	Lacks       string   // why the file cannot run, appended to What; starts with punctuation
	Interpreter string   // the absolute path of its interpreter; "" for a native program
	Env         []string // environment variables to add, as NAME=value
	Rank        Rank

	command []string // the interpreter and its options; nil if the kernel runs the file itself
	class   bool     // a Java class: java expects its name, not its path
}

// Guess says when Identify may recognize a script by its text alone. A text that is
// crafted to be slow takes up to 20 ms.
type Guess int

// The guesses.
const (
	GuessNever   Guess = iota // only the #! line and the name decide
	GuessUnnamed              // if the name has no extension
	GuessAny                  // whatever the name is: the user chose this file
)

// Argv returns the command line that runs the file at path. The caller appends the
// arguments of the program.
func (f File) Argv(path string) []string {
	if f.class {
		return append(f.command[:len(f.command):len(f.command)], filepath.Dir(path), strings.TrimSuffix(filepath.Base(path), ".class"))
	}
	return append(f.command[:len(f.command):len(f.command)], path)
}

// Reason returns a clause that says why the file cannot be run: "it is a PDF document".
func (f File) Reason() string { return "it is " + f.What + f.Lacks }

// Lookup finds an executable by its name or its absolute path. It returns the absolute
// path, or "" if there is none.
type Lookup func(name string) string

// In returns a Lookup that searches names in the folders of path, a list like $PATH. It
// ignores relative folders.
func In(path string) Lookup {
	return func(name string) string {
		if filepath.IsAbs(name) {
			return executable(name)
		}
		for _, dir := range filepath.SplitList(path) {
			if !filepath.IsAbs(dir) || strings.Contains(name, "/") || name == "" {
				continue
			}
			if found := executable(filepath.Join(dir, name)); found != "" {
				return found
			}
		}
		return ""
	}
}

func executable(path string) string {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return ""
	}
	return path
}

// headBytes is the length of the beginning that decides what a file is.
const headBytes = 8 << 10

// Identify returns what the file behind r is and how to run it. Only the extension of
// name matters. look finds the interpreters. The error is an error of r.
func Identify(r io.ReaderAt, name string, guess Guess, look Lookup) (File, error) {
	head := make([]byte, headBytes)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return File{}, err
	}
	head = head[:n]
	switch {
	case n == 0:
		return File{What: "an empty file"}, nil
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return identifyELF(r, head, look), nil
	case bytes.HasPrefix(head, []byte("MZ")) && bytes.IndexByte(head, 0) >= 0:
		return identifyPE(r, head), nil
	}
	if f, ok := identifyScript(head, name, guess, look); ok {
		return f, nil
	}
	return identifyData(head, name, look), nil
}

// types maps media types, as the mimetype package names them, to words for File.What.
var types = map[string]string{ //nolint:gochecknoglobals // a table of constants
	"application/pdf":                         "a PDF document",
	"application/postscript":                  "a PostScript document",
	"text/rtf":                                "an RTF document",
	"application/msword":                      "a document of Microsoft Word",
	"application/vnd.ms-excel":                "a workbook of Microsoft Excel",
	"application/vnd.ms-powerpoint":           "a presentation of Microsoft PowerPoint",
	"application/vnd.ms-outlook":              "a message of Microsoft Outlook",
	"application/onenote":                     "a notebook of Microsoft OneNote",
	"application/x-ole-storage":               "an old document of Microsoft Office, or an installer of Windows",
	"application/x-ms-installer":              "an installer of Windows (MSI)",
	"application/x-ms-shortcut":               "a shortcut of Windows",
	"application/vnd.ms-htmlhelp":             "a help file of Windows (CHM)",
	"application/vnd.ms-cab-compressed":       "a cabinet file of Windows",
	"application/zip":                         "a zip archive",
	"application/x-tar":                       "a tar archive",
	"application/gzip":                        "a file compressed by gzip",
	"application/x-bzip2":                     "a file compressed by bzip2",
	"application/zstd":                        "a file compressed by zstd",
	"application/x-xz":                        "a file compressed by xz" + openable,
	"application/lzip":                        "a file compressed by lzip" + openable,
	"application/x-7z-compressed":             "a 7-Zip archive" + openable,
	"application/vnd.rar":                     "a RAR archive" + openable,
	"application/x-cpio":                      "a cpio archive" + openable,
	"application/x-archive":                   "a static library",
	"application/vnd.debian.binary-package":   "a Debian package",
	"application/x-rpm":                       "an RPM package",
	"application/vnd.android.package-archive": "a program for Android (APK)",
	"application/java-archive":                "a Java program (JAR)",
	"application/x-mach-binary":               "a program for macOS (Mach-O)",
	"application/wasm":                        "a WebAssembly module",
	"application/vnd.sqlite3":                 "an SQLite database",
	"application/vnd.tcpdump.pcap":            "a packet capture",
	"application/x-chrome-extension":          "an extension for Chrome",
	"application/x-shockwave-flash":           "a Flash film",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document":   "a document of Microsoft Word (DOCX)",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":         "a workbook of Microsoft Excel (XLSX)",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation": "a presentation of Microsoft PowerPoint (PPTX)",
	"image/png":  "a PNG image",
	"image/jpeg": "a JPEG image",
	"image/gif":  "a GIF image",
}

const openable = " (zip and tar can be opened)"

// identifyData identifies a file that is neither a program nor a text.
func identifyData(head []byte, name string, look Lookup) File {
	switch {
	case bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return File{What: "an empty zip archive"}
	case bytes.HasPrefix(head, []byte("dex\n")):
		return File{What: "a program for Android (DEX)"}
	case bytes.HasPrefix(head, []byte("\xca\xfe\xba\xbe")) && len(head) >= 8:
		return identifyCafeBabe(head, look)
	}
	found := mimetype.Detect(head)
	kind, _, _ := strings.Cut(found.String(), ";")
	what := types[kind]
	switch {
	case kind == "application/x-bytecode.python":
		return identifyPyc(head, look)
	case kind == "application/java-archive":
		return javaProgram(what, []string{"-jar"}, look)
	case kind == "application/zip" && strings.EqualFold(filepath.Ext(name), ".pyz"):
		return languages["py"].run("a Python program (zipapp)", "it is a zip archive whose name ends in .pyz", RankProgram, look)
	case what != "":
	case kind == unknown || found.Is("text/plain"):
		what = "data of an unknown kind"
	default:
		what = "a file of the type " + kind
	}
	f := File{What: what}
	if Archive(head) != "" { // the caller has opened every other archive
		f.Lacks = ", and archives in archives are not opened"
	}
	return f
}

// The types of archives and compressed files that Archive returns.
const (
	Zip   = "application/zip"
	Tar   = "application/x-tar"
	Gzip  = "application/gzip"
	Bzip2 = "application/x-bzip2"
	Zstd  = "application/zstd"
)

// Archive returns the type of the archive or compressed file that starts with head, or
// "" if head starts another file. Documents and packages that use the zip format are not
// archives here.
func Archive(head []byte) string {
	kind := mimetype.Detect(head).String()
	if slices.Contains([]string{Zip, Tar, Gzip, Bzip2, Zstd}, kind) {
		return kind
	}
	return ""
}
