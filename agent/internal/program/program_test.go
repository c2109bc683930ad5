//go:build linux

package program

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// has returns a Lookup that finds these programs: in /usr/bin, unless they have a path.
func has(programs ...string) Lookup {
	return func(name string) string {
		if slices.Contains(programs, name) {
			if filepath.IsAbs(name) {
				return name
			}
			return "/usr/bin/" + name
		}
		if slices.Contains(programs, filepath.Base(name)) && name == "/usr/bin/"+filepath.Base(name) {
			return name
		}
		return ""
	}
}

// everything finds all interpreters, and ImageMagick's import.
var everything = has("/bin/sh", "/bin/bash", "bash", "zsh", "ksh", "tcsh", "fish", "python3", "python3.11", "perl", "ruby", "node", "php", "lua", "awk", "tclsh",
	"expect", "Rscript", "pwsh", "java", "env", "import", "rm", "id", "sleep", "cat", "find", "chmod", "date", "busybox", "/lib64/ld.so", "make", "install")

func wide(text string, order binary.ByteOrder) string {
	var out bytes.Buffer
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		_ = binary.Write(&out, order, unit) // into memory
	}
	return out.String()
}

// portable returns the headers of a program for Windows.
func portable(machine, characteristics, magic uint16, isNET bool) string {
	pe := make([]byte, 512)
	copy(pe, "MZ")
	pe[0x3c] = 0x80
	header := pe[0x80:]
	copy(header, "PE\x00\x00")
	binary.LittleEndian.PutUint16(header[4:], machine)
	binary.LittleEndian.PutUint16(header[22:], characteristics)
	binary.LittleEndian.PutUint16(header[24:], magic)
	if isNET {
		at := 24 + 96 + 14*8
		if magic == 0x20b {
			at += 16
		}
		header[at] = 1
	}
	return string(pe)
}

// elfOf returns an ELF file with these segments. Their content follows the headers.
func elfOf(machine, kind uint16, entry uint64, segments ...segment) string {
	const header, each = 64, 56
	out := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	out = binary.LittleEndian.AppendUint16(out, kind)
	out = binary.LittleEndian.AppendUint16(out, machine)
	out = binary.LittleEndian.AppendUint32(out, 1)
	for _, v := range []uint64{entry, header, 0} {
		out = binary.LittleEndian.AppendUint64(out, v)
	}
	out = binary.LittleEndian.AppendUint32(out, 0)
	for _, v := range []uint16{header, each, uint16(len(segments)), 64, 0, 0} {
		out = binary.LittleEndian.AppendUint16(out, v)
	}
	at := uint64(header + each*len(segments))
	for _, s := range segments {
		out = binary.LittleEndian.AppendUint32(out, s.kind)
		out = binary.LittleEndian.AppendUint32(out, 4)
		size := uint64(len(s.content))
		for _, v := range []uint64{at, 0, 0, size, size, 1} {
			out = binary.LittleEndian.AppendUint64(out, v)
		}
		at += size
	}
	for _, s := range segments {
		out = append(out, s.content...)
	}
	return string(out)
}

type segment struct {
	kind    uint32
	content string
}

const (
	segmentDynamic, segmentInterpreter = 2, 3
	execType, dynType                  = 2, 3
)

