package segment

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// column holds one value of each of some rows. Row i has values[index[i]], or values[i+1]
// if index is nil. values[0] is nil and stands for the row's own text in ref.
type column struct {
	ref    refKind
	values [][]byte
	index  []uint32
}

// refKind names a text that the reader knows already.
type refKind byte

const (
	refNothing refKind = iota // no value: nil
	refTime                   // the hot fields as JSON
	refPID
	refType // texts follow in the order of Columns.texts
	refSource
	refOperation
	refProcess
	refTarget
	refKinds // their number
)

// The forms in which values are stored. All values of a column have the same one.
const (
	asBytes   = iota // any bytes
	asString         // a JSON string, without its quotes
	asInteger        // a number that strconv.AppendInt writes in the same way
	asTime           // a JSON string that timeText writes in the same way
	forms            // their number
)

// timeLayout is the form of times in events, with the quotes of JSON.
const timeLayout = `"2006-01-02T15:04:05.000000Z"`

// toNumber returns the number that a form stores for a value; false if it cannot.
func toNumber(form int, value []byte) (int64, bool) {
	switch form {
	case asInteger:
		if len(value) == 0 || len(value) > 20 {
			return 0, false
		}
		n, err := strconv.ParseInt(string(value), 10, 64)
		var buffer [20]byte
		return n, err == nil && bytes.Equal(strconv.AppendInt(buffer[:0], n, 10), value)
	case asTime:
		if len(value) != len(timeLayout) || value[0] != '"' {
			return 0, false
		}
		t, err := time.Parse(timeLayout, string(value))
		if err != nil {
			return 0, false
		}
		var buffer [len(timeLayout)]byte
		return t.UnixMicro(), bytes.Equal(appendTime(buffer[:0], t.UnixMicro()), value)
	}
	return 0, false
}

func appendTime(out []byte, micros int64) []byte {
	return time.UnixMicro(micros).UTC().AppendFormat(out, timeLayout)
}

// formOf returns the best form for all values.
func formOf(values [][]byte) int {
	for _, form := range []int{asInteger, asTime} {
		fits := len(values) > 0
		for _, value := range values {
			if _, fits = toNumber(form, value); !fits {
				break
			}
		}
		if fits {
			return form
		}
	}
	for _, value := range values {
		if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return asBytes
		}
	}
	return asString
}

// The ways in which a column says which row has which value.
const (
	byRow   = iota // row i has values[i+1]
	allSame        // every row has the last value; values[0] if it is the only one
	indexed        // each row has a place
	orders         // their number
)

// appendTo packs the column.
func (c *column) appendTo(out []byte) []byte {
	values := c.values[1:]
	form := formOf(values)
	order := indexed
	switch {
	case c.index == nil:
		order = byRow
	case len(values) <= 1 && !slices.ContainsFunc(c.index, func(place uint32) bool { return int(place) != len(values) }):
		order = allSame
	}
	out = append(out, byte(c.ref), byte(form), byte(order))
	out = binary.AppendUvarint(out, uint64(len(values)))
	switch form {
	case asInteger, asTime:
		last := int64(0)
		for _, value := range values {
			n, _ := toNumber(form, value)
			out = binary.AppendVarint(out, n-last) // may wrap, and wraps back
			last = n
		}
	default:
		quote := quotes(form)
		for _, value := range values {
			out = binary.AppendUvarint(out, uint64(len(value)-2*quote))
		}
		for _, value := range values {
			out = append(out, value[quote:len(value)-quote]...)
		}
	}
	if order == indexed {
		out = appendIndex(out, c.index)
	}
	return out
}

// quotes returns the number of quotes at each end of a value that its form leaves out.
func quotes(form int) int {
	if form == asString {
		return 1
	}
	return 0
}

// column reads a column with this number of rows.
func (r *reader) column(rows int) (c column) {
	c.ref = refKind(r.byte())
	form, order := int(r.byte()), int(r.byte())
	n := r.uvarint()
	if c.ref >= refKinds || form >= forms || order >= orders || n > uint64(rows) || order == byRow && n != uint64(rows) {
		r.fail()
		return c
	}
	c.values = make([][]byte, n+1)
	values := c.values[1:]
	switch form {
	case asInteger, asTime:
		arena := make([]byte, 0, n*8)
		last := int64(0)
		for i := range values {
			last += r.varint()
			from := len(arena)
			if form == asInteger {
				arena = strconv.AppendInt(arena, last, 10)
			} else {
				arena = appendTime(arena, last)
			}
			values[i] = arena[from:len(arena):len(arena)]
		}
	default:
		r.texts(values, quotes(form))
	}
	switch order {
	case allSame:
		c.index = make([]uint32, rows)
		for i := range c.index {
			c.index[i] = uint32(n)
		}
	case indexed:
		c.index = r.index(rows, len(c.values))
	}
	return c
}

// texts reads texts, and puts quotes around each.
func (r *reader) texts(values [][]byte, quotes int) {
	lengths := make([]int, len(values))
	total := 0
	for i := range lengths {
		length := r.uvarint()
		if length > uint64(len(r.text)) || total+int(length) > len(r.text) {
			r.fail()
			return
		}
		lengths[i] = int(length)
		total += int(length)
	}
	if total > len(r.text) {
		r.fail()
		return
	}
	if quotes == 0 {
		for i, length := range lengths {
			values[i] = r.text[:length:length]
			r.text = r.text[length:]
		}
		return
	}
	arena := make([]byte, 0, total+2*len(values))
	for i, length := range lengths {
		from := len(arena)
		arena = append(append(append(arena, '"'), r.text[:length]...), '"')
		values[i] = arena[from:len(arena):len(arena)]
		r.text = r.text[length:]
	}
}

// at returns the value of a row. It is nil for a row that refers to its own text.
func (c *column) at(row int) []byte {
	if c.index == nil {
		return c.values[row+1]
	}
	return c.values[c.index[row]]
}

// columnBuilder collects the values of a column.
type columnBuilder struct {
	values [][]byte // the different ones
	places map[string]uint32
	index  []uint32
}

// add adds a row. A nil value stands for the row's own text in ref.
func (b *columnBuilder) add(value []byte) {
	place := uint32(0)
	if value != nil {
		var known bool
		if place, known = b.places[string(value)]; !known {
			if b.places == nil {
				b.places = map[string]uint32{}
			}
			b.values = append(b.values, value)
			place = uint32(len(b.values))
			b.places[string(value)] = place
		}
	}
	b.index = append(b.index, place)
}

// column returns the column. It lists the values row by row if most of them differ.
func (b *columnBuilder) column() *column {
	c := &column{values: append([][]byte{nil}, b.values...), index: b.index}
	if len(b.values) > 1 && len(b.values) > len(b.index)/2 && !slices.Contains(b.index, 0) {
		c.values = c.values[:1:1]
		for _, place := range b.index {
			c.values = append(c.values, b.values[place-1])
		}
		c.index = nil
	}
	return c
}
