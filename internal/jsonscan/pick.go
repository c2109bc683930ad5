package jsonscan

// Tree is a set of places in a JSON value: keys of objects, elements of arrays, and
// places in these. Pick finds all of them in one pass. The zero value is empty.
type Tree struct {
	branches []branch
	wanted   []int
}

// branch leads to a key of an object or, if index is not negative, to an element of
// an array.
type branch struct {
	key   string
	index int
	tree  *Tree
}

// Key returns the place of a key of the object at this place.
func (t *Tree) Key(key string) *Tree { return t.branch(key, -1) }

// Element returns the place of an element, counted from 0, of the array at this place.
func (t *Tree) Element(index int) *Tree { return t.branch("", index) }

func (t *Tree) branch(key string, index int) *Tree {
	for _, b := range t.branches {
		if b.key == key && b.index == index {
			return b.tree
		}
	}
	tree := new(Tree)
	t.branches = append(t.branches, branch{key, index, tree})
	return tree
}

// Want makes Pick store the value at this place under a number.
func (t *Tree) Want(number int) { t.wanted = append(t.wanted, number) }

// Pick sets the wanted values to the raw text at their places, and leaves values
// without one unchanged. The last one of duplicate keys counts. The cost is one walk
// over the text, for any number of places.
func (t *Tree) Pick(text []byte, values [][]byte) { t.pick(trimLeft(text), values) }

// pick reads the value at the beginning of text and returns the rest.
func (t *Tree) pick(text []byte, values [][]byte) (rest []byte) {
	switch {
	case len(text) == 0:
		return nil
	case len(t.branches) > 0 && text[0] == '{':
		rest = t.pickMembers(text, values)
	case len(t.branches) > 0 && text[0] == '[':
		rest = t.pickElements(text, values)
	default:
		_, rest = split(text)
	}
	for _, number := range t.wanted {
		values[number] = text[:len(text)-len(rest)]
	}
	return rest
}

func (t *Tree) pickMembers(object []byte, values [][]byte) []byte {
	rest := trimLeft(object[1:])
	for len(rest) > 0 && rest[0] == '"' {
		n := stringLen(rest)
		literal := rest[:n]
		if rest = trimLeft(rest[n:]); len(rest) == 0 {
			return nil
		}
		rest = trimLeft(rest[1:]) // past the colon
		if next := t.ofKey(literal); next != nil {
			next.forget(values)
			rest = next.pick(rest, values)
		} else {
			_, rest = split(rest)
		}
		if rest = trimLeft(rest); len(rest) > 0 && rest[0] == ',' {
			rest = trimLeft(rest[1:])
		}
	}
	return rest[min(1, len(rest)):] // past the brace
}

func (t *Tree) pickElements(array []byte, values [][]byte) []byte {
	rest := trimLeft(array[1:])
	for index := 0; len(rest) > 0 && rest[0] != ']'; index++ {
		before := len(rest)
		if next := t.ofElement(index); next != nil {
			rest = next.pick(rest, values)
		} else {
			_, rest = split(rest)
		}
		if rest = trimLeft(rest); len(rest) > 0 && rest[0] == ',' {
			rest = trimLeft(rest[1:])
		}
		if len(rest) == before { // not JSON
			return nil
		}
	}
	return rest[min(1, len(rest)):] // past the bracket
}

func (t *Tree) ofKey(literal []byte) *Tree {
	for i := range t.branches {
		if b := &t.branches[i]; b.index < 0 && literalIs(literal, b.key) {
			return b.tree
		}
	}
	return nil
}

func (t *Tree) ofElement(index int) *Tree {
	for i := range t.branches {
		if b := &t.branches[i]; b.index == index {
			return b.tree
		}
	}
	return nil
}

// forget removes the values that were found for an earlier duplicate of a key.
func (t *Tree) forget(values [][]byte) {
	for _, number := range t.wanted {
		values[number] = nil
	}
	for _, b := range t.branches {
		b.tree.forget(values)
	}
}
