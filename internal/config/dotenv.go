package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

// readDotenv returns the variables in the file at path: none if there is no such file,
// and those before the faulty line along with a fault.
func readDotenv(path string) (map[string]string, Faults) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		if cause := new(fs.PathError); errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, Faults{{Name: path, Got: fmt.Sprintf("an error (%v)", err), Wants: "a file that can be read, or none"}}
	}
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	if !utf8.Valid(content) || bytes.ContainsRune(content, 0) {
		return nil, Faults{{Name: path, Got: "text in another encoding", Wants: "UTF-8"}}
	}
	// godotenv overlooks a line without '=' if nothing follows it.
	content = append(content, '\n')
	variables, err := unmarshal(content)
	if err != nil { // it quotes the rest of the file, secrets included
		return variables, Faults{{
			Name:  fmt.Sprintf("%s:%d", path, faultyLine(content)),
			Got:   "a line that cannot be understood",
			Wants: "NAME=value, NAME='value' with both quotes, or # and a comment",
		}}
	}
	return variables, nil
}

// faultyLine returns the number, from 1, of the line at which godotenv stops: the one
// after the longest run of lines that it accepts.
func faultyLine(content []byte) int {
	lines := bytes.SplitAfter(content, []byte("\n"))
	for n := len(lines) - 1; n > 0; n-- {
		if _, err := unmarshal(bytes.Join(lines[:n], nil)); err == nil {
			return n + 1
		}
	}
	return 1
}

// quoted is the beginning of a variable whose value is in double quotes.
var quoted = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?[\pL\pN_.]+[ \t]*[=:][ \t]*"`) //nolint:gochecknoglobals // a constant

// Noncharacters of Unicode stand for what godotenv would take for a part of an escape.
var (
	hideEscapes = strings.NewReplacer(`\\`, "\ufdd0", `\"`, "\ufdd1", `\$`, "\ufdd2", `\`, "\ufdd0") //nolint:gochecknoglobals // a constant
	showEscapes = strings.NewReplacer("\ufdd0", `\`, "\ufdd1", `"`, "\ufdd2", `$`)                   //nolint:gochecknoglobals // a constant
)

// unmarshal reads variables as godotenv does, but values in double quotes as a shell
// does: a backslash stays, unless a backslash, a double quote or a $ follows, which
// then stands for itself. godotenv alone makes a line break of the \n in "C:\new", and
// leaves other backslashes out.
func unmarshal(content []byte) (map[string]string, error) {
	var hidden []byte
	for at := quoted.FindIndex(content); at != nil; at = quoted.FindIndex(content) {
		end := at[1]
		for end < len(content) && content[end] != '"' {
			if content[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(content))
		hidden = append(append(hidden, content[:at[1]]...), hideEscapes.Replace(string(content[at[1]:end]))...)
		content = content[end:]
	}
	variables, err := godotenv.UnmarshalBytes(append(hidden, content...))
	for name, value := range variables {
		variables[name] = showEscapes.Replace(value)
	}
	return variables, err
}
