package detect

import (
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Processes is what the events of a session have said about its processes so far. It makes
// the facts of the next event. The same events in the same order make the same facts.
type Processes struct {
	byPID map[int64]*running
	ended []ended // in order
	bytes int     // of the texts that were kept since the last clear
}

// running is a process. Its fields are nil while they are unknown.
type running struct {
	image, command *string
	parent         *running
}

type ended struct {
	pid     int64
	process *running
}

// Limits of what is kept of a session.
const (
	maxEnded   = 4_096    // processes that have ended, for events that come late
	maxRunning = 65_536   // processes of which no event told the end
	maxCommand = 32 << 10 // bytes of a command line
	maxTexts   = 8 << 20  // bytes of all command lines and images
)

// The event types that tell of processes, besides models.TypeProcessCreation.
const (
	typeFork = "process_fork"
	typeExit = "process_exit"
)

// NewProcesses returns what is known before the first event.
func NewProcesses() *Processes { return &Processes{byPID: map[int64]*running{}} }

// Next returns the facts of the next event and learns from it.
func (p *Processes) Next(e *models.Event) *models.Facts {
	actor := p.actor(e)
	if e.EventType == models.TypeProcessCreation {
		return p.created(e, actor)
	}
	facts := &models.Facts{}
	if actor != nil {
		facts.Image, facts.Command = actor.image, actor.command
		if actor.parent != nil {
			facts.ParentImage, facts.ParentCommand = actor.parent.image, actor.parent.command
		}
	}
	facts.Image = imageOf(facts.Image, e.ProcessName)
	switch {
	case e.PID == nil:
	case e.EventType == typeExit:
		p.exited(*e.PID)
	case e.EventType == typeFork:
		if child, ok := integer(e.Data, "newProcessId"); ok {
			forked := &running{parent: actor}
			if actor != nil {
				forked.image, forked.command = actor.image, actor.command
			}
			p.set(child, forked)
		}
	}
	return facts
}

// actor returns the process that acts in an event, nil if it is unknown.
func (p *Processes) actor(e *models.Event) *running {
	if e.PID == nil {
		return nil
	}
	return p.byPID[*e.PID]
}

// created returns the facts of an event that tells of a new program, and learns from it.
func (p *Processes) created(e *models.Event, parent *running) *models.Facts {
	facts := &models.Facts{Image: text(e.Data, "imagePath", "image_path"), Command: commandOf(e.Data)}
	if parent != nil {
		facts.ParentImage, facts.ParentCommand = parent.image, parent.command
	}
	facts.ParentImage = imageOf(facts.ParentImage, e.ProcessName)
	if wire.Failed(jsonscan.Find(e.Data, "status")) {
		return facts
	}
	if child, ok := integer(e.Data, "newProcessId"); ok {
		r := p.byPID[child]
		if r == nil || p.bytes > maxTexts {
			r = &running{}
			p.set(child, r)
		}
		r.image, r.command = facts.Image, facts.Command
		p.bytes += size(facts.Image) + size(facts.Command)
		if parent != r && parent != nil {
			r.parent = parent
		}
	}
	return facts
}

// set notes a process that begins. An earlier one of this pid has ended.
func (p *Processes) set(pid int64, r *running) {
	if _, known := p.byPID[pid]; !known && len(p.byPID) >= maxRunning || p.bytes > maxTexts {
		p.byPID, p.ended, p.bytes = map[int64]*running{}, nil, 0 // better to know too little than to grow
	}
	p.byPID[pid] = r
}

// size returns the bytes of a text.
func size(text *string) int {
	if text == nil {
		return 0
	}
	return len(*text)
}

// Bytes returns about how much memory is in use.
func (p *Processes) Bytes() int {
	const each = 150 // with its place in the map
	return p.bytes + each*(len(p.byPID)+len(p.ended))
}

// exited notes the end of a process. Some more events of it may come, from other CPUs.
func (p *Processes) exited(pid int64) {
	r := p.byPID[pid]
	if r == nil {
		return
	}
	p.ended = append(p.ended, ended{pid, r})
	if len(p.ended) < 2*maxEnded {
		return
	}
	for _, old := range p.ended[:maxEnded] {
		if p.byPID[old.pid] == old.process {
			delete(p.byPID, old.pid)
		}
		old.process.parent = nil // otherwise a chain of forks keeps all of its processes
	}
	p.ended = append([]ended(nil), p.ended[maxEnded:]...)
}

// imageOf returns the path of a program. If only the name of the process is known, it
// returns that in an unknown folder, so that rules about the end of a path match. A name
// that the known path does not have belongs to another program.
func imageOf(image, name *string) *string {
	if name == nil || *name == "" || image != nil && strings.HasSuffix(*image, *name) {
		return image
	}
	separator := "/"
	if strings.HasSuffix(strings.ToLower(*name), ".exe") {
		separator = `\`
	}
	return new(separator + *name)
}

// commandOf returns the command line of a new program: its arguments joined by single
// spaces, or the text that the agent sent.
func commandOf(data []byte) *string {
	arguments := jsonscan.Find(data, "arguments")
	if jsonscan.Kind(arguments) != '[' {
		return text(data, "commandLine", "command_line")
	}
	var b []byte
	for token, rest := jsonscan.NextToken(arguments); token != nil && len(b) < maxCommand; token, rest = jsonscan.NextToken(rest) {
		if token[0] != '"' || len(token) < 2 {
			return text(data, "commandLine", "command_line")
		}
		if b != nil {
			b = append(b, ' ')
		}
		b = jsonscan.AppendUnquoted(b, token[1:len(token)-1])
		if b == nil {
			b = []byte{}
		}
	}
	return new(string(b))
}

// text returns the first text of some keys, nil if there is none.
func text(data []byte, keys ...string) *string {
	for _, key := range keys {
		if value := jsonscan.Find(data, key); jsonscan.Kind(value) == '"' {
			found := jsonscan.Unquote(value)
			return new(found[:min(len(found), maxCommand)])
		}
	}
	return nil
}

func integer(data []byte, key string) (int64, bool) {
	return jsonscan.Integer(jsonscan.Find(data, key))
}
