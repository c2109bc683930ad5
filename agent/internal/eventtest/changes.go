// Package eventtest has what the tests of both sensors share.
package eventtest

import (
	_ "embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// changes are the events that sensor/testdata/programs/changes.c must cause, a line each.
//
//go:embed changes.txt
var changes string

// calls are the events that sensor/testdata/programs/calls.c must cause, a line each.
//
//go:embed calls.txt
var calls string

// Calls checks that the data of a program's events has the calls of calls.c.
func Calls(t *testing.T, events []map[string]any) {
	t.Helper()
	var got strings.Builder
	isKnown := map[any]bool{}
	for line := range strings.Lines(calls) {
		isKnown[strings.Fields(line)[0]] = true
	}
	for _, data := range events {
		if !isKnown[data["operation"]] {
			continue
		}
		fmt.Fprint(&got, data["operation"])
		for _, key := range []string{"filePath", "option", "protection", "signalName", "targetProcessId"} {
			if n, ok := data[key].(float64); ok {
				data[key] = strconv.FormatFloat(n, 'f', -1, 64)
			}
			if data[key] != nil {
				fmt.Fprintf(&got, " %s=%s", key, data[key])
			}
		}
		got.WriteByte('\n')
	}
	if got.String() != calls {
		t.Errorf("got\n%s\nwant\n%s", &got, calls)
	}
}

// keys are the members that tell a change.
var keys = []string{ //nolint:gochecknoglobals // a constant
	"mode", "ownerId", "groupId", "device", "accessTime", "modificationTime", "offset", "length", "protection", "resolve", "flags", "newFilePath",
}

// Changes checks that the data of events has the changes of changes.c, which ran in dir.
// known returns what the sensor tells of them.
func Changes(t *testing.T, dir string, events []map[string]any, known func(changes string) string) {
	t.Helper()
	var got strings.Builder
	for _, data := range events {
		name, _ := data["filePath"].(string)
		if path.Dir(name) != dir {
			continue
		}
		fmt.Fprintf(&got, "%s %s", data["operation"], path.Base(name))
		for _, key := range slices.Sorted(maps.Keys(data)) {
			if n, ok := data[key].(float64); ok {
				data[key] = strconv.FormatFloat(n, 'f', -1, 64)
			}
			if slices.Contains(keys, key) {
				fmt.Fprintf(&got, " %s=%s", key, strings.TrimPrefix(fmt.Sprint(data[key]), dir+"/"))
			}
		}
		got.WriteByte('\n')
	}
	if want := known(changes); got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}
