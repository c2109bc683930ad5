//go:build linux

// Package users names the users of this machine in events. It must not know sessions, nor where
// events go.
package users

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
)

// File is where a machine has its users.
const File = "/etc/passwd"

// maxFileBytes bounds what Read reads.
const maxFileBytes = 1 << 20

// Names are the names of users by their number.
type Names map[int]string

// Read reads the users of a file in the format of passwd(5), and skips what is no user. The agent
// reads it once, when it starts: a program that it watches later could let the file block.
func Read(name string) (Names, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: %w", name, os.ErrInvalid)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, err
	}
	names := Names{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":") // name, password, number, …
		if len(fields) < 4 || fields[0] == "" {
			continue
		}
		// As for getpwuid(3), the first user with a number gives it its name.
		if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil && names[int(id)] == "" {
			names[int(id)] = fields[0]
		}
	}
	return names, nil
}

// Name sets the name of the user in the event of a new program. A process with another root
// directory than the agent's may have other users, so it gets no name.
func (n Names) Name(e *event.Event) {
	if c, ok := e.Data.(*event.Creation); ok && c.Actor.RootPath == "" && c.Actor.MountNamespace == 0 {
		c.NewUserName = n[c.New.UserID]
	}
}
