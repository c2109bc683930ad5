//go:build linux

package program

import (
	"regexp"
	"strings"
)

// language is a kind of text file.
type language struct {
	extensions string   // extensions of file names, separated by spaces
	what       string   // with an article: "a Python script"
	by         []string // its interpreters, the preferred one first; nil if it cannot be run
	options    []string // options of the interpreter, before the path
	lacks      string   // why it cannot be run
	shell      bool     // a shell runs it; shells reject lines that end in CR LF
	plain      bool     // the extension says nothing about the language
}

const (
	onWindows = "; it needs Windows, and this agent is on Linux"
	compiled  = ", which has to be compiled"
)

// languages maps the extensions of file names to languages.
var languages = byExtension([]language{ //nolint:gochecknoglobals // a table of constants
	{extensions: "sh ash dash command", what: "a shell script", by: []string{"/bin/sh"}, shell: true},
	{extensions: "bash", what: "a Bash script", by: []string{"bash"}, shell: true},
	{extensions: "zsh", what: "a Z shell script", by: []string{"zsh"}, shell: true},
	{extensions: "ksh", what: "a Korn shell script", by: []string{"ksh", "mksh"}, shell: true},
	{extensions: "csh tcsh", what: "a C shell script", by: []string{"tcsh", "csh"}, shell: true},
	{extensions: "fish", what: "a fish script", by: []string{"fish"}, shell: true},
	{extensions: "py pyw", what: "a Python script", by: []string{"python3", "python"}},
	{extensions: "pl", what: "a Perl script", by: []string{"perl"}},
	{extensions: "rb", what: "a Ruby script", by: []string{"ruby"}},
	{extensions: "js mjs cjs", what: "a JavaScript program", by: []string{"node", "nodejs"}},
	{extensions: "php", what: "a PHP script", by: []string{"php"}},
	{extensions: "lua", what: "a Lua script", by: []string{"lua", "lua5.4", "lua5.3", "lua5.1", "luajit"}},
	{extensions: "awk", what: "an AWK script", by: []string{"awk", "gawk", "mawk"}, options: []string{"-f"}},
	{extensions: "tcl", what: "a Tcl script", by: []string{"tclsh"}},
	{extensions: "exp", what: "an Expect script", by: []string{"expect"}},
	{extensions: "r", what: "an R script", by: []string{"Rscript"}},
	{extensions: "jl", what: "a Julia program", by: []string{"julia"}},
	{extensions: "groovy", what: "a Groovy script", by: []string{"groovy"}},
	{extensions: "ps1", what: "a PowerShell script", by: []string{"pwsh"}, options: []string{"-NoProfile", "-File"}},
	{extensions: "psm1 psd1", what: "a PowerShell module"},
	{extensions: "bat cmd", what: "a batch file for Windows", lacks: onWindows},
	{extensions: "vbs vbe", what: "a VBScript", lacks: onWindows},
	{extensions: "jse wsf wsh", what: "a script for the Windows Script Host", lacks: onWindows},
	{extensions: "hta", what: "an HTML application for Windows", lacks: onWindows},
	{extensions: "reg", what: "an export of the Windows registry", lacks: onWindows},
	{extensions: "inf", what: "a setup file for Windows", lacks: onWindows},
	{extensions: "url", what: "a shortcut to a web page"},
	{extensions: "applescript scpt", what: "an AppleScript", lacks: onLinux},
	{extensions: "html htm xhtml mht mhtml", what: "a web page"},
	{extensions: "xml", what: "an XML document"},
	{extensions: "svg", what: "an SVG image"},
	{extensions: "json ndjson jsonl", what: "a JSON document"},
	{extensions: "yaml yml", what: "a YAML document"},
	{extensions: "csv tsv", what: "a table (CSV)"},
	{extensions: "css", what: "a style sheet"},
	{extensions: "sql", what: "an SQL script"},
	{extensions: "eml", what: "an e-mail message"},
	{extensions: "pem crt key", what: "a key or certificate"},
	{extensions: "ini toml desktop service", what: "a configuration file"},
	{extensions: "c h cc cpp cxx hpp", what: "a source file in C or C++", lacks: compiled},
	{extensions: "go", what: "a source file in Go", lacks: compiled},
	{extensions: "rs", what: "a source file in Rust", lacks: compiled},
	{extensions: "java kt", what: "a source file in Java or Kotlin", lacks: compiled},
	{extensions: "cs vb", what: "a source file for .NET", lacks: compiled},
	{extensions: "ts", what: "a source file in TypeScript", lacks: compiled},
	{extensions: "txt text log md rst nfo conf cfg", what: "a plain text", plain: true},
})

