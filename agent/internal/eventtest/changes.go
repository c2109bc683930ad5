// Package eventtest has what the tests of both sensors share.
package eventtest

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
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
		for _, key := range []string{"filePath", "option", "value", "content", "protection", "signalName", "targetProcessId"} {
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
	"fileSystemType", "mountOptions", "attribute",
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
			if slices.Contains(keys, key) || key == "content" && data["operation"] == "SetAttribute" {
				fmt.Fprintf(&got, " %s=%s", key, strings.TrimPrefix(fmt.Sprint(data[key]), dir+"/"))
			}
		}
		got.WriteByte('\n')
	}
	if want := known(changes); got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}

// places are the events that sensor/testdata/programs/places.c must cause, a line each.
//
//go:embed places.txt
var places string

// number matches the numbers in a path of /proc, which differ in each run.
var number = regexp.MustCompile(`/(proc|fd)/[0-9]+`)

// Places checks that the data of events has the files of places.c, which ran in dir: the path, in
// brackets the path that the program passed, and the same of a second path. "root" and the root
// follow if the process has another root than the agent, "other mounts" if it has another mount
// namespace, "outside" if the file is not below the root, and "as" and the name under which the
// file, by its device and inode, was opened first. known returns what the sensor reports of them.
func Places(t *testing.T, dir string, events []map[string]any, known func(places string) string) {
	t.Helper()
	mounts, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	var got strings.Builder
	for _, data := range events {
		operation, _ := data["operation"].(string)
		file, _ := data["filePath"].(string)
		metadata, _ := data["metadata"].(map[string]any)
		if inode, ok := data["inode"]; ok && file != "" {
			id := fmt.Sprint(data["deviceId"], inode)
			names[id] = cmp.Or(names[id], file)
			file += " as " + names[id]
		}
		switch operation {
		case "ChangeMode", "TruncateFile", "ChangeOwner", "SetFileTime", "SetAttribute", "LinkFile", "RenameFile", "DeleteFile", "CreateDirectory",
			"DeleteDirectory", "SymlinkFile":
		case "execve":
			if given, _ := data["givenPath"].(string); !strings.HasPrefix(given, "/proc") {
				continue
			}
			file = fmt.Sprint(data["imagePath"], file) // file is a script
		default:
			continue
		}
		name, as, isKnown := strings.Cut(file, " as ")
		fmt.Fprint(&got, operation, " ", name)
		for _, key := range []string{"givenPath", "newFilePath", "newGivenPath", "deleted", "pathGuessed"} {
			if value, ok := data[key]; ok {
				fmt.Fprintf(&got, " %s=%v", key, value)
			}
		}
		if root, ok := metadata["rootPath"]; ok {
			fmt.Fprint(&got, " root ", root)
		}
		if its, ok := metadata["mountNamespace"].(float64); ok && fmt.Sprintf("mnt:[%.0f]", its) != mounts {
			fmt.Fprint(&got, " other mounts")
		}
		if data["outsideRoot"] == true {
			fmt.Fprint(&got, " outside")
		}
		if isKnown && as != name {
			fmt.Fprint(&got, " as ", as)
		}
		got.WriteByte('\n')
	}
	text := number.ReplaceAllString(strings.ReplaceAll(got.String(), dir, "$"), "/$1/N")
	text = regexp.MustCompile(`\[[0-9]+\]`).ReplaceAllString(text, "[N]")
	if want := known(places); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// passing are the events that sensor/testdata/programs/passing.c must cause, a line each.
//
//go:embed passing.txt
var passing string

// Passing checks that the data of events has the descriptors that passing.c passed to itself, and
// the files that it then used by them. It ran in dir.
func Passing(t *testing.T, dir string, events []map[string]any) {
	t.Helper()
	var got strings.Builder
	for _, data := range events {
		operation, _ := data["operation"].(string)
		switch descriptors, _ := data["descriptors"].([]any); {
		case operation == "WriteFile":
			fmt.Fprint(&got, operation, " ", data["fd"], " ", data["filePath"], "\n")
		case operation != "Send" && operation != "Receive":
		case len(descriptors) > 3:
			fmt.Fprintln(&got, operation, len(descriptors), "descriptors")
		default:
			fmt.Fprint(&got, operation)
			for _, one := range descriptors {
				member, _ := one.(map[string]any)
				fmt.Fprint(&got, " ", member["fd"], " ", member["filePath"])
			}
			got.WriteByte('\n')
		}
	}
	text := regexp.MustCompile(`\[[0-9]+\]`).ReplaceAllString(strings.ReplaceAll(got.String(), dir, "$"), "[N]")
	if text != passing {
		t.Errorf("got\n%s\nwant\n%s", text, passing)
	}
}
