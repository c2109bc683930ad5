package jsonscan

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
)

// Integer returns the value of a whole JSON number, however it is written: 4, 4.0
// and 4e0 are the same. It also reads a string of decimal digits. ok is false for
// any other value, and for a number that an int64 cannot hold.
func Integer(value []byte) (n int64, ok bool) {
	switch kind := Kind(value); {
	case kind == '"':
		n, err := strconv.ParseInt(strings.TrimSpace(Unquote(value)), 10, 64)
		return n, err == nil
	case kind != '-' && (kind < '0' || kind > '9'):
		return 0, false
	}
	value = bytes.TrimSpace(value)
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return n, true
	}
	d := parseDecimal(value)
	if d.take == 0 {
		return 0, true
	}
	if d.exponent < d.take || d.exponent > len("9223372036854775807") {
		return 0, false
	}
	digits := make([]byte, 0, 20)
	if d.negative {
		digits = append(digits, '-')
	}
	for i := range d.exponent {
		if i < d.take {
			digits = append(digits, d.digit(d.skip+i))
		} else {
			digits = append(digits, '0')
		}
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return n, err == nil
}

// decimal is a JSON number in parts: its value is 0.DIGITS × 10^exponent, with no
// zero at either end of the digits; zero has no digits.
type decimal struct {
	negative   bool
	whole      []byte // digits before the point
	fraction   []byte // digits after the point
	written    int    // the exponent as written
	exponent   int
	skip, take int // of whole and fraction together: the significant digits
}

func parseDecimal(number []byte) (d decimal) {
	if len(number) > 0 && number[0] == '-' {
		d.negative = true
		number = number[1:]
	}
	mantissa := number
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa = number[:i]
		d.written = smallInt(number[i+1:])
	}
	d.whole = mantissa
	if i := bytes.IndexByte(mantissa, '.'); i >= 0 {
		d.whole, d.fraction = mantissa[:i], mantissa[i+1:]
	}
	n := len(d.whole) + len(d.fraction)
	for d.skip < n && d.digit(d.skip) == '0' {
		d.skip++
	}
	for d.take = n - d.skip; d.take > 0 && d.digit(d.skip+d.take-1) == '0'; {
		d.take--
	}
	d.exponent = len(d.whole) - d.skip + d.written
	if d.take == 0 {
		d.negative, d.exponent = false, 0
	}
	return d
}

// digit returns a digit of whole and fraction together.
func (d *decimal) digit(i int) byte {
	if i < len(d.whole) {
		return d.whole[i]
	}
	return d.fraction[i-len(d.whole)]
}

// smallInt reads an exponent; values beyond a million are equivalent.
func smallInt(text []byte) int {
	n, negative := 0, false
	for i, c := range text {
		switch {
		case i == 0 && (c == '-' || c == '+'):
			negative = c == '-'
		case n < 1_000_000:
			n = n*10 + int(c-'0')
		}
	}
	if negative {
		return -n
	}
	return n
}

// CompareNumbers compares the exact values of two JSON numbers, like cmp.Compare.
func CompareNumbers(a, b []byte) int {
	x, y := parseDecimal(a), parseDecimal(b)
	switch {
	case x.sign() != y.sign():
		return cmp.Compare(x.sign(), y.sign())
	case x.negative:
		return y.compare(&x)
	default:
		return x.compare(&y)
	}
}

func (d *decimal) sign() int {
	switch {
	case d.negative:
		return -1
	case d.take == 0:
		return 0
	}
	return 1
}

// compare compares the absolute values.
func (d *decimal) compare(other *decimal) int {
	if d.exponent != other.exponent {
		return cmp.Compare(d.exponent, other.exponent)
	}
	for i := range min(d.take, other.take) {
		if a, b := d.digit(d.skip+i), other.digit(other.skip+i); a != b {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(d.take, other.take)
}

// AppendNumber appends a JSON number without an exponent, like PostgreSQL: it keeps the
// digits, with trailing zeros of the fraction, and moves the point. A number that jsonb
// cannot store is appended unchanged.
func AppendNumber(out, number []byte) []byte {
	if !bytes.ContainsAny(number, "eE") || !jsonbNumber(number) {
		return append(out, number...)
	}
	d := parseDecimal(number)
	if d.negative {
		out = append(out, '-')
	}
	n := len(d.whole) + len(d.fraction)
	point := len(d.whole) + d.written // new place of the point, in digits from the left
	start := point - 1                // at least one digit before the point
	if d.take > 0 {
		start = min(start, d.skip)
	}
	for i := start; i < point; i++ {
		out = append(out, d.at(i, n))
	}
	if point < n {
		out = append(out, '.')
	}
	for i := point; i < n; i++ {
		out = append(out, d.at(i, n))
	}
	return out
}

// at returns the digit at a place, which may be outside of the written ones.
func (d *decimal) at(i, n int) byte {
	if i < 0 || i >= n {
		return '0'
	}
	return d.digit(i)
}
