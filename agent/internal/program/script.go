//go:build linux

package program

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/text/encoding/unicode"
	"mvdan.cc/sh/v3/syntax"
)

const (
	bom = "\xef\xbb\xbf"

	unknown = "application/octet-stream"

	// kernelLine is how many bytes of a #! line Linux reads (BINPRM_BUF_SIZE).
	kernelLine = 256

	carriageReturns = ", and its lines end in CR LF, as on Windows, which no shell accepts"
)

// identifyScript identifies a text and decides how to run it. ok is false if the file is
// not a text.
func identifyScript(head []byte, name string, guess Guess, look Lookup) (f File, ok bool) {
	extension := extensionOf(name)
	l, known := languages[extension]
	text, wide := fromUTF16(head)
	if wide {
		return identifyWide(text, extension, look)
	}
	text = bytes.TrimPrefix(text, []byte(bom))
	if bytes.HasPrefix(text, []byte("#!")) {
		if f, ok := identifyShebang(text, len(text) < len(head), look); ok {
			return f, true
		}
	}
	switch line, _, _ := bytes.Cut(text, []byte("\n")); {
	case hasPrefix(text, "%PDF-", "%!PS", `{\rtf`, "!<arch>\n"):
		return File{}, false
	case isText(text):
	case known && l.shell && isText(line) && mimetype.Detect(head).Is(unknown): // a self-extracting script: an archive follows
	default:
		return File{}, false
	}
	switch {
	case known && l.shell && guess != GuessNever:
		if l, why, ok := otherThanShell(text, len(head) == headBytes); ok {
			return l.run(l.what, why, RankGuess, look), true
		}
	case extension == "js" && windowsScript.Match(text):
		l = languages["wsf"]
	case known && !l.plain:
	default:
		return identifyText(text, l, extension, guess, len(head) == headBytes, look), true
	}
	return l.take(text, "its name ends in ."+extension, RankNamed, look), true
}

// take returns a File that the language's interpreter runs, or one that cannot be run if
// a shell would reject the line ends of the text.
func (l language) take(text []byte, why string, rank Rank, look Lookup) File {
	if line, _, _ := bytes.Cut(text, []byte("\n")); l.shell && bytes.HasSuffix(line, []byte("\r")) {
		return File{What: l.what, Lacks: carriageReturns}
	}
	return l.run(l.what, why, rank, look)
}

// identifyText identifies a text whose name does not say what it is.
func identifyText(text []byte, named language, extension string, guess Guess, isCut bool, look Lookup) File {
	switch {
	case named.what == "" && guess == GuessNever:
		return File{What: "a text; name it as entryPoint to run it"}
	case named.what == "":
		named.what = "a text, and not a script that the agent recognizes"
	case guess == GuessNever:
		return File{What: named.what}
	}
	l, why, ok := guessed(text, isCut, look)
	if !ok {
		return File{What: named.what}
	}
	f := l.take(text, why, RankGuess, look)
	if extension != "" && guess == GuessUnnamed && f.Rank != RankNone {
		f = File{What: "a text", Lacks: fmt.Sprintf("; %s, but its name ends in .%s: give it as entryPoint to run it", why, extension)}
	}
	return f
}

// extensionOf returns the extension of a name in lower case, or "" if it has none. A
// number is a version, not an extension.
func extensionOf(name string) string {
	name = filepath.Base(name)
	extension := strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
	if len(extension)+1 == len(name) || len(extension) > 12 || strings.Trim(extension, "0123456789") == "" {
		return ""
	}
	return extension
}

// fromUTF16 decodes a text in UTF-16. It expects a byte order mark, or a first line of
// ASCII in little-endian order, as Windows writes it. If wide is false, head is not
// UTF-16 and text is head unchanged.
func fromUTF16(head []byte) (text []byte, wide bool) {
	hasBOM := hasPrefix(head, "\xff\xfe", "\xfe\xff")
	if !hasBOM && (len(head) < 8 || head[1]|head[3]|head[5]|head[7] != 0 || head[0] == 0) {
		return head, false
	}
	text, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Bytes(head)
	if err != nil || !isText(text) { // UTF-32, for example
		return head, false
	}
	return text, true
}

// identifyWide identifies a text in UTF-16. Of the interpreters here, only PowerShell
// reads UTF-16.
func identifyWide(text []byte, extension string, look Lookup) (File, bool) {
	l, known := languages[extension]
	if !known || l.plain {
		l = language{what: "a text"}
		if found, _, ok := marked(text); ok {
			l.what = found.what
		}
	}
	if extension == "ps1" || len(l.by) == 0 && l.lacks != "" {
		return l.run(l.what+" in UTF-16", "its name ends in ."+extension, RankNamed, look), true
	}
	return File{What: l.what + " in UTF-16, which no interpreter here reads"}, true
}

