package detect

import (
	"slices"

	"ospulse/internal/filter"
)

// cheapFirst returns the same condition, in which cheap tests come before dear ones: most
// events fail one of the cheap tests.
func cheapFirst(n filter.Node) filter.Node {
	sorted := func(nodes []filter.Node) []filter.Node {
		all := make([]filter.Node, len(nodes))
		for i, node := range nodes {
			all[i] = cheapFirst(node)
		}
		slices.SortStableFunc(all, func(a, b filter.Node) int { return price(a) - price(b) })
		return all
	}
	switch n := n.(type) {
	case filter.And:
		return filter.And(sorted(n))
	case filter.Or:
		return filter.Or(sorted(n))
	case filter.Not:
		return filter.Not{Node: cheapFirst(n.Node)}
	}
	return n
}

// price estimates the time that a condition takes.
func price(n filter.Node) (sum int) {
	const equals, search, inData, regularExpression, anywhere = 1, 4, 20, 40, 200
	of := func(field filter.Field, columnPrice int) int {
		if field.Column == filter.Data {
			return inData
		}
		return columnPrice
	}
	all := func(nodes []filter.Node) (sum int) {
		for _, node := range nodes {
			sum += price(node)
		}
		return sum
	}
	switch n := n.(type) {
	case filter.And:
		return all(n)
	case filter.Or:
		return all(n)
	case filter.Not:
		return price(n.Node)
	case filter.Exists:
		return of(n.Field, equals)
	case filter.In:
		return of(n.Field, equals)
	case filter.Order:
		return of(n.Field, equals)
	case filter.Like:
		return of(n.Field, search)
	case filter.Within:
		return of(n.Field, search)
	case filter.Same:
		return of(n.Field, search) + of(n.Other, search)
	case filter.Regexp:
		return of(n.Field, search) + regularExpression
	}
	return anywhere
}