var (
	native  = map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	foreign = map[string]uint16{"amd64": 183, "arm64": 62}[runtime.GOARCH]
	soname  = segment{segmentDynamic, "\x0e\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 16)}
)

func TestIdentify(t *testing.T) {
	const binary7z = "7z\xbc\xaf\x27\x1c\x00\x04"
	for name, test := range map[string]struct {
		file, content string
		asked         bool
		look          Lookup   // everything
		argv          []string // "-" for the file; nil if it cannot be run
		reason        string   // part of Reason, or of Why
	}{
		// Programs.
		"a program":             {"a", elfOf(native, execType, 1), false, nil, []string{"-"}, "ELF"},
		"dynamic":               {"a", elfOf(native, dynType, 1, segment{segmentInterpreter, "/lib64/ld.so\x00"}), false, nil, []string{"-"}, "ELF"},
		"a static PIE":          {"a", elfOf(native, dynType, 1), false, nil, []string{"-"}, "ELF"},
		"its loader is missing": {"a", elfOf(native, execType, 1, segment{segmentInterpreter, "/lib/ld-musl.so\x00"}), false, nil, nil, `its interpreter "/lib/ld-musl.so" is not in the sandbox`},
		"another machine":       {"a", elfOf(foreign, execType, 1), false, nil, nil, "(ELF, 64-bit), and this machine is " + runtime.GOARCH},
		"a library":             {"a.so", elfOf(native, dynType, 0), false, nil, nil, "it is a shared library"},
		"with an entry point":   {"a.so", elfOf(native, dynType, 64, soname), false, nil, nil, "it is a shared library"},
		"an object":             {"a.o", elfOf(native, 1, 0), false, nil, nil, "an object file, or a kernel module"},
		"a core dump":           {"core", elfOf(native, 4, 0), false, nil, nil, "a core dump"},
		"a broken header":       {"a", "\x7fELF\x02\x01\x01" + strings.Repeat("\xff", 100), false, nil, []string{"-"}, "ELF"},
		"a short header":        {"a", "\x7fELF\x02", false, nil, []string{"-"}, "ELF"},
		"named as a script":     {"a.py", elfOf(native, execType, 1), false, nil, []string{"-"}, "ELF"},
		"DOS":                   {"a.exe", "MZ\x90\x00" + strings.Repeat("\x00", 60), false, nil, nil, "a program for Windows or DOS; this agent is on Linux"},
		"Windows":               {"a.exe", portable(0x8664, 2, 0x20b, false), false, nil, nil, "it is a program for Windows (PE32+, x86-64); this agent is on Linux"},
		"Windows, 32-bit":       {"a.exe", portable(0x14c, 2, 0x10b, false), false, nil, nil, "a program for Windows (PE32, x86)"},
		"Windows, DLL":          {"a.txt", portable(0xaa64, 0x2002, 0x20b, false), false, nil, nil, "a library for Windows (DLL) (PE32+, ARM64)"},
		".NET":                  {"a.exe", portable(0x14c, 2, 0x10b, true), false, nil, nil, "a .NET program for Windows (PE32, x86)"},
		".NET, 64-bit":          {"a.exe", portable(0x8664, 2, 0x20b, true), false, nil, nil, "a .NET program for Windows (PE32+, x86-64)"},
		"a header that is away": {"a.exe", "MZ" + strings.Repeat("\x00", 58) + "\xff\xff\xff\xff", false, nil, nil, "a program for Windows or DOS"},
		"macOS":                 {"a", "\xcf\xfa\xed\xfe\x07\x00\x00\x01\x03\x00\x00\x00\x02\x00\x00\x00\x00\x00", false, nil, nil, "a program for macOS (Mach-O)"},
		"macOS, universal":      {"a", "\xca\xfe\xba\xbe\x00\x00\x00\x02\x01\x00", false, nil, nil, "a program for macOS (Mach-O, universal)"},
		"an AppImage":           {"a", elfOf(native, execType, 1)[:8] + "AI\x02" + elfOf(native, execType, 1)[11:], false, nil, []string{"-"}, "ELF"},

		// Programs for virtual machines.
		"Java class":         {"Main.class", "\xca\xfe\xba\xbe\x00\x00\x00\x34\x00\x10", false, nil, []string{"/usr/bin/java", "-cp", "/home/user", "Main"}, "Java class"},
		"Java class, absent": {"Main.class", "\xca\xfe\xba\xbe\x00\x00\x00\x34\x00\x10", false, has(), nil, "a Java class, and java is not in the sandbox"},
		"JAR":                {"a.jar", localHeader("META-INF/MANIFEST.MF"), false, nil, []string{"/usr/bin/java", "-jar", "-"}, "Java program"},
		"JAR, absent":        {"a.jar", localHeader("META-INF/MANIFEST.MF"), false, has(), nil, "a Java program (JAR), and java is not in the sandbox"},
		"Python, compiled":   {"a.pyc", "\xa7\x0d\r\n" + strings.Repeat("\x00", 12), false, nil, []string{"/usr/bin/python3.11", "-"}, "Python 3.11"},
		"of another version": {"a.pyc", "\x6f\x0d\r\n" + strings.Repeat("\x00", 12), false, nil, nil, "a compiled program for Python 3.10, and python3.10 is not in the sandbox"},
		"of an old version":  {"a.pyc", "\x03\xf3\r\n" + strings.Repeat("\x00", 12), false, nil, nil, "a compiled Python program"},
		"Python, zipped":     {"a.pyz", localHeader("__main__.py"), false, nil, []string{"/usr/bin/python3", "-"}, ".pyz"},

		// Other data.
		"empty":            {"a.sh", "", false, nil, nil, "it is an empty file"},
		"PDF":              {"a", "%PDF-1.7\n", true, nil, nil, "it is a PDF document"},
		"PDF, named so":    {"a.py", "%PDF-1.7\n", true, nil, nil, "it is a PDF document"},
		"RTF":              {"a.doc", `{\rtf1\ansi}`, true, nil, nil, "an RTF document"},
		"Word":             {"a.docx", localHeader("[Content_Types].xml") + localHeader("word/document.xml"), false, nil, nil, "a document of Microsoft Word (DOCX)"},
		"Office, old":      {"a.doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("\x00", 600), false, nil, nil, "an old document of Microsoft Office"},
		"zip":              {"a.zip", localHeader("a"), false, nil, nil, "it is a zip archive"},
		"zip, empty":       {"a.zip", "PK\x05\x06" + strings.Repeat("\x00", 18), false, nil, nil, "an empty zip archive"},
		"gzip":             {"a", gzipped("x"), false, nil, nil, "a file compressed by gzip"},
		"7-Zip":            {"a", binary7z, false, nil, nil, "a 7-Zip archive (zip and tar can be opened)"},
		"RAR":              {"a", "Rar!\x1a\x07\x01\x00", false, nil, nil, "a RAR archive"},
		"Debian package":   {"a", "!<arch>\ndebian-binary   1410122664  0     0     100644  4         `\n2.0\n", false, nil, nil, "a Debian package"},
		"RPM package":      {"a", "\xed\xab\xee\xdb\x03\x00\x00\x00", false, nil, nil, "an RPM package"},
		"PNG":              {"a.sh", "\x89PNG\r\n\x1a\n\x00\x00", true, nil, nil, "a PNG image"},
		"another type":     {"a", "fLaC\x00\x00\x00\x22", false, nil, nil, "a file of the type audio/flac"},
		"noise":            {"a", "\x00\x01\x02\x03\xff\xfe", true, nil, nil, "data of an unknown kind"},
		"a shortcut":       {"a.lnk", "L\x00\x00\x00\x01\x14\x02\x00", false, nil, nil, "a shortcut of Windows"},
		"WebAssembly":      {"a", "\x00asm\x01\x00\x00\x00", false, nil, nil, "a WebAssembly module"},
		"Android":          {"a", "dex\n035\x00", false, nil, nil, "a program for Android (DEX)"},
		"a cabinet":        {"a", "MSCF\x00\x00\x00\x00", false, nil, nil, "a cabinet file of Windows"},
		"Android, package": {"a.apk", localHeader("AndroidManifest.xml"), false, nil, nil, "a program for Android (APK)"},

		// Scripts with #!.
		"#!":                         {"a", "#!/bin/sh\necho\n", false, nil, []string{"-"}, "its #! line names \"/bin/sh\""},
		"#!, blanks":                 {"a", "#! \t/bin/sh -e \necho\n", false, nil, []string{"-"}, "/bin/sh"},
		"#!, of a document":          {"a.txt", "#!/bin/sh\necho\n", false, nil, []string{"-"}, "/bin/sh"},
		"#!, an archive follows":     {"a.run", "#!/bin/sh\nexit\n\x00\x01\xff", false, nil, []string{"-"}, "/bin/sh"},
		"#!, the end":                {"a", "#!/bin/sh", false, nil, []string{"-"}, "/bin/sh"},
		"#!, env":                    {"a", "#!/usr/bin/env python3\n", false, nil, []string{"-"}, `"python3"`},
		"#!, env -S":                 {"a", "#!/usr/bin/env -S python3 -u\n", false, nil, []string{"-"}, `"python3"`},
		"#!, env and a setting":      {"a", "#!/usr/bin/env -S A=1 python3 -u\n", false, nil, []string{"-"}, `"python3"`},
		"#!, env and two words":      {"a", "#!/usr/bin/env python3 -u\nprint()\n", false, nil, []string{"/usr/bin/python3", "-u", "-"}, "in a form that Linux itself does not run"},
		"#!, env of what is missing": {"a", "#!/usr/bin/env python9\n", false, nil, nil, `its interpreter "python9" is not in the sandbox`},
		"#!, env elsewhere":          {"a", "#!/opt/bin/env perl\n", false, nil, []string{"/usr/bin/perl", "-"}, `"perl"`},
		"#!, missing":                {"a", "#!/usr/bin/python9 -u\n", false, nil, nil, `a Python script, and its interpreter "/usr/bin/python9" is not in the sandbox`},
		"#!, of an unknown language": {"a", "#!/opt/x/frob\n", false, nil, nil, `a script for "/opt/x/frob", and its interpreter`},
		"#!, elsewhere":              {"a", "#!/usr/local/bin/bash -x\n", false, nil, []string{"/usr/bin/bash", "-x", "-"}, "/usr/local/bin/bash"},
		"#!, without a version":      {"a", "#!/usr/bin/python\n", false, nil, []string{"/usr/bin/python3", "-"}, "/usr/bin/python"},
		"#!, never another shell":    {"a", "#!/bin/zsh\necho\n", false, has("/bin/sh", "bash"), nil, `a Z shell script, and its interpreter "/bin/zsh" is not`},
		"#!, without a path":         {"a", "#!python3\n", false, nil, []string{"/usr/bin/python3", "-"}, `"python3"`},
		"#!, the sample's folder":    {"a", "#!./python3\n", false, nil, nil, `interpreter "./python3" is in the sample's own folder`},
		"#!, CR LF, shell":           {"a", "#!/bin/sh\r\necho\r\n", false, nil, nil, "a shell script, and its lines end in CR LF, as on Windows"},
		"#!, CR LF, dash":            {"a", "#!/bin/dash\r\necho\r\n", false, nil, nil, "lines end in CR LF, as on Windows"},
		"#!, CR LF, env bash":        {"a", "#!/usr/bin/env bash\r\necho\r\n", false, nil, nil, "a Bash script, and its lines end in CR LF, as on Windows"},
		"#!, CR LF, Python":          {"a", "#!/usr/bin/env python3\r\nprint()\r\n", false, nil, []string{"/usr/bin/python3", "-"}, "in a form that Linux itself does not run"},
		"#!, CR LF, Perl":            {"a", "#!/usr/bin/perl -w\r\nprint;\r\n", false, nil, []string{"/usr/bin/perl", "-w", "-"}, "in a form"},
		"#!, after a BOM":            {"a", "\ufeff#!/usr/bin/python3\nprint()\n", false, nil, []string{"/usr/bin/python3", "-"}, "in a form"},
		"#!, after a BOM, shell":     {"a.sh", "\ufeff#!/bin/sh\necho\n", false, nil, []string{"/bin/sh", "-"}, "in a form"},
		"#!, long":                   {"a", "#!/" + strings.Repeat("x/", 150) + "python3\n", false, nil, []string{"/usr/bin/python3", "-"}, "in a form"},
		"#!, long arguments":         {"a", "#!/usr/bin/perl -w" + strings.Repeat(" -I/x", 60) + "\n", false, nil, []string{"/usr/bin/perl", "-w" + strings.Repeat(" -I/x", 60), "-"}, "in a form"},
		"#!, and nothing":            {"a.py", "#!\nprint()\n", false, nil, []string{"/usr/bin/python3", "-"}, "its name ends in .py"},
		"#!, UTF-16":                 {"a", wide("#!/bin/sh\necho\n", binary.LittleEndian), false, nil, nil, "a text in UTF-16, which no interpreter here reads"},

		// Scripts recognized by name.
		"sh":                    {"a.sh", "foo bar\n", false, nil, []string{"/bin/sh", "-"}, "its name ends in .sh"},
		"SH":                    {"A.SH", "foo bar\n", false, nil, []string{"/bin/sh", "-"}, "its name ends in .sh"},
		"sh, CR LF":             {"a.sh", "echo\r\n", false, nil, nil, "lines end in CR LF, as on Windows"},
		"sh, syntax error":      {"a.sh", "echo (\n", false, nil, []string{"/bin/sh", "-"}, "its name ends in .sh"},
		"sh, archive follows":   {"a.sh", "echo x\n\x00\x01\xff", false, nil, []string{"/bin/sh", "-"}, "its name ends in .sh"},
		"sh, Latin-1":           {"a.sh", "echo caf\xe9\n", false, nil, []string{"/bin/sh", "-"}, "its name ends in .sh"},
		"sh, a page":            {"install.sh", "<!DOCTYPE html>\n<html><head></head></html>\n", false, nil, nil, "it is a web page"},
		"sh, Python":            {"a.sh", "import os\nprint('x', os.getpid())\n", false, nil, []string{"/usr/bin/python3", "-"}, "it reads as a Python script"},
		"sh, PNG":               {"a.sh", "\x89PNG\r\n\x1a\n\x00\x00", false, nil, nil, "a PNG image"},
		"bash":                  {"a.bash", "x\n", false, nil, []string{"/usr/bin/bash", "-"}, ".bash"},
		"zsh":                   {"a.zsh", "x\n", false, has("/bin/sh", "bash"), nil, "a Z shell script, and zsh is not in the sandbox"},
		"fish":                  {"a.fish", "x\n", false, nil, []string{"/usr/bin/fish", "-"}, ".fish"},
		"Python":                {"mal.py", "import os\nprint('PY-RAN', os.getpid())\n", false, nil, []string{"/usr/bin/python3", "-"}, "its name ends in .py"},
		"Python, absent":        {"mal.py", "import os\nprint('PY-RAN', os.getpid())\n", false, has("/bin/sh", "import"), nil, "it is a Python script, and python3 is not in the sandbox"},
		"Python, BOM":           {"a.py", "\ufeffprint()\n", false, nil, []string{"/usr/bin/python3", "-"}, ".py"},
		"Python, UTF-16":        {"a.py", wide("print()\n", binary.BigEndian), false, nil, nil, "a Python script in UTF-16, which no interpreter here reads"},
		"Perl":                  {"x.pl", "print 1;\n", false, nil, []string{"/usr/bin/perl", "-"}, ".pl"},
		"Ruby":                  {"x.rb", "puts 1\n", false, nil, []string{"/usr/bin/ruby", "-"}, ".rb"},
		"JavaScript":            {"x.js", "console.log(1)\n", false, nil, []string{"/usr/bin/node", "-"}, ".js"},
		"JScript":               {"x.js", "var s = new ActiveXObject('WScript.Shell');\n", false, nil, nil, "a script for the Windows Script Host; it needs Windows, and this agent is on Linux"},
		"PHP":                   {"x.php", "<html><?php echo 1;\n", false, nil, []string{"/usr/bin/php", "-"}, ".php"},
		"Lua":                   {"x.lua", "print(1)\n", false, nil, []string{"/usr/bin/lua", "-"}, ".lua"},
		"AWK":                   {"x.awk", "BEGIN { print }\n", false, nil, []string{"/usr/bin/awk", "-f", "-"}, ".awk"},
		"Tcl":                   {"x.tcl", "puts 1\n", false, nil, []string{"/usr/bin/tclsh", "-"}, ".tcl"},
		"PowerShell":            {"d.ps1", "$a = 1\nWrite-Host 'PS'\n", false, nil, []string{"/usr/bin/pwsh", "-NoProfile", "-File", "-"}, ".ps1"},
		"PowerShell, absent":    {"d.ps1", "$a = 1\nWrite-Host 'PS'\n", false, has("/bin/sh"), nil, "a PowerShell script, and pwsh is not in the sandbox"},
		"PowerShell, UTF-16":    {"d.ps1", wide("$a = 1\r\n", binary.LittleEndian), false, has(), nil, "a PowerShell script in UTF-16, and pwsh is not in the sandbox"},
		"batch":                 {"run.bat", "@echo off\necho BAT\n", true, nil, nil, "a batch file for Windows; it needs Windows, and this agent is on Linux"},
		"batch, UTF-16":         {"run.cmd", wide("@echo off\r\n", binary.LittleEndian), true, nil, nil, "a batch file for Windows in UTF-16; it needs Windows"},
		"batch, UTF-16, no BOM": {"run.bat", wide("@echo off\r\n", binary.LittleEndian)[2:], true, nil, nil, "a batch file for Windows in UTF-16; it needs Windows"},
		"batch, of DOS":         {"run.bat", "@echo off\r\n\x1a", true, nil, nil, "a batch file for Windows; it needs Windows"},
		"UTF-32":                {"a", "\xff\xfe\x00\x00e\x00\x00\x00", true, nil, nil, "data of an unknown kind"},
		"VBScript":              {"m.vbs", "MsgBox 1\n", true, nil, nil, "a VBScript; it needs Windows"},
		"HTA":                   {"m.hta", "<html><script>", true, nil, nil, "an HTML application for Windows"},
		"registry":              {"x.reg", "REGEDIT4\n", true, nil, nil, "an export of the Windows registry"},
		"page":                  {"page.html", "<p>rm -rf x</p>\n", true, nil, nil, "it is a web page"},
		"data":                  {"data.csv", "id,name\n1,rm\n", true, nil, nil, "it is a table (CSV)"},
		"JSON":                  {"a.json", "{}\n", true, nil, nil, "it is a JSON document"},
		"source":                {"a.c", "int main() {}\n", true, nil, nil, "a source file in C or C++, which has to be compiled"},
		"notes":                 {"notes.txt", "Hello this is plain text\nrm -rf is mentioned\n", false, nil, nil, "it is a plain text"},
		"notes, asked for":      {"notes.txt", "Hello this is plain text\nrm -rf is mentioned\n", true, nil, nil, "it is a plain text"},

		// Texts whose name does not say what they are.
		"shell, no extension":      {"sample", "id -u; exit 7\n", false, nil, []string{"/bin/sh", "-"}, "it reads as a shell script"},
		"shell, a version":         {"run-1.2", "true\n", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, hidden":            {".profile", "exit 3\n", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, functions":         {"sample", "f() { echo x; }\nf\nf\n", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, downloads":         {"sample", "cd /tmp || exit\nwget http://127.0.0.1/x\nchmod +x x\n./x\n", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, Python in it":      {"sample", "cat <<E\nimport os\nprint(1)\nE\n", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, cut":               {"sample", "echo begins\n" + strings.Repeat("echo 'a long line of text'\n", 400) + "echo 'and ends", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, one long line":     {"sample", "echo " + strings.Repeat("QUJD", 4000) + " | base64 -d | sh\n", false, nil, []string{"/bin/sh", "-"}, "shell"},
		"prose, one long line":     {"sample", "Hello, " + strings.Repeat("this is text, ", 1000), false, nil, nil, "a text, and not a script"},
		"shell, CR LF, no name":    {"sample", "echo\r\nexit\r\n", false, nil, nil, "lines end in CR LF, as on Windows"},
		"shell, in a text":         {"x.txt", "echo hi\n", false, nil, nil, "it reads as a shell script, but its name ends in .txt: give it as entryPoint"},
		"shell, asked for":         {"x.txt", "echo hi\n", true, nil, []string{"/bin/sh", "-"}, "shell"},
		"shell, unknown extension": {"x.dat", "echo hi\n", false, nil, nil, "but its name ends in .dat"},
		"Python, no name":          {"mal", "import os\nimport sys\nx = os.getpid()\n", false, nil, []string{"/usr/bin/python3", "-"}, "it reads as a Python script"},
		"Python, only imports":     {"mal", "import os\n", false, nil, []string{"/usr/bin/python3", "-"}, "Python"},
		"Python, no interpreter":   {"mal", "import os\nprint(os.getpid())\n", false, has("/bin/sh", "import"), nil, "a Python script, and python3 is not"},
		"Python, in a text":        {"mal.txt", "import os\nprint(1)\n", false, nil, nil, "it reads as a Python script, but its name ends in .txt"},
		"Perl, no name":            {"mal", "use strict;\nmy $x = 1;\nprint $x;\n", false, nil, []string{"/usr/bin/perl", "-"}, "Perl"},
		"Ruby, no name":            {"mal", "require 'socket'\nputs 1\n", false, nil, []string{"/usr/bin/ruby", "-"}, "Ruby"},
		"JavaScript, no name":      {"mal", "const fs = require('fs');\nconsole.log(1);\n", false, nil, []string{"/usr/bin/node", "-"}, "JavaScript"},
		"PHP, no name":             {"mal", "<?php system('id');\n", false, nil, []string{"/usr/bin/php", "-"}, "PHP"},
		"Lua, no name":             {"mal", "local x = 1\nio.write(x)\n", false, nil, []string{"/usr/bin/lua", "-"}, "Lua"},
		"Tcl, no name":             {"mal", "set x [pid]\nputs $x\n", false, nil, []string{"/usr/bin/tclsh", "-"}, "Tcl"},
		"AWK, no name":             {"mal", "BEGIN { print 1 }\n", false, nil, []string{"/usr/bin/awk", "-f", "-"}, "AWK"},
		"PowerShell, no name":      {"mal", "$a = 1\nWrite-Host 'PS'\n", false, has("/bin/sh"), nil, "a PowerShell script"},
		"batch, no name":           {"mal", "@echo off\necho BAT\n", false, nil, nil, "a batch file for Windows"},
		"batch, CR LF":             {"mal", "@echo off\r\ncd \\\r\necho BAT\r\n", false, nil, nil, "a batch file for Windows"},
		"VBScript, no name":        {"mal", "Dim x\nSet x = CreateObject(\"a\")\n", false, nil, nil, "a VBScript"},
		"JScript, no name":         {"mal", "var s = new ActiveXObject('WScript.Shell');\n", false, nil, nil, "Windows Script Host"},
		"registry, no name":        {"mal", "Windows Registry Editor Version 5.00\n", false, nil, nil, "an export of the Windows registry"},
		"page, no name":            {"mal", "<html><body>rm</body></html>\n", false, nil, nil, "a web page"},
		"XML, no name":             {"mal", "<?xml version=\"1.0\"?><a/>\n", false, nil, nil, "an XML document"},
		"JSON, no name":            {"mal", "{\"a\": 1}\n", false, nil, nil, "a JSON document"},
		"key, no name":             {"mal", "-----BEGIN CERTIFICATE-----\nMII\n", false, nil, nil, "a key or certificate"},
		"C, no name":               {"mal", "#include <stdio.h>\nint main() { return 0; }\n", false, nil, nil, "a source file in C"},
		"settings, no name":        {"mal", "[main]\nexec = rm\n", false, nil, nil, "a configuration file"},
		"prose, no name":           {"README", "Hello this is plain text\nrm -rf is mentioned\n", false, nil, nil, "a text, and not a script that the agent recognizes"},
		"prose, commands first":    {"README", "find the file\nThen open it.\nIt is large.\n", false, nil, nil, "a text, and not a script"},
		"prose, most are commands": {"README", "Careful:\nrm -rf is mentioned\nid is too\n", false, nil, nil, "a text, and not a script"},
		"prose, with code":         {"README", "# Title\nThis is how it is used.\n\nimport os\nprint(os.getpid())\n", false, nil, nil, "a text, and not a script"},
		"accounts":                 {"passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1:1::/:/bin/sh\n", false, nil, nil, "a text, and not a script"},
		"types":                    {"types", "application/pdf\tpdf\ntext/plain\ttxt\n", false, nil, nil, "a text, and not a script"},
		"programs":                 {"shells", "# valid login shells\n/bin/sh\n/bin/bash\n", false, nil, nil, "a text, and not a script"},
		"folders":                  {"dirs", "/usr/local/lib\n/usr/lib\n", false, nil, nil, "a text, and not a script"},
		"prose, an apostrophe":     {"README", "echo doesn't work\n", false, nil, nil, "a text, and not a script"},
		"comments":                 {"README", "# Title\n# Text\n", false, nil, nil, "a text, and not a script"},
		"makefile":                 {"Makefile", "all:\n\tcc -o x x.c\n", false, nil, nil, "a text, and not a script"},
		"asked, and unknown":       {"x.dat", "lorem ipsum\n", true, nil, nil, "a text, and not a script"},
	} {
		t.Run(name, func(t *testing.T) {
			look := test.look
			if look == nil {
				look = everything
			}
			guess := GuessUnnamed
			if test.asked {
				guess = GuessAny
			}
			f, err := Identify(strings.NewReader(test.content), test.file, guess, look)
			if err != nil {
				t.Fatal(err)
			}
			path := "/home/user/" + test.file
			if test.argv == nil {
				if f.Rank != RankNone || !strings.Contains(f.Reason(), test.reason) {
					t.Errorf("rank %d, %q; want %q", f.Rank, f.Reason(), test.reason)
				}
				return
			}
			want := slices.Clone(test.argv)
			for i := range want {
				if want[i] == "-" {
					want[i] = path
				}
			}
			if f.Rank == RankNone || !slices.Equal(f.Argv(path), want) || !strings.Contains(f.Why, test.reason) {
				t.Errorf("rank %d, %q, %q, %q; want %q, %q", f.Rank, f.Argv(path), f.Why, f.Reason(), want, test.reason)
			}
			if isAppImage := name == "an AppImage"; isAppImage != slices.Contains(f.Env, "APPIMAGE_EXTRACT_AND_RUN=1") {
				t.Errorf("unexpected Env %q", f.Env)
			}
			if f.What == "" || len(want) > 1 && f.Interpreter != want[0] {
				t.Errorf("it is %q, run by %q", f.What, f.Interpreter)
			}
		})
	}
}

// TestGuessNever checks that GuessNever reads only the #! line of a text.
func TestGuessNever(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		rank    Rank
	}{
		"a":    {"echo x\n", RankNone},
		"b":    {"import os\n", RankNone},
		"c":    {"#!/bin/sh\n", RankProgram},
		"d.sh": {"import os\nprint('x')\n", RankNamed},
		"e.py": {"x\n", RankNamed},
	} {
		if f, err := Identify(strings.NewReader(test.content), name, GuessNever, everything); err != nil || f.Rank != test.rank {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// localHeader returns the header of an empty file in a zip archive.
func localHeader(name string) string {
	h := append([]byte("PK\x03\x04\x14\x00\x00\x00\x00\x00"), make([]byte, 16)...)
	h = binary.LittleEndian.AppendUint16(h, uint16(len(name)))
	h = binary.LittleEndian.AppendUint16(h, 0)
	return string(h) + name
}

func gzipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(text)) // into memory
	_ = w.Close()
	return out.String()
}

// TestNothingElseGoesToAShell checks that a shell runs only shell scripts, whatever
// interpreters the machine has.
func TestNothingElseGoesToAShell(t *testing.T) {
	for extension, l := range languages {
		if slices.Contains(l.by, "/bin/sh") {
			continue
		}
		for _, look := range []Lookup{everything, has("/bin/sh", "sh", "import", "rm")} {
			f, err := Identify(strings.NewReader("import os\nrm -rf is mentioned\n"), "x."+extension, GuessUnnamed, look)
			if err != nil || slices.Contains(f.Argv("x"), "/bin/sh") {
				t.Errorf("x.%s goes to a shell: %+v, %v", extension, f, err)
			}
		}
	}
}

// TestHostileELF checks that Identify does not read the sections of an ELF file, of which a
// hostile file can have too many.
func TestHostileELF(t *testing.T) {
	bomb := []byte(elfOf(native, execType, 1))
	binary.LittleEndian.PutUint64(bomb[40:], 64)                 // e_shoff
	binary.LittleEndian.PutUint16(bomb[60:], math.MaxUint16)     // e_shnum
	binary.LittleEndian.PutUint16(bomb[58:], math.MaxUint16)     // e_shentsize
	counted := &counter{ReaderAt: sparse{bytes.NewReader(bomb)}} // every section is there
	if f, err := Identify(counted, "a", GuessUnnamed, everything); err != nil || f.Rank != RankProgram {
		t.Errorf("%+v, %v", f, err)
	}
	if counted.bytes > 1<<20 {
		t.Errorf("%d bytes were read", counted.bytes)
	}
}

// sparse reads endless zeros after the end of its content.
type sparse struct{ r io.ReaderAt }

func (s sparse) ReadAt(p []byte, offset int64) (int, error) {
	n, err := s.r.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return len(p), nil
	}
	return n, err
}

type counter struct {
	io.ReaderAt
	bytes int
}

func (c *counter) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, offset)
	c.bytes += n
	return n, err
}

func TestIn(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil { //nolint:gosec // one is to be run
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	t.Chdir(dir)
	look := In(".::" + dir)
	for name, want := range map[string]string{
		"tool": filepath.Join(dir, "tool"), "text": "", "folder": "", "other": "", "": "", "./tool": "", "../" + filepath.Base(dir) + "/tool": "",
		filepath.Join(dir, "tool"): filepath.Join(dir, "tool"), filepath.Join(dir, "text"): "",
	} {
		if got := look(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	if got := In(".:")("tool"); got != "" {
		t.Errorf("found in the current folder: %q", got)
	}
}

func FuzzIdentify(f *testing.F) {
	for _, seed := range []struct{ name, content string }{
		{"a", elfOf(native, dynType, 1, soname)}, {"a.exe", portable(0x8664, 2, 0x20b, true)}, {"a", "#!/usr/bin/env -S python3 -u\r\n"},
		{"a.sh", "f() { echo; }\n"}, {"a", wide("x", binary.BigEndian)}, {"a.jar", localHeader("META-INF/MANIFEST.MF")}, {"a", "\xca\xfe\xba\xbe\x00\x00\x00\x34"},
	} {
		f.Add(seed.name, seed.content)
	}
	f.Fuzz(func(t *testing.T, name, content string) {
		file, err := Identify(strings.NewReader(content), name, GuessAny, everything)
		argv := file.Argv("/home/user/x")
		switch {
		case err != nil:
			t.Fatal(err)
		case file.What == "":
			t.Fatalf("What is empty: %+v", file)
		case file.Rank != RankNone && (file.Why == "" || len(argv) == 0 || !filepath.IsAbs(argv[0])):
			t.Fatalf("unexpected command %q: %+v", argv, file)
		}
	})
}
