package detect

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// TestSearcherFindsAll checks that the searcher finds every text that is there.
func TestSearcherFindsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("abcé/")), 1, 20, -1)
		texts := rapid.SliceOfN(word, 1, 20).Draw(t, "texts")
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abcABCéx/")), 0, 200, -1).Draw(t, "text") + rapid.SampledFrom(texts).Draw(t, "one of them")
		s := newSearcher(texts)
		found := map[int32]bool{}
		s.each(text, func(number int32) { found[number] = true })
		folded := strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, text)
		for i, wanted := range texts {
			if strings.Contains(folded, wanted) && !found[int32(i)] {
				t.Fatalf("%q is in %q, found %v", wanted, text, found)
			}
			if !strings.Contains(folded, tail(wanted)) && found[int32(i)] {
				t.Fatalf("%q is not in %q, found %v", wanted, text, found)
			}
		}
	})
}

// TestSearcherOfAllBytes checks texts with every byte.
func TestSearcherOfAllBytes(t *testing.T) {
	var texts []string
	for c := range 256 {
		if c < 'A' || c > 'Z' {
			texts = append(texts, "ab"+string([]byte{byte(c)}))
		}
	}
	s := newSearcher(texts)
	for i, text := range texts {
		var found []int32
		s.each("x"+text, func(number int32) { found = append(found, number) })
		if !slices.Contains(found, int32(i)) {
			t.Errorf("%q is not found: %v", text, found)
		}
	}
}

// TestCheapFirst checks that the order of tests follows their price, and that nothing is lost.
func TestCheapFirst(t *testing.T) {
	node, err := filter.ParseNode(`(data.a = 1 or type = x) and not (text or pid = 5) and target contains abc and type = y`)
	if err != nil {
		t.Fatal(err)
	}
	const want = `type = "y" and target like "*abc*" and (type = "x" or data.a = 1) and not (pid = 5 or "text")`
	if got := cheapFirst(node).String(); got != want {
		t.Errorf("the order is %s", got)
	}
}

// TestIndexByOperation checks that rules which name their types and operations are tried on
// no other events, however the rule and the event write them.
func TestIndexByOperation(t *testing.T) {
	node, err := filter.ParseNode(`type like File_Operation and (operation = OpenFile or operation like closefile)`)
	if err != nil {
		t.Fatal(err)
	}
	engine := New([]filter.Node{node})
	for operation, want := range map[string]int{"OpenFile": 1, "CloseFile": 1, "ReadFile": 0} {
		for _, eventType := range []string{"file_operation", "other"} {
			n := 0
			newFinder(engine.index).candidates(&models.Event{EventType: eventType, Operation: &operation}, func(int32) { n++ })
			if eventType == "other" {
				want = 0
			}
			if n != want {
				t.Errorf("%s %s: %d rules are tried, want %d", eventType, operation, n, want)
			}
		}
	}
}
