package detect

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is derived from a regular expression.
const (
	maxWhole   = 32 // texts that a part may stand for
	maxClass   = 16 // characters of a class that count as texts
	maxChoices = 64 // texts of which one is needed
)

// textsOf returns lower-case texts of which every match of a regular expression contains
// one, ignoring the case of A to Z; nil if there are none of leastNeed bytes. The method is
// that of R. Cox, "Regular Expression Matching with a Trigram Index", 2012.
func textsOf(expression string) []string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil
	}
	whole, some := literals(re.Simplify())
	return better(some, whole)
}

// literals returns all texts that a part of an expression stands for, if they are few, and
// otherwise texts of which one is in each match. Both are nil if unknown.
func literals(re *syntax.Regexp) (whole, some []string) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return []string{""}, nil
	case syntax.OpLiteral:
		return concat(len(re.Rune), func(i int) ([]string, []string) {
			return characters(re.Rune[i], re.Rune[i], re.Flags&syntax.FoldCase != 0), nil
		})
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			found := characters(re.Rune[i], re.Rune[i+1], false)
			if whole = append(whole, found...); found == nil || len(whole) > maxClass {
				return nil, nil
			}
		}
		return unique(whole), nil
	case syntax.OpCapture:
		return literals(re.Sub[0])
	case syntax.OpQuest:
		if whole, _ = literals(re.Sub[0]); whole != nil {
			whole = unique(append(slices.Clone(whole), ""))
		}
		return whole, nil
	case syntax.OpPlus:
		whole, some = literals(re.Sub[0])
		return nil, better(some, whole)
	case syntax.OpConcat:
		return concat(len(re.Sub), func(i int) ([]string, []string) { return literals(re.Sub[i]) })
	case syntax.OpAlternate:
		return alternate(re.Sub)
	}
	return nil, nil
}

// concat returns the literals of parts that follow each other.
func concat(parts int, literalsOf func(part int) (whole, some []string)) (whole, some []string) {
	run := []string{""} // what the parts since the last unknown one stand for
	isWhole := true
	for i := range parts {
		next, inside := literalsOf(i)
		some = better(better(some, run), better(inside, next))
		switch {
		case next == nil:
			run, isWhole = []string{""}, false
		case len(run)*len(next) > maxWhole:
			run, isWhole = next, false
		default:
			run = product(run, next)
		}
	}
	some = better(some, run)
	if !isWhole {
		run = nil
	}
	return run, some
}

func alternate(parts []*syntax.Regexp) (whole, some []string) {
	isWhole, isSome := true, true
	for _, part := range parts {
		all, one := literals(part)
		if isWhole = isWhole && all != nil && len(whole)+len(all) <= maxWhole; isWhole {
			whole = append(whole, all...)
		}
		one = better(one, all)
		if isSome = isSome && one != nil && len(some)+len(one) <= maxChoices; isSome {
			some = append(some, one...)
		}
	}
	if !isWhole {
		whole = nil
	}
	if !isSome {
		some = nil
	}
	return unique(whole), unique(some)
}

// characters returns the lower-case texts of a range of characters, nil if they are many, or
// if a text may have the character in another form than these.
func characters(from, to rune, isFolded bool) (texts []string) {
	if to-from >= maxClass || to >= utf8.RuneSelf && (isFolded || from <= utf8.RuneError && to >= utf8.RuneError) {
		return nil // a byte that is not UTF-8 matches U+FFFD
	}
	for r := from; r <= to; r++ {
		for other := unicode.SimpleFold(r); isFolded && other != r; other = unicode.SimpleFold(other) {
			if other >= utf8.RuneSelf {
				return nil // such as the Kelvin sign, which equals a k
			}
		}
		texts = append(texts, strings.ToLower(string(r)))
		if r >= utf8.RuneSelf {
			texts[len(texts)-1] = string(r)
		}
	}
	return unique(texts)
}

func product(firsts, seconds []string) (all []string) {
	for _, first := range firsts {
		for _, second := range seconds {
			all = append(all, first+second)
		}
	}
	return unique(all)
}

// better returns the texts that fewer events contain. Texts of which one is too short are
// of no use.
func better(a, b []string) []string {
	if isShort := func(text string) bool { return len(text) < leastNeed }; slices.ContainsFunc(b, isShort) {
		b = nil
	}
	if a == nil || b != nil && common(b) < common(a) {
		return b
	}
	return a
}

// unique sorts texts and removes duplicates; it keeps nil.
func unique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}
