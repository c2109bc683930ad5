package segment

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"sync"

	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
)

// A skip is a Bloom filter ("Space/time trade-offs in hash coding with allowable errors",
// 1970) of what the events of a segment contain. It tells without reading the events that
// a filter selects none of them. It contains:
//
//   - the trigrams of all texts in which a filter can search: three bytes in a row, with
//     A to Z lower-case;
//   - the values of all hot fields but time and target.
//
// An empty skip stands for a segment with too many trigrams. It skips nothing.
const (
	skipBits    = 8       // per item
	skipHashes  = 4       // bits that an item sets
	maxTrigrams = 1 << 16 // in a segment with a skip; usual are 6,000
)

// words collects the items of a skip.
type words struct {
	seen  *trigramSet
	items []uint64 // hashes
	full  bool

	scratch []byte
}

// HotSkip returns a skip of the hot fields only, for filters that need no data.
func HotSkip(c *Columns) []byte {
	w := newWords()
	w.addHot(c)
	return w.encode()
}

// trigramSet has a bit for each trigram. It takes 2 MB, so it is used again.
type trigramSet [1 << 24 / 64]uint64

var trigramSets = sync.Pool{New: func() any { return new(trigramSet) }} //nolint:gochecknoglobals // safe for concurrent use

// newWords returns words without items. encode is the last call.
func newWords() *words { return &words{seen: trigramSets.Get().(*trigramSet)} }

// addHot adds the hot fields.
func (w *words) addHot(c *Columns) {
	for kind, column := range c.texts() {
		for _, text := range column.Values[1:] {
			w.addText([]byte(*text))
			if field := hotFields[kind]; field != filter.Target {
				w.items = append(w.items, hashText(field, *text))
			}
		}
	}
	for _, pid := range c.PID.Values[1:] {
		w.items = append(w.items, hashNumber(filter.PID, *pid))
	}
}

// hotFields are the fields of Columns.texts.
var hotFields = [...]filter.Column{filter.Type, filter.Source, filter.Operation, filter.Process, filter.Target} //nolint:gochecknoglobals // a constant

// addTokens adds the tokens of a JSON text, which may be incomplete.
func (w *words) addTokens(text []byte) {
	for token, rest := jsonscan.NextToken(text); token != nil; token, rest = jsonscan.NextToken(rest) {
		w.scratch = filter.AppendToken(w.scratch[:0], token)
		w.addText(w.scratch)
	}
}

// addText adds the trigrams of a text.
func (w *words) addText(text []byte) {
	for trigram := range trigrams(text) {
		if word, bit := trigram/64, uint64(1)<<(trigram%64); !w.full && w.seen[word]&bit == 0 {
			w.seen[word] |= bit
			w.items = append(w.items, hashTrigram(trigram))
			w.full = len(w.items) > maxTrigrams
		}
	}
}

// trigrams yields each three bytes of a text as a number.
func trigrams[T string | []byte](text T) func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		trigram := uint32(0)
		for i := range len(text) {
			c := text[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			trigram = (trigram<<8 | uint32(c)) & 0xffffff
			if i >= 2 && !yield(trigram) {
				return
			}
		}
	}
}

// encode returns the skip.
func (w *words) encode() []byte {
	clear(w.seen[:])
	trigramSets.Put(w.seen)
	w.seen = nil
	if w.full {
		return []byte{}
	}
	skip := make([]byte, (len(w.items)*skipBits+63)/64*8)
	for _, hash := range w.items {
		for bit := range places(skip, hash) {
			skip[bit/8] |= 1 << (bit % 8)
		}
	}
	return skip
}

// places yields the bits that an item sets.
func places(skip []byte, hash uint64) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		size, step := uint64(len(skip))*8, hash>>32|1
		for i := range uint64(skipHashes) {
			if !yield((hash + i*step) % size) {
				return
			}
		}
	}
}

func has(skip []byte, hash uint64) bool {
	for bit := range places(skip, hash) {
		if skip[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// MayMatch reports whether a filter may select an event of a segment with this skip.
// False is certain.
func MayMatch(skip []byte, where *filter.Filter) bool {
	return len(skip) == 0 || where == nil || mayMatch(skip, where.Root())
}

func mayMatch(skip []byte, node filter.Node) bool {
	switch n := node.(type) {
	case filter.And:
		for _, node := range n {
			if !mayMatch(skip, node) {
				return false
			}
		}
		return true
	case filter.Or:
		for _, node := range n {
			if mayMatch(skip, node) {
				return true
			}
		}
		return false
	case filter.Text:
		return mayContain(skip, n.Pattern)
	case filter.Like:
		return mayContain(skip, n.Pattern)
	case filter.In:
		for _, value := range n.Values {
			if mayEqual(skip, n.Field.Column, value) {
				return true
			}
		}
		return false
	case filter.Under:
		return mayBeUnder(skip, n)
	}
	return true
}

// maxSkipPIDs is the most pids that are searched for in a skip. More pids are likely to be in
// every segment, and take longer than the segment.
const maxSkipPIDs = 1000

func mayBeUnder(skip []byte, n filter.Under) bool {
	if n.Set == nil {
		return false
	}
	all, some := n.Set.PIDs()
	isHere := func(pid int64) bool { return has(skip, hashNumber(filter.PID, pid)) }
	return len(all)+len(some) > maxSkipPIDs || slices.ContainsFunc(all, isHere) || slices.ContainsFunc(some, isHere)
}

// mayContain reports whether an event may have a text that a pattern matches.
func mayContain(skip []byte, pattern filter.Pattern) bool {
	for _, part := range pattern.Parts {
		if part != filter.AnyText && part != filter.AnyChar && !hasTrigrams(skip, part) {
			return false
		}
	}
	return true
}

func hasTrigrams(skip []byte, text string) bool {
	for trigram := range trigrams(text) {
		if !has(skip, hashTrigram(trigram)) {
			return false
		}
	}
	return true
}

// mayEqual reports whether an event may have a value in a column. Equal numbers in data
// may be written in several ways.
func mayEqual(skip []byte, column filter.Column, value filter.Value) bool {
	switch column {
	case filter.Type, filter.Source, filter.Operation, filter.Process:
		return has(skip, hashText(column, value.Text))
	case filter.PID:
		return has(skip, hashNumber(column, value.Integer))
	case filter.Target:
		return hasTrigrams(skip, value.Text)
	case filter.Data:
		return value.Kind != filter.String || hasTrigrams(skip, value.Text)
	}
	return true
}

func hashText(column filter.Column, text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte{byte(column)})
	_, _ = h.Write([]byte(text))
	return mix(h.Sum64())
}

func hashNumber(column filter.Column, n int64) uint64 {
	return hashText(column, string(binary.LittleEndian.AppendUint64(nil, uint64(n))))
}

func hashTrigram(trigram uint32) uint64 { return mix(uint64(trigram) + 1) }

// mix is the finalizer of SplitMix64 ("Fast splittable pseudorandom number generators",
// 2014): each bit of the result depends on all bits of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
