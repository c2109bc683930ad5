package attack

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ospulse/internal/detect"
	"ospulse/internal/models"
	"ospulse/internal/rules"
	"ospulse/internal/sigma"
)

// TestData checks what the rest of the package takes for granted of enterprise.json, and the
// numbers of techniques that MITRE publishes for its version.
func TestData(t *testing.T) {
	tactics := map[string]bool{}
	for _, tactic := range known.Tactics {
		tactics[tactic.ShortName] = true
	}
	inUse, subs := 0, 0
	for _, e := range known.Techniques {
		if !regexp.MustCompile(`^T\d{4}(\.\d{3})?$`).MatchString(e.ID) || e.Name == "" {
			t.Errorf("%+v", e)
		}
		if got := technique(e.ID); got.State == Unknown || got.State == Current && len(got.Tactics) == 0 || known.byID[got.ID].RevokedBy != "" {
			t.Errorf("%s resolves to %+v", e.ID, got)
		}
		for _, tactic := range e.Tactics {
			if !tactics[tactic] {
				t.Errorf("%s has the unknown tactic %s", e.ID, tactic)
			}
		}
		if e.RevokedBy != "" || e.Deprecated {
			continue
		}
		inUse++
		if parent, _, isSub := strings.Cut(e.ID, "."); isSub {
			subs++
			if p := known.byID[parent]; p == nil || p.RevokedBy != "" || p.Deprecated {
				t.Errorf("%s has no parent in use", e.ID)
			}
		}
	}
	if known.Version != "19.2" || len(known.Tactics) != 15 || inUse-subs != 222 || subs != 475 || len(known.Techniques) != 858 {
		t.Errorf("version %s has %d tactics, %d techniques and %d sub-techniques in use, %d in all", known.Version, len(known.Tactics), inUse-subs, subs, len(known.Techniques))
	}
	for _, text := range []string{`"copyright": "Copyright 2015-2026, The MITRE Corporation.`, `"license": "The MITRE Corporation (MITRE) hereby grants you`, `"source": "MITRE ATT&CK Enterprise, https://`} {
		if !strings.Contains(string(enterprise), text) {
			t.Errorf("enterprise.json does not say %s", text)
		}
	}
}

func TestOf(t *testing.T) {
	for tags, want := range map[string]string{
		"attack.t1059.004":                      "T1059.004 Command and Scripting Interpreter: Unix Shell [execution] | execution",
		"attack.T1059 attack.execution":         "T1059 Command and Scripting Interpreter [execution] | execution",
		"attack.t1053.003":                      "T1053.003 Scheduled Task/Job: Cron [execution persistence privilege-escalation] | execution persistence privilege-escalation",
		"attack.t1053.003 attack.persistence":   "T1053.003 Scheduled Task/Job: Cron [persistence] | persistence",
		"attack.discovery attack.t1053.003":     "T1053.003 Scheduled Task/Job: Cron [execution persistence privilege-escalation] | execution persistence privilege-escalation discovery",
		"attack.privilege_escalation":           "| privilege-escalation",
		"attack.ta0011 ATTACK.TA0002":           "| execution command-and-control",
		"attack.defense-evasion":                "| stealth defense-impairment",
		"attack.defense_evasion attack.t1014":   "T1014 Rootkit [stealth] | stealth",
		"attack.defense-evasion attack.t1685":   "T1685 Disable or Modify Tools [defense-impairment] | defense-impairment",
		"attack.t1562.001":                      "T1685 Disable or Modify Tools (was T1562.001) [defense-impairment] | defense-impairment",
		"attack.t1562.001 attack.t1685":         "T1685 Disable or Modify Tools (was T1562.001) [defense-impairment] | defense-impairment",
		"attack.t1073":                          "T1574.001 Hijack Execution Flow: DLL (was T1073) [execution stealth] | execution stealth", // twice
		"attack.t1064 attack.execution":         "T1064 Scripting deprecated [execution] | execution",
		"attack.t9999 attack.impact":            "T9999  unknown [impact] | impact",
		"attack.t9999.001":                      "T9999.001  unknown [] |",
		"attack.t105 attack.g0016 attack.s0154": "|",
		"cve.2026.1 t1059 attack.":              "|",
		"":                                      "|",
	} {
		m := Of(strings.Fields(tags))
		var got []string
		for _, one := range m.Techniques {
			text := one.ID + " "
			if one.ParentID != "" {
				text += one.ParentName + ": "
			}
			text += one.Name
			if one.TaggedAs != "" {
				text += " (was " + one.TaggedAs + ")"
			}
			if one.State != Current {
				text += " " + string(one.State)
			}
			got = append(got, fmt.Sprint(text, " ", one.Tactics))
		}
		text := strings.TrimSpace(strings.TrimSpace(strings.Join(got, ", ")+" | ") + " " + strings.Join(m.Tactics, " "))
		if text != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tags, text, want)
		}
	}
}

