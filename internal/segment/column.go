package segment

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// column holds one value of each of some rows. values[0] is nil and stands for the row's
// own text in ref.
type column struct {
	ref    refKind
	form   int
	order  int
	values [][]byte
	index  []uint32 // by row, if the column is indexed
	text   []byte   // of all values, one after the other; only in an unpacked column
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
	indexed        // row i has values[index[i]]
	orders         // their number
)

// appendTo packs the column.
func (c *column) appendTo(out []byte) []byte {
	values := c.values[1:]
	form := formOf(values)
	out = append(out, byte(c.ref), byte(form), byte(c.order))
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
	c.values = make([][]byte, n+1)
	values := c.values[1:]
	switch c.form {
	case asInteger, asTime:
		c.text = make([]byte, 0, n*8)
		last := int64(0)
		for i := range values {
			last += r.varint()
			from := len(c.text)
			if c.form == asInteger {
				c.text = strconv.AppendInt(c.text, last, 10)
			} else {
				c.text = appendTime(c.text, last)
			}
			values[i] = c.text[from:len(c.text):len(c.text)]
		}
	default:
		c.text = r.texts(values, quotes(c.form))
	}
	if c.order == indexed {
		c.index = r.index(rows, len(c.values))
	}
	return c
}

// emptyColumn has no value for any row.
var emptyColumn = column{order: allSame, values: make([][]byte, 1)} //nolint:gochecknoglobals // a constant

// texts reads texts and puts quotes around each. It also returns all of them as one.
func (r *reader) texts(values [][]byte, quotes int) []byte {
	lengths := make([]int, len(values))
	total := 0
	for i := range lengths {
		length := r.uvarint()
		if length > uint64(len(r.text)) || total+int(length) > len(r.text) {
			r.fail()
			return nil
		}
		lengths[i] = int(length)
		total += int(length)
	}
	if total > len(r.text) {
		r.fail()
		return nil
	}
	all := r.text[:total:total]
	r.text = r.text[total:]
	if quotes == 0 {
		rest := all
		for i, length := range lengths {
			values[i], rest = rest[:length:length], rest[length:]
		}
		return all
	}
	quoted := make([]byte, 0, total+2*len(values))
	for i, length := range lengths {
		from := len(quoted)
		quoted = append(append(append(quoted, '"'), all[:length]...), '"')
		values[i] = quoted[from:len(quoted):len(quoted)]
		all = all[length:]
	}
	return quoted
}

// at returns the value of a row. It is nil for a row that refers to its own text.
func (c *column) at(row int) []byte {
	switch c.order {
	case byRow:
		return c.values[row+1]
	case allSame:
		return c.values[len(c.values)-1]
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
	c := &column{values: append([][]byte{nil}, b.values...), order: indexed, index: b.index}
	switch {
	case len(b.values) > 1 && len(b.values) > len(b.index)/2 && !slices.Contains(b.index, 0):
		c.values, c.order, c.index = c.values[:1:1], byRow, nil
		for _, place := range b.index {
			c.values = append(c.values, b.values[place-1])
		}
	case len(b.values) <= 1 && !slices.ContainsFunc(b.index, func(place uint32) bool { return int(place) != len(b.values) }):
		c.order, c.index = allSame, nil
	}
	return c
}
