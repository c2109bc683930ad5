package jsonscan

// Index finds members of an object, as Find does, and reads the object only once.
type Index struct {
	rest     []byte // what is not read yet; it begins before a key or ends the object
	literals [][]byte
	values   [][]byte
}

// Reset makes the index that of another value. If that is no object, it has no members.
func (ix *Index) Reset(value []byte) {
	ix.literals, ix.values = ix.literals[:0], ix.values[:0]
	if ix.rest = trimLeft(value); len(ix.rest) > 0 && ix.rest[0] == '{' {
		ix.rest = trimLeft(ix.rest[1:])
	} else {
		ix.rest = nil
	}
}

// Find returns the raw value of a key, the first one of duplicates; nil if there is none.
func (ix *Index) Find(key string) []byte {
	for i, literal := range ix.literals {
		if literalIs(literal, key) {
			return ix.values[i]
		}
	}
	for len(ix.rest) > 0 && ix.rest[0] == '"' {
		n := stringLen(ix.rest)
		literal := ix.rest[:n]
		rest := trimLeft(ix.rest[n:])
		if len(rest) == 0 {
			ix.rest = nil
			return nil
		}
		value, after := split(trimLeft(rest[1:])) // past the colon
		if ix.rest = trimLeft(after); len(ix.rest) > 0 {
			ix.rest = trimLeft(ix.rest[1:]) // past the comma or the brace
		}
		ix.literals, ix.values = append(ix.literals, literal), append(ix.values, value)
		if literalIs(literal, key) {
			return value
		}
	}
	return nil
}