func TestSameAs(t *testing.T) {
	for id, want := range map[string]string{
		"T1059":     "T1059 T1086 T1155", // PowerShell and AppleScript were techniques
		"T1059.004": "T1059.004",
		"T1685":     "T1685 T1054 T1070.001 T1070.002 T1089 T1562",
		"T1562":     "T1685 T1562 T1054 T1070.001 T1070.002 T1089",
		"T1562.012": "T1685.004 T1562.012",
		"T9999":     "T9999",
	} {
		if got := strings.Join(SameAs(id), " "); got != want {
			t.Errorf("%s is named %s, want %s", id, got, want)
		}
	}
	if got := WithCurrent([]string{"attack.t1562.001", "x", "attack.t1059"}); !slices.Equal(got, []string{"attack.t1562.001", "x", "attack.t1059", "attack.t1685"}) {
		t.Errorf("the tags are %q", got)
	}
}

// TestOwnRules checks that our rules name tactics and techniques of this version, and that
// each technique belongs to a tactic of its rule.
func TestOwnRules(t *testing.T) {
	all, _, err := detect.Load(rules.Files())
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, r := range all {
		var tactics []string
		for _, tag := range r.Tags {
			name := strings.TrimPrefix(tag, "attack.")
			isTactic := slices.ContainsFunc(known.Tactics, func(tactic Tactic) bool { return tactic.ShortName == name })
			switch e := known.byID[strings.ToUpper(name)]; {
			case isTactic:
				tactics = append(tactics, name)
			case e == nil:
				t.Errorf("%s: %s is unknown", r.Path, tag)
			case e.RevokedBy != "" || e.Deprecated:
				t.Errorf("%s: %s is out of use: %+v", r.Path, tag, *e)
			default:
				named++
			}
		}
		for _, one := range Of(r.Tags).Techniques {
			if r.Kind == sigma.Detection && !slices.ContainsFunc(one.Tactics, func(name string) bool { return slices.Contains(tactics, name) }) {
				t.Errorf("%s: %s is of %v, and the rule of %v", r.Path, one.ID, one.Tactics, tactics)
			}
		}
	}
	if named < 150 {
		t.Errorf("%d techniques are named", named)
	}
}

func found(level string, events int64, title string, tags ...string) models.Finding {
	return models.Finding{Level: level, Count: events, Title: title, Tags: tags}
}

var someFindings = []models.Finding{ //nolint:gochecknoglobals // a constant
	found("high", 3, "cron", "attack.persistence", "attack.t1053.003"),
	found("low", 4, "cron too", "attack.persistence", "attack.t1053.003", "attack.t1059.004", "attack.execution"),
	found("medium", 5, "tools off", "attack.defense-evasion", "attack.t1562.001"),
	found("informational", 6, "tactic only", "attack.discovery"),
	found("low", 7, "unknown", "attack.t9999"),
	found("critical", 8, "unknown with a tactic", "attack.t9998", "attack.impact"),
	found("high", 9, "no tags"),
}

