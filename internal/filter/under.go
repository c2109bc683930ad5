package filter

import (
	"strconv"

	"ospulse/internal/models"
	"ospulse/internal/process"
)

// Under is true for the events of a process and of all its descendants, and with Alone for
// those of the process itself. It is false for every event until WithProcesses has set Set.
type Under struct {
	ID    uint64
	Alone bool
	Set   *process.Set
}

// Names of the conditions.
const (
	underName = "under"
	aloneName = "only"
)

// Match implements Node.
func (n Under) Match(e *models.Event) bool {
	if n.Set == nil || e.PID == nil {
		return false
	}
	name, _ := deref(e.ProcessName)
	return n.Set.Has(*e.PID, name, e.Timestamp)
}

func (n Under) String() string {
	name := underName
	if n.Alone {
		name = aloneName
	}
	return name + `("` + strconv.FormatUint(n.ID, 10) + `")`
}

// NamesProcesses reports whether the filter selects by processes, so that it needs
// WithProcesses.
func (f *Filter) NamesProcesses() bool { return f != nil && len(f.unders()) > 0 }

// unders returns the tests of processes in the order of the text.
func (f *Filter) unders() (found []Under) {
	if f == nil {
		return nil
	}
	rewrite(f.root, func(n Node) Node {
		if under, ok := n.(Under); ok {
			found = append(found, under)
		}
		return n
	})
	return found
}

// WithProcesses returns the filter for the events of a session, whose processes are those of
// the family. It returns invalid if the session has no process that the filter names.
func (f *Filter) WithProcesses(family *process.Family) (*Filter, error) {
	if !f.NamesProcesses() {
		return f, nil
	}
	var err error
	complete := *f
	complete.root = rewrite(f.root, func(n Node) Node {
		under, ok := n.(Under)
		if !ok {
			return n
		}
		if under.Set = family.Descendants(under.ID, under.Alone); under.Set == nil {
			err = models.Errorf(models.CodeInvalid, "filter: the session has no process %d", under.ID)
		}
		return under
	})
	if complete.upTo = family.UpTo; f.NamesKnown() {
		complete.upTo = min(family.UpTo, f.upTo)
	}
	return &complete, err
}

// NeedsSession reports whether the filter selects by what is known of a session, so that it
// must be completed.
func (f *Filter) NeedsSession() bool { return f.NamesProcesses() || f.NamesKnown() }

// UpTo returns upTo or, if the filter selects by what is known of a session, the last Seq up
// to which it knows that, whichever is less.
func (f *Filter) UpTo(upTo int64) int64 {
	if f.NeedsSession() {
		return min(upTo, f.upTo)
	}
	return upTo
}

// SelectsAs reports whether the filter selects the same as another filter of the same text
// among the events up to the other's UpTo.
func (f *Filter) SelectsAs(other *Filter) bool {
	if f.NamesKnown() && upToSeq(f.root, other.upTo).String() != upToSeq(other.root, other.upTo).String() {
		return false
	}
	before := other.unders()
	for i, n := range f.unders() {
		if !n.Set.SameFor(before[i].Set) {
			return false
		}
	}
	return true
}