// isText reports whether b has no control characters besides those of texts. DOS ends
// texts with 0x1A.
func isText(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool {
		return r < ' ' && !strings.ContainsRune("\t\n\v\f\r\a\b\x1a\x1b", r) || r == 0x7f
	})
}

func hasPrefix(b []byte, prefixes ...string) bool {
	for _, p := range prefixes {
		if bytes.HasPrefix(b, []byte(p)) {
			return true
		}
	}
	return false
}

// guessed recognizes the language of a text by the text alone.
func guessed(text []byte, isCut bool, look Lookup) (l language, why string, ok bool) {
	if l, ok := structured(text); ok {
		return l, "it is " + l.what, true
	}
	if isShell(text, isCut, look) {
		return languages["sh"], "it reads as a shell script", true
	}
	return marked(text)
}

// structured recognizes HTML, SVG, XML and JSON, which are not scripts.
func structured(text []byte) (l language, ok bool) {
	found := mimetype.Detect(text)
	for _, known := range []struct{ kind, extension string }{
		{"text/html", "html"}, {"image/svg+xml", "svg"}, {"text/xml", "xml"}, {"application/json", "json"},
	} {
		if found.Is(known.kind) || found.Parent() != nil && found.Parent().Is(known.kind) {
			return languages[known.extension], true
		}
	}
	return language{}, false
}

// marked recognizes a language by the syntax of a text. It rejects prose that contains
// code, such as a manual.
func marked(text []byte) (l language, why string, ok bool) {
	first := firstLine(text)
	isProse := len(bytes.Fields(first)) >= 4 && !bytes.ContainsAny(first, "(){}[];=$@<>|\"'")
	for _, m := range marks {
		if m.mark.Match(text) && (!isProse || m.mark.Match(first)) {
			l = languages[m.extension]
			return l, "it reads as " + l.what, true
		}
	}
	return language{}, "", false
}

// firstLine returns the first line that is neither blank nor a comment, or nil.
func firstLine(text []byte) []byte {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && !hasPrefix(line, "#", "//", "--", ";", "/*", "*") {
			return line
		}
	}
	return nil
}

// otherThanShell recognizes a text that is not a shell script, although its name says so.
func otherThanShell(text []byte, isCut bool) (l language, why string, ok bool) {
	if l, ok := structured(text); ok {
		return l, "it is " + l.what, true
	}
	if _, ok := parseShell(text, isCut); ok {
		return language{}, "", false
	}
	return marked(text)
}

// parseShell returns the statements of a shell script. ok is false if the script has a
// syntax error. If isCut is true, an error after the first statement is allowed.
func parseShell(text []byte, isCut bool) (statements []*syntax.Stmt, ok bool) {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	ok = true
	for s, err := range syntax.NewParser().StmtsSeq(bytes.NewReader(text)) {
		if err != nil {
			ok = isCut && len(statements) > 0
			continue // the parser goes on after an error, whether or not the loop has ended
		}
		statements = append(statements, s)
	}
	return statements, ok
}

// commands lists commands that scripts call although look does not find them: builtins,
// and programs that are often not installed.
const commands = ` . : [ alias bg break builtin case cd command continue curl disown echo eval exec exit false fg
 ftpget getopts hash history iptables jobs kill mapfile nc popd printf pushd pwd read return set shift shopt
 source sudo systemctl test tftp times trap true type ulimit umask unalias unset wait wget `

// isShell reports whether a text is a shell script and not prose. A script has no syntax
// error, and its first command and most of the others are known. Prose often has no syntax
// error, because each sentence parses as a command with arguments.
func isShell(text []byte, isCut bool, look Lookup) bool {
	statements, ok := parseShell(text, isCut)
	if isCut && !bytes.Contains(text, []byte("\n")) { // one long line, which often unpacks code
		first, _, _ := strings.Cut(string(text), " ")
		return strings.Contains(commands, " "+first+" ") || look(first) != ""
	}
	if !ok {
		return false
	}
	functions := map[string]bool{}
	var names []string
	for _, s := range statements {
		syntax.Walk(s, func(node syntax.Node) bool {
			switch node := node.(type) {
			case *syntax.FuncDecl:
				if node.Name != nil {
					functions[node.Name.Value] = true
				}
			case *syntax.CallExpr:
				if len(node.Args) == 0 {
					break
				}
				if name := node.Args[0].Lit(); len(node.Args) > 1 || !strings.HasPrefix(name, "/") { // a lone path may be a line of a list of files
					names = append(names, name)
				}
			}
			return true
		})
	}
	// Do not look up import: it is a keyword of Python, and a program of ImageMagick.
	isKnown := func(name string) bool {
		return functions[name] || strings.Contains(commands, " "+name+" ") || name != "import" && look(name) != ""
	}
	// Ignore names that only running the script would give, and files that it may create.
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "" || hasPrefix([]byte(name), "/", "./", "../", "~/") && !isKnown(name)
	})
	known := 0
	for _, name := range names {
		if isKnown(name) {
			known++
		}
	}
	return known*2 > len(names) && isKnown(names[0])
}

