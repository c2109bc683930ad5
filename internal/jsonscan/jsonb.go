package jsonscan

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// JSONB returns, for a value that Check accepts as not lossless, the nearest value that
// jsonb accepts: \u0000 and lone surrogates become U+FFFD, the last one of duplicate
// keys stays, numbers out of bounds become strings of their digits, and too deep values
// become null. The result is for searches; the caller must keep the original text too.
// The cost is linear.
func JSONB(value []byte) []byte {
	r := rewriter{scanner: scanner{text: value}, out: make([]byte, 0, len(value))}
	r.space()
	if err := r.rewrite(0); err != nil {
		return []byte("null")
	}
	r.blankDropped()
	return r.out
}

// rewriter scans a value and copies it to out.
type rewriter struct {
	scanner
	out     []byte
	dropped [][2]int // spans of out: members replaced by later ones with the same key
}

// blankDropped turns the dropped members into white space. One may lie in
// another; each byte is written once.
func (r *rewriter) blankDropped() {
	slices.SortFunc(r.dropped, func(a, b [2]int) int { return a[0] - b[0] })
	done := 0
	for _, span := range r.dropped {
		for i := max(done, span[0]); i < span[1]; i++ {
			r.out[i] = ' '
		}
		done = max(done, span[1])
	}
}

func (r *rewriter) rewrite(depth int) error {
	start := r.pos
	switch kind := r.next(); {
	case (kind == '{' || kind == '[') && depth >= maxJSONBDepth:
		r.out = append(r.out, "null"...)
		return r.value(depth)
	case kind == '{':
		return r.rewriteObject(depth + 1)
	case kind == '[':
		return r.rewriteArray(depth + 1)
	case kind == '"':
		_, err := r.rewriteString()
		return err
	}
	if err := r.value(depth); err != nil {
		return err
	}
	scalar := r.text[start:r.pos]
	if (scalar[0] == '-' || isDigit(scalar[0])) && !jsonbNumber(scalar) {
		r.out = append(append(append(r.out, '"'), scalar...), '"')
	} else {
		r.out = append(r.out, scalar...)
	}
	return nil
}

func (r *rewriter) rewriteString() (string, error) {
	start := r.pos
	if _, err := r.str(); err != nil {
		return "", err
	}
	s := strings.ReplaceAll(Unquote(r.text[start:r.pos]), "\x00", string(utf8.RuneError))
	text, err := json.Marshal(s)
	r.out = append(r.out, text...)
	return s, err
}

func (r *rewriter) rewriteArray(depth int) error {
	for closer := byte(']'); ; {
		r.out = append(r.out, r.next()) // [ or ,
		r.pos++
		r.space()
		if r.next() == closer {
			break
		}
		closer = 0 // only an empty array closes right after a bracket
		if err := r.rewrite(depth); err != nil {
			return err
		}
		if r.space(); r.next() == ']' {
			break
		}
	}
	r.pos++
	r.out = append(r.out, ']')
	return nil
}

func (r *rewriter) rewriteObject(depth int) error {
	places := map[string][2]int{} // span of each key's member in out, with its comma
	for closer := byte('}'); ; {
		r.out = append(r.out, r.next()) // { or ,
		r.pos++
		r.space()
		if r.next() == closer {
			break
		}
		closer = 0
		start := len(r.out)
		key, err := r.rewriteString()
		if err != nil {
			return err
		}
		r.space()
		r.out = append(r.out, ':')
		r.pos++
		r.space()
		if err := r.rewrite(depth); err != nil {
			return err
		}
		if earlier, ok := places[key]; ok {
			r.dropped = append(r.dropped, earlier)
		}
		places[key] = [2]int{start, len(r.out) + 1}
		if r.space(); r.next() == '}' {
			break
		}
	}
	r.pos++
	r.out = append(r.out, '}')
	return nil
}
