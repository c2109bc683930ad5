package segment

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// column holds one value of each of some rows. Values have places from 1 on. Place 0 has no
// value and stands for the row's own text in ref.
type column struct {
	ref   refKind
	form  int
	order int
	text  []byte   // of all values, one after the other
	ends  []uint32 // by place, of the value in text
	index []uint32 // by row its place, if the column is indexed
}

// len returns the number of values.
func (c *column) len() int { return len(c.ends) - 1 }

// add adds a value.
func (c *column) add(value []byte) {
	c.text = append(c.text, value...)
	c.ends = append(c.ends, uint32(len(c.text)))
}

// value returns the value at a place; nil at place 0.
func (c *column) value(place int) []byte {
	if place == 0 {
		return nil
	}
	return c.text[c.ends[place-1]:c.ends[place]:c.ends[place]]
}

// place returns the place of a row's value.
func (c *column) place(row int) int {
	switch c.order {
	case byRow:
		return row + 1
	case allSame:
		return c.len()
	}
	return int(c.index[row])
}

// at returns the value of a row. It is nil for a row that refers to its own text.
func (c *column) at(row int) []byte { return c.value(c.place(row)) }

// isSame reports whether all rows have one value.
func (c *column) isSame() bool { return c.order == allSame && c.len() > 0 }

// values yields all values.
func (c *column) values(yield func([]byte) bool) {
	for place := 1; place <= c.len(); place++ {
		if !yield(c.value(place)) {
			return
		}
	}
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
	asTime           // a JSON string that appendTime writes in the same way
	forms            // their number
)

// timeLayout is the form of times in events, with the quotes of JSON.
const timeLayout = `"2006-01-02T15:04:05.000000Z"`

// toNumber returns the number that a form stores for a value; false if it cannot.
func toNumber(form int, value []byte) (int64, bool) {
	var buffer [len(timeLayout)]byte
	switch form {
	case asInteger:
		if len(value) == 0 || len(value) > 20 {
			return 0, false
		}
		n, err := strconv.ParseInt(string(value), 10, 64)
		return n, err == nil && bytes.Equal(strconv.AppendInt(buffer[:0], n, 10), value)
	case asTime:
		if len(value) != len(timeLayout) || value[0] != '"' {
			return 0, false
		}
		micros := timeOf(value)
		return micros, bytes.Equal(appendTime(buffer[:0], micros), value)
	}
	return 0, false
}

// timeOf reads a text of timeLayout. It returns some number for another text.
func timeOf(value []byte) int64 {
	number := func(from, to int) (n int) {
		for _, digit := range value[from:to] {
			n = n*10 + int(digit-'0')
		}
		return n
	}
	return time.Date(number(1, 5), time.Month(number(6, 8)), number(9, 11), number(12, 14), number(15, 17), number(18, 20), number(21, 27)*1000, time.UTC).UnixMicro()
}

// appendTime appends a time in timeLayout. It is faster than time.Time.AppendFormat.
func appendTime(out []byte, micros int64) []byte {
	t := time.UnixMicro(micros).UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(out, timeLayout)
	}
	hour, minute, second := t.Clock()
	from := len(out)
	out = append(out, `"0000-00-00T00:00:00.000000Z"`...)
	digits := func(end, n int) {
		for ; n > 0; n /= 10 {
			end--
			out[from+end] = '0' + byte(n%10)
		}
	}
	digits(5, year)
	digits(8, int(month))
	digits(11, day)
	digits(14, hour)
	digits(17, minute)
	digits(20, second)
	digits(27, t.Nanosecond()/1000)
	return out
}

// bestForm returns the best form for all values.
func (c *column) bestForm() int {
	for _, form := range []int{asInteger, asTime} {
		fits := c.len() > 0
		for value := range c.values {
			if _, fits = toNumber(form, value); !fits {
				break
			}
		}
		if fits {
			return form
		}
	}
	for value := range c.values {
		if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return asBytes
		}
	}
	return asString
}

