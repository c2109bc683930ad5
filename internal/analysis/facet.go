package analysis

import (
	"cmp"
	"slices"
	"strconv"

	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// Facet counts the values of a field.
type Facet struct {
	Field  string
	Values []FacetValue // the most frequent ones first
	Others int64        // events with other values
	None   int64        // events without a value

	counts map[string]int64
}

// FacetValue is a value and the number of events that have it.
type FacetValue struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
}

// maxFacetValues bounds how many different values are counted. Events with further
// values count as Others.
const maxFacetValues = 200_000

// NewFacet returns a facet of a field, one of FacetFields.
func NewFacet(field string) *Facet {
	return &Facet{Field: field, counts: map[string]int64{}}
}

// Add counts the selected events.
func (f *Facet) Add(c *segment.Columns, selected func(i int) bool) {
	v := facetFields[f.Field](c)
	here := make([]int64, len(v.texts))
	for i, place := range v.index {
		if selected(i) {
			here[place]++
		}
	}
	for place, n := range here {
		text := v.texts[place]
		if _, known := f.counts[text]; n > 0 && !known && len(f.counts) >= maxFacetValues {
			f.Others += n
		} else if n > 0 {
			f.counts[text] += n
		}
	}
}

// Close ends the counting and sets Values, at most limit of them, and None.
func (f *Facet) Close(limit int) {
	f.None = f.counts[""]
	delete(f.counts, "")
	for value, n := range f.counts {
		f.Values = append(f.Values, FacetValue{Value: value, Count: n})
	}
	slices.SortFunc(f.Values, func(a, b FacetValue) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	if len(f.Values) > limit {
		for _, v := range f.Values[limit:] {
			f.Others += v.Count
		}
		f.Values = f.Values[:limit]
	}
	f.counts = nil
}

// facetFields maps each field of a facet to the function that reads its values.
var facetFields = map[string]func(*segment.Columns) values{ //nolint:gochecknoglobals // a constant
	"type":      func(c *segment.Columns) values { return valuesOf(&c.Type) },
	"source":    func(c *segment.Columns) values { return valuesOf(&c.Source) },
	"operation": func(c *segment.Columns) values { return valuesOf(&c.Operation) },
	"process":   func(c *segment.Columns) values { return valuesOf(&c.Process) },
	"target":    func(c *segment.Columns) values { return valuesOf(&c.Target) },
	"host":      func(c *segment.Columns) values { return valuesOfTargets(c, models.TargetHost) },
	"extension": func(c *segment.Columns) values { return valuesOfTargets(c, models.TargetExtension) },
	"pid": func(c *segment.Columns) values {
		v := values{texts: make([]string, len(c.PID.Values)), index: c.PID.Index}
		for i, pid := range c.PID.Values[1:] {
			v.texts[i+1] = strconv.FormatInt(*pid, 10)
		}
		return v
	},
}

// values are the values of a field: event i has texts[index[i]], or "" if it has no
// value.
type values struct {
	texts []string
	index []uint32
}

func valuesOf(column *segment.Texts) values {
	v := values{texts: make([]string, len(column.Values)), index: column.Index}
	for i, text := range column.Values[1:] {
		v.texts[i+1] = *text
	}
	return v
}

// valuesOfTargets returns of(type, target) of each event. It calls of once for each pair.
func valuesOfTargets(c *segment.Columns, of func(eventType, target string) string) values {
	v := values{texts: []string{""}, index: make([]uint32, c.Len())}
	known := map[[2]uint32]uint32{}
	for i, target := range c.Target.Index {
		if target == 0 {
			continue
		}
		pair := [2]uint32{c.Type.Index[i], target}
		place, ok := known[pair]
		if !ok {
			place = uint32(len(v.texts))
			v.texts = append(v.texts, of(*c.Type.Values[pair[0]], *c.Target.Values[pair[1]]))
			known[pair] = place
		}
		v.index[i] = place
	}
	return v
}

// FacetFields returns the names of the fields that a facet can have, sorted.
func FacetFields() []string {
	fields := make([]string, 0, len(facetFields))
	for field := range facetFields {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	return fields
}