func byExtension(list []language) map[string]language {
	all := map[string]language{}
	for _, l := range list {
		for extension := range strings.FieldsSeq(l.extensions) {
			all[extension] = l
		}
	}
	return all
}

// run returns a File that the language's interpreter runs. If look finds no interpreter,
// the File cannot be run and Lacks says why.
func (l language) run(what, why string, rank Rank, look Lookup) File {
	f := File{What: what, Why: why, Lacks: l.lacks}
	for _, name := range l.by {
		if path := look(name); path != "" {
			f.Interpreter, f.command, f.Rank = path, append([]string{path}, l.options...), rank
			return f
		}
	}
	if len(l.by) > 0 {
		f.Lacks = ", and " + l.by[0] + " is not in the sandbox"
	}
	return f
}

// marks recognize a language, given by its extension, by the syntax of a text. marked
// tries them in this order. They assume that the text is not a shell script.
var marks = []struct { //nolint:gochecknoglobals // a table of constants
	extension string
	mark      *regexp.Regexp
}{
	{"php", regexp.MustCompile(`^\s*<\?(?:php|=)`)},
	{"reg", regexp.MustCompile(`^(?:Windows Registry Editor|REGEDIT4)`)},
	{"pem", regexp.MustCompile(`^-----BEGIN `)},
	{"ini", regexp.MustCompile(`^\[[^\s\]][^\]\n]*\]\s*\n\s*[\w.]+ ?=`)},
	{"wsf", windowsScript},
	{"vbs", regexp.MustCompile(`(?im)^\s*(?:option explicit|on error resume next|dim \w+|set \w+ ?= ?createobject|msgbox\b)`)},
	{"bat", regexp.MustCompile(`(?im)^\s*(?:@?echo off\b|@?rem |setlocal\b|goto [:\w])`)},
	{"pl", regexp.MustCompile(`(?m)^\s*(?:use (?:strict|warnings|utf8|v?5|[A-Z]\w*(?:::\w+)*)\b.*;|my [$@%(]|package [A-Z]\w*(?:::\w+)*;|sub \w+ ?\{)`)},
	{"ps1", regexp.MustCompile(`(?m)^\s*(?:\$\w+(?::\w+)? ?= ?|(?i:param) ?\(|(?:Write|Get|Set|New|Invoke|Start|Import|Add|Remove)-[A-Z]\w+|\[[A-Z][\w.]+\]::|(?i:iex)\b|#Requires )`)},
	{"tcl", regexp.MustCompile(`(?m)^\s*(?:package require \w|proc \w+ \{|set \w+ \[|puts (?:-nonewline )?\$|foreach \w+ [$\[{]|namespace eval )`)},
	{"lua", regexp.MustCompile(`(?m)^\s*(?:local function |local \w+ = |io\.write\(|string\.format\()`)},
	{"js", regexp.MustCompile(`(?m)^\s*(?:(?:const|var) \w.*=|let \w+ = |['"]use strict['"];?|console\.log\(|import .* from ['"]|export (?:default|const|function|class) |(?:async )?function \w+\(\w[\w, ]*\) ?\{|module\.exports\b|process\.\w+|.*\brequire\(['"])`)},
	{"awk", regexp.MustCompile(`(?m)^(?:BEGIN|END)\s*\{`)},
	{"py", regexp.MustCompile(`(?m)^(?:import [A-Za-z_][\w.]*(?: as \w+)?(?:, ?[A-Za-z_][\w.]*)*\s*(?:[;#].*)?$|from [\w.]+ import |(?:async )?def \w+\(.*\)(?: ?-> ?.+)?:\s*(?:#.*)?$|class \w+(?:\(.*\))?:\s*$|if __name__ ?== ?|print\(.*\)\s*$)`)},
	{"rb", regexp.MustCompile(`(?m)^\s*(?:require ['"][\w/.-]+['"]\s*$|require_relative ['"]|puts \S|def \w+[?!]?(?:\(.*\))?\s*$|attr_(?:accessor|reader) |class [A-Z]\w*(?: < [A-Z][\w:]*)?\s*$|module [A-Z]\w*\s*$|[\w.]+\.each\b.*\bdo\b)`)},
	{"c", regexp.MustCompile(`(?m)^#\s*include\s*[<"]`)},
}

// windowsScript matches scripts for the Windows Script Host. It tells JScript from the
// JavaScript that Node.js runs.
var windowsScript = regexp.MustCompile(`(?i)\bwscript\.\w+|\bnew activexobject\(`)
