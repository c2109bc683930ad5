package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

// readDotenv gives the variables in the file at path: none when there is no such
// file, and those before the faulty line along with a fault.
func readDotenv(path string) (map[string]string, *Fault) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		if cause := new(fs.PathError); errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, &Fault{Name: path, Got: fmt.Sprintf("an error (%v)", err), Wants: "a file that can be read, or none"}
	}
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	if !utf8.Valid(content) || bytes.ContainsRune(content, 0) {
		return nil, &Fault{Name: path, Got: "text in another encoding", Wants: "UTF-8"}
	}
	// godotenv overlooks a line without '=' if nothing follows it.
	content = append(content, '\n')
	variables, err := godotenv.UnmarshalBytes(content)
	if err != nil { // it quotes the rest of the file, secrets included
		return variables, &Fault{
			Name:  fmt.Sprintf("%s:%d", path, faultyLine(content)),
			Got:   "a line that cannot be understood",
			Wants: "NAME=value, NAME='value' with both quotes, or # and a comment",
		}
	}
	return variables, nil
}

// faultyLine is the number, from 1, of the line at which godotenv stops: the one
// after the longest run of lines that it takes.
func faultyLine(content []byte) int {
	lines := bytes.SplitAfter(content, []byte("\n"))
	for n := len(lines) - 1; n > 0; n-- {
		if _, err := godotenv.UnmarshalBytes(bytes.Join(lines[:n], nil)); err == nil {
			return n + 1
		}
	}
	return 1
}
