package sigma_test

import (
	"slices"
	"strings"
	"testing"

	"ospulse/internal/sigma"
)

// TestExpand checks what placeholders match, and what a rule needs if one has no values.
func TestExpand(t *testing.T) {
	values, err := sigma.ReadPlaceholders([]byte("admins: [root, 'adm*', 17]\nfolder: /tmp\nnetworks: [10.0.0.0/8, 'fc00::/7']\nmost: 5\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		item, value string // of data.x, as JSON
		want        bool
		needs       string
	}{
		{`data.x|expand: '%admins%'`, `"root"`, true, ""},
		{`data.x|expand: '%admins%'`, `"administrator"`, true, ""},
		{`data.x|expand: '%admins%'`, `17`, true, ""},
		{`data.x|expand: '%admins%'`, `"%admins%"`, false, ""},
		{`data.x: '%admins%'`, `"root"`, false, ""},
		{`data.x: '%admins%'`, `"%admins%"`, true, ""},
		{`data.x|expand|endswith: '%folder%/%admins%'`, `"/x/tmp/root"`, true, ""},
		{`data.x|contains|expand: [a, '%folder%']`, `"x/tmp/y"`, true, ""},
		{`data.x|contains|all|expand: '%admins%'`, `"root adm 17"`, true, ""},
		{`data.x|contains|all|expand: '%admins%'`, `"root adm"`, false, ""},
		{`data.x|expand|neq: '%admins%'`, `"root"`, false, ""},
		{`data.x|base64|expand: '%folder%'`, `"L3RtcA=="`, true, ""},
		{`data.x|cidr|expand: '%networks%'`, `"10.1.2.3"`, true, ""},
		{`data.x|re|expand: '^%folder%/[a-z]$'`, `"/tmp/a"`, true, ""},
		{`data.x|gt|expand: '%most%'`, `6`, true, ""},
		{`data.x|expand: ['%none%', a]`, `"a"`, true, "the values of %none%"},
		{`data.x|cidr|expand: ['%none%', '%networks%']`, `"10.1.2.3"`, true, "the values of %none%"},
		{`data.x|expand: '%none%'`, "", false, "the values of %none%"},
		{`data.x|cidr|expand: '%none%'`, "", false, "the values of %none%"},
		{`data.x|all|expand: ['%none%', a]`, "", false, "the values of %none%"},
		{`data.x|expand: '%folder%/%none%'`, "", false, "the values of %none%"},
	} {
		r, err := values.Parse([]byte(rule(all, "s: {"+tt.item+"}")))
		if err != nil {
			t.Fatal(tt.item, err)
		}
		compiled, err := r.Compile()
		if err != nil {
			t.Fatal(tt.item, err)
		}
		if needs := strings.Join(compiled.Needs, ", "); needs != tt.needs || compiled.CanRun() != (tt.value != "") {
			t.Errorf("%s needs %q, and runs: %t", tt.item, needs, compiled.CanRun())
			continue
		}
		if compiled.CanRun() && compiled.Where.Match(received(t, event("other", `"operation":"x","x":`+tt.value))) != tt.want {
			t.Errorf("%s of %s is not %t", tt.item, tt.value, tt.want)
		}
	}
}

// TestExpanded checks that a rule with other values is another rule, and that values which no
// placeholder of the rule has do not matter.
func TestExpanded(t *testing.T) {
	var all []string
	for _, text := range []string{"", "a: x", "a: [x, y]", "a: x\nb: z", "a: '1'", "a: 1"} {
		values, err := sigma.ReadPlaceholders([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		r, err := values.Parse([]byte(rule(linux, "s: {Image|expand: '%a%'}")))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Expanded)
	}
	if all[1] != all[3] {
		t.Errorf("%q and %q differ", all[1], all[3])
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 5 {
		t.Errorf("some are equal: %q", all)
	}
}

// TestPlaceholderFaults checks that broken placeholders and rules that grow without bounds are
// refused.
func TestPlaceholderFaults(t *testing.T) {
	for text, want := range map[string]string{
		"a: [":             "line 1",
		"- a":              "line 1: placeholders are a map",
		"a: x\n'a b': x":   "line 2: a b is no name",
		"a: {b: c}":        "line 1: a value of a is not a text",
		"a: [b, [c]]":      "a value of a is not a text",
		"a: null":          "a value of a is not a text",
		"a: '%b%'":         "has a placeholder",
		"a: x\na: y":       "a is written twice",
		"a: x\n---\nb: y":  "a second YAML document",
		"vars:\n  a: [x]":  "line 2: a value of vars is not a text",
		"a: x\nb: [x, {}]": "line 2: a value of b",
	} {
		if _, err := sigma.ReadPlaceholders([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	values, err := sigma.ReadPlaceholders([]byte("a: [" + strings.Repeat("x,", 5000) + "]\nlong: " + strings.Repeat("x", 200<<10)))
	if err != nil {
		t.Fatal(err)
	}
	for item, want := range map[string]string{
		"Image|expand: '%a%%a%%a%%a%'":                          "longer than 1048576 bytes",
		"Image|expand: '" + strings.Repeat("%long%", 100) + "'": "longer than 1048576 bytes",
		"Image|expand: [a, '%a%']":                              "more than 5000 values",
		"Image|expand: {a: '%a%'}":                              "is not a text",
		"Image|expand: []":                                      "has no values",
		"Image|expand|lt: '%a%'":                                "takes numbers",
		"Image|expand|cidr: '%a%'":                              "takes networks",
	} {
		if _, err := values.Parse([]byte(rule(linux, "s: {"+item+"}"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", item, err, want)
		}
	}
}