// identifyShebang identifies a text that starts with #!. ok is false if no interpreter
// follows: then this is not a #! line.
func identifyShebang(text []byte, hasBOM bool, look Lookup) (f File, ok bool) {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	line, hasCR := strings.CutSuffix(string(first), "\r")
	path, argument, _ := strings.Cut(strings.ReplaceAll(strings.Trim(line[2:], " \t"), "\t", " "), " ")
	argument = strings.TrimLeft(argument, " ")
	if path == "" || !isText([]byte(line)) {
		return File{}, false
	}
	// Report the program that env runs as the interpreter, not env.
	wanted, rest := path, ""
	viaEnv := filepath.Base(path) == "env"
	if viaEnv {
		wanted, rest = envCommand(argument)
	}
	l, isLanguage := interpreted(wanted)
	if !isLanguage {
		l.what = fmt.Sprintf("a script for %.200q", wanted)
	}
	f = File{What: l.what, Why: fmt.Sprintf("its #! line names %.200q", wanted), Rank: RankProgram}
	switch {
	case hasCR && l.shell:
		return File{What: l.what, Lacks: carriageReturns}, true
	case strings.Contains(path, "/") && !filepath.IsAbs(path):
		return File{What: l.what, Lacks: fmt.Sprintf(", and its interpreter %.200q is in the sample's own folder, which is not searched", path)}, true
	}
	f.Interpreter = look(wanted)
	isThere := f.Interpreter != ""
	if !isThere {
		f.Interpreter = substitute(wanted, l, look)
	}
	if f.Interpreter == "" {
		return File{What: l.what, Lacks: fmt.Sprintf(", and its interpreter %.200q is not in the sandbox", wanted)}, true
	}
	isSplit := !viaEnv || rest == "" || strings.HasPrefix(argument, "-")
	if filepath.IsAbs(path) && look(path) != "" && isThere && isSplit && !hasBOM && !hasCR && len(first) < kernelLine {
		return f, true // the kernel runs it
	}
	f.command = []string{f.Interpreter}
	if viaEnv {
		f.command = append(f.command, strings.Fields(rest)...)
	} else if argument != "" {
		f.command = append(f.command, argument)
	}
	f.Why += ", in a form that Linux itself does not run"
	return f, true
}

// interpreted returns the language that the interpreter at path runs.
func interpreted(path string) (language, bool) {
	name := unversioned(path)
	if l := languages[name]; l.shell {
		return l, true
	}
	for _, l := range languages {
		for _, by := range l.by {
			if unversioned(by) == name {
				return l, true
			}
		}
	}
	return language{}, false
}

// unversioned returns the name of an interpreter without its version.
func unversioned(path string) string { return strings.TrimRight(filepath.Base(path), "0123456789.-") }

// substitute finds another interpreter in place of wanted: one of the same name in
// another folder, or else another one of the language. The latter requires that wanted
// is a usual name of the language, so a specific version is not replaced. It returns "" if
// there is none.
func substitute(wanted string, l language, look Lookup) string {
	name := filepath.Base(wanted)
	if found := look(name); found != "" {
		return found
	}
	for _, by := range l.by {
		if by == name {
			return l.run("", "", RankProgram, look).Interpreter
		}
	}
	return ""
}

// envCommand returns the program that env runs, and the arguments of that program. It
// skips options and variables of env.
func envCommand(argument string) (program, rest string) {
	for word := range strings.FieldsSeq(argument) {
		_, argument, _ = strings.Cut(argument, word)
		word = strings.TrimPrefix(strings.TrimPrefix(word, "--split-string="), "-S")
		if word == "" || strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
			continue
		}
		return word, strings.TrimSpace(argument)
	}
	return "env", ""
}