func TestMatrix(t *testing.T) {
	m := NewMatrix(someFindings)
	var got []string
	show := func(c Cell) string {
		return fmt.Sprintf("%s %d %d %s %q", c.ID, c.Findings, c.Events, c.Level, c.Titles)
	}
	for i, column := range m.Tactics {
		if column.Tactic != known.Tactics[i] {
			t.Fatalf("tactic %d is %s", i, column.ShortName)
		}
		if column.Findings == 0 && column.Events == 0 && column.Level == "" && len(column.Techniques) == 0 {
			continue
		}
		got = append(got, fmt.Sprintf("%s: %d %d %s", column.ShortName, column.Findings, column.Events, column.Level))
		for _, c := range column.Techniques {
			got = append(got, show(c))
		}
	}
	for _, c := range m.Unplaced {
		got = append(got, "unplaced: "+show(c))
	}
	want := []string{
		"execution: 1 4 low", `T1059.004 1 4 low ["cron too"]`, // the tag of the rule is for both techniques
		"persistence: 2 7 high", `T1053.003 2 7 high ["cron" "cron too"]`,
		"defense-impairment: 1 5 medium", `T1685 1 5 medium ["tools off"]`,
		"discovery: 1 6 informational",
		"impact: 1 8 critical", `T9998 1 8 critical ["unknown with a tactic"]`,
		`unplaced: T9999 1 7 low ["unknown"]`,
	}
	if i := slices.Index(got, `T1053.003 1 4 low ["cron too"]`); i >= 0 {
		got = slices.Delete(got, i, i+1) // cron is of execution too, which the second rule names
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	tried := []models.Finding{found("high", 2, "tried", "attack.t9999"), found("high", 3, "read", "attack.t9999")}
	tried[0].Failed, tried[1].Failed = 2, 1
	if got := NewMatrix(tried).Unplaced[0].Titles; !slices.Equal(got, []string{"tried (attempt failed)", "read (1 of 3 failed)"}) {
		t.Errorf("of events that failed: %q", got)
	}
	if empty := NewMatrix(nil); len(empty.Tactics) != 15 || empty.Unplaced != nil {
		t.Errorf("without findings: %+v", empty)
	}
}

// TestLayer checks a layer against the description of the format: all members are among
// those of the format, required ones are there, and numbers and colors are in range.
func TestLayer(t *testing.T) {
	m := NewMatrix(someFindings)
	text, err := json.Marshal(m.Layer("a name", "A description."))
	if err != nil {
		t.Fatal(err)
	}
	var layer struct {
		Name, Domain, Description string
		Versions                  struct{ Attack, Navigator, Layer string }
		Techniques                []struct {
			TechniqueID, Tactic, Comment string
			Score                        int
			Enabled                      bool
			Metadata                     []struct{ Name, Value string }
		}
		Gradient struct {
			Colors             []string
			MinValue, MaxValue int
		}
		LegendItems []struct{ Label, Color string }
		Layout      struct{ Layout, ExpandedSubtechniques string }
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &layer); err != nil {
		t.Fatal(err)
	}
	format := strings.Fields("versions name description domain customDataURL filters sorting layout hideDisabled techniques gradient legendItems showTacticRowBackground tacticRowBackground selectTechniquesAcrossTactics selectSubtechniquesWithParent selectVisibleTechniques metadata links")
	for member := range members {
		if !slices.Contains(format, member) {
			t.Errorf("the format has no %s", member)
		}
	}
	if layer.Name != "a name" || layer.Domain != "enterprise-attack" || layer.Versions.Layer != "4.5" || layer.Versions.Navigator < "4.9.0" || layer.Versions.Attack != "19" {
		t.Errorf("%+v", layer)
	}
	if want := "A description. Not in the matrix of ATT&CK 19.2: T9998, T9999."; layer.Description != want {
		t.Errorf("the description is %q", layer.Description)
	}
	color := regexp.MustCompile(`^#[0-9a-f]{6}$`)
	for _, c := range layer.Gradient.Colors {
		if !color.MatchString(c) {
			t.Errorf("color %s", c)
		}
	}
	if len(layer.Gradient.Colors) != 5 || layer.Gradient.MinValue != 1 || layer.Gradient.MaxValue != 5 || len(layer.LegendItems) != 5 || layer.LegendItems[4].Label != "Level critical" {
		t.Errorf("%+v %+v", layer.Gradient, layer.LegendItems)
	}
	var got []string
	for _, one := range layer.Techniques {
		got = append(got, fmt.Sprintf("%s %s %d %q %v %v", one.TechniqueID, one.Tactic, one.Score, one.Comment, one.Enabled, one.Metadata))
	}
	want := []string{
		`T1053.003 execution 2 "cron too" true [{Findings 1} {Events 4} {Highest level low}]`,
		`T1059.004 execution 2 "cron too" true [{Findings 1} {Events 4} {Highest level low}]`,
		`T1053.003 persistence 4 "cron\ncron too" true [{Findings 2} {Events 7} {Highest level high}]`,
		`T1685 defense-impairment 3 "tools off" true [{Findings 1} {Events 5} {Highest level medium}]`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
