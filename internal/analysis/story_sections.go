package analysis

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Section lists the objects of one kind that a story is about.
type Section struct {
	Kind    string // destinations, executed, written, deleted or refused
	Total   int    // objects, with those that are left out
	Objects []Object
}

// Object is a file, or an address, with what happened to it.
type Object struct {
	Text, As string
	Programs []string // that did it, the first ones
	Note     string   // the names of an address, what came of it
	Bytes    int64
	Events   int64
	Seqs     []int64
}

const (
	maxObjects  = 100 // of a section
	maxPrograms = 4   // of an object
)

// sectionOf are the sections of the kinds of deeds.
var sectionOf = map[string]string{ //nolint:gochecknoglobals // a constant
	"connected": "destinations", "connecting": "destinations", "not_connected": "destinations", "sent": "destinations",
	"ran": "executed", "wrote": "written", "created": "written", "deleted": "deleted", "deleted_itself": "deleted", "refused": "refused",
}

// sections returns the sections of some deeds, each in the order of the first events.
func (s *Story) sections() []Section {
	names := s.namesOfAddresses()
	sections := []Section{{Kind: "destinations"}, {Kind: "executed"}, {Kind: "written"}, {Kind: "deleted"}, {Kind: "refused"}}
	places := map[[2]string]*Object{}
	objects := map[string][]*Object{}
	for _, d := range s.order {
		kind := sectionOf[d.Kind]
		if kind == "" || kind == "destinations" && isLookup(d) {
			continue
		}
		text, as := d.Object, "path"
		switch kind {
		case "destinations":
			as = "address"
		case "executed":
			text = cmp.Or(d.file, d.Object)
		}
		o := places[[2]string{kind, text}]
		if o == nil {
			o = &Object{Text: text, As: as}
			places[[2]string{kind, text}] = o
			objects[kind] = append(objects[kind], o)
		}
		o.Bytes += d.Bytes
		o.Events += d.Events
		o.Seqs = append(o.Seqs, d.Seqs[:min(len(d.Seqs), maxDeedSeqs-min(len(o.Seqs), maxDeedSeqs))]...)
		if len(o.Programs) < maxPrograms && !slices.Contains(o.Programs, d.Program) {
			o.Programs = append(o.Programs, d.Program)
		}
		switch {
		case kind == "destinations":
			isFirst := o.Events == d.Events
			switch name := strings.Join(names[hostOf(text)], ", "); {
			case name != "":
				o.Note = name
			case d.Kind == "connected" || d.Kind == "sent":
				o.Note = ""
			case isFirst:
				o.Note = d.Result
			}
		case d.Kind == "deleted_itself":
			o.Note = "it was running"
		}
	}
	for i := range sections {
		all := objects[sections[i].Kind]
		sections[i].Total = len(all)
		for _, o := range all[:min(len(all), maxObjects)] {
			sections[i].Objects = append(sections[i].Objects, *o)
		}
	}
	return sections
}

// namesOfAddresses returns the names that resolved to each address.
func (s *Story) namesOfAddresses() map[string][]string {
	names := map[string][]string{}
	for _, d := range s.order {
		if _, err := netip.ParseAddr(d.Result); d.Kind == "asked" && err == nil && !slices.Contains(names[d.Result], d.Object) {
			names[d.Result] = append(names[d.Result], d.Object)
		}
	}
	return names
}

// hostOf returns the address without its port.
func hostOf(address string) string {
	if at, err := netip.ParseAddrPort(address); err == nil {
		return at.Addr().String()
	}
	return address
}

// Origin tells why a process or a file exists: the steps that brought the file, and the
// programs that started each other up to the one that brought it or runs. A process is meant
// if path is "". The result is empty if the story knows nothing of it.
func (s *Story) Origin(path string, pid int64) []Step {
	t := &teller{of: map[*Deed][]int{}, used: map[*Deed]bool{}}
	deeds := map[*Deed]bool{}
	for file, depth := path, 0; depth < maxOrigins; depth++ {
		if file == "" {
			start := s.starts[pid]
			if start == nil {
				break
			}
			file = start.file
		}
		l := s.lives[file]
		if l == nil {
			s.ancestors(deeds, pid)
			break
		}
		for _, d := range []*Deed{l.fetched, l.wrote, l.renamed, l.mode, l.deleted} {
			if d != nil {
				deeds[d] = true
			}
		}
		if path != "" && depth == 0 {
			for _, d := range l.ran {
				deeds[d] = true
			}
		}
		s.ancestors(deeds, pid)
		if l.wrote == nil || l.wrote.PID == nil {
			break
		}
		// The program that wrote it may have been brought, too.
		pid, file = *l.wrote.PID, ""
		s.ancestors(deeds, pid)
	}
	for _, d := range s.order {
		if deeds[d] {
			t.step([]*Deed{d})
		}
	}
	return t.told.Steps
}

// maxOrigins is the most files, each brought by the next, of which Origin tells.
const maxOrigins = 8

// ancestors adds the starts of a process and of those that started it.
func (s *Story) ancestors(deeds map[*Deed]bool, pid int64) {
	for range maxGenerations {
		start := s.starts[pid]
		if start == nil || deeds[start] {
			return
		}
		deeds[start] = true
		pid = start.parent
	}
}