// The ways in which a column says which row has which value.
const (
	byRow   = iota // row i has the value at place i+1
	allSame        // every row has the last place, which is 0 if there is no value
	indexed        // row i has the value at place index[i]
	orders         // their number
)

// appendTo packs the column.
func (c *column) appendTo(out []byte) []byte {
	form := c.bestForm()
	out = append(out, byte(c.ref), byte(form), byte(c.order))
	out = binary.AppendUvarint(out, uint64(c.len()))
	switch form {
	case asInteger, asTime:
		last := int64(0)
		for value := range c.values {
			n, _ := toNumber(form, value)
			out = binary.AppendVarint(out, n-last) // may wrap, and wraps back
			last = n
		}
	default:
		quote := quotes(form)
		for value := range c.values {
			out = binary.AppendUvarint(out, uint64(len(value)-2*quote))
		}
		for value := range c.values {
			out = append(out, value[quote:len(value)-quote]...)
		}
	}
	if c.order == indexed {
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
	c.ref, c.form, c.order = refKind(r.byte()), int(r.byte()), int(r.byte())
	n := r.uvarint()
	if c.ref >= refKinds || c.form >= forms || c.order >= orders || n > uint64(rows) || c.order == byRow && n != uint64(rows) {
		r.fail()
		return emptyColumn
	}
	c.ends = r.memory.uint32s(int(n) + 1)
	c.ends[0] = 0
	switch c.form {
	case asInteger, asTime:
		c.text = r.memory.text(int(n) * numberLen[c.form])
		last := int64(0)
		for i := range n {
			last += r.varint()
			if c.form == asInteger {
				c.text = strconv.AppendInt(c.text, last, 10)
			} else {
				c.text = appendTime(c.text, last)
			}
			c.ends[i+1] = uint32(len(c.text))
		}
	default:
		c.text = r.texts(c.ends, quotes(c.form))
	}
	if c.order == indexed {
		c.index = r.index(rows, len(c.ends))
	}
	return c
}

// numberLen is about the longest text of a number in each form.
var numberLen = [forms]int{asInteger: 10, asTime: len(timeLayout)} //nolint:gochecknoglobals // a constant

// emptyColumn has no value for any row.
var emptyColumn = column{order: allSame, ends: make([]uint32, 1)} //nolint:gochecknoglobals // a constant

// texts reads texts and puts quotes around each. It returns them one after the other, and
// sets ends[1:] to the end of each.
func (r *reader) texts(ends []uint32, quotes int) []byte {
	total := uint64(0)
	for i := range ends[1:] {
		length := r.uvarint()
		if total += length; length > uint64(len(r.text)) || total > uint64(len(r.text)) {
			r.fail()
			return nil
		}
		ends[i+1] = uint32(total)
	}
	if total > uint64(len(r.text)) {
		r.fail()
		return nil
	}
	all := r.text[:total:total]
	r.text = r.text[total:]
	if quotes == 0 {
		return all
	}
	quoted := r.memory.text(int(total) + 2*(len(ends)-1))
	from := uint32(0)
	for i, end := range ends[1:] {
		quoted = append(append(append(quoted, '"'), all[from:end]...), '"')
		from, ends[i+1] = end, uint32(len(quoted))
	}
	return quoted
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
	c, values := &column{ends: []uint32{0}, order: indexed, index: b.index}, b.values
	switch {
	case len(values) > 1 && len(values) > len(b.index)/2 && !slices.Contains(b.index, 0):
		c.order, c.index = byRow, nil
		values = make([][]byte, len(b.index))
		for row, place := range b.index {
			values[row] = b.values[place-1]
		}
	case len(values) <= 1 && !slices.ContainsFunc(b.index, func(place uint32) bool { return int(place) != len(values) }):
		c.order, c.index = allSame, nil
	}
	for _, value := range values {
		c.add(value)
	}
	return c
}
