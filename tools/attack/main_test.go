package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// bundle returns a STIX bundle with two tactics, in another order than their IDs, and a
// technique with a sub-technique. change may replace or remove an object, by its ID.
func bundle(t *testing.T, change map[string]string) string {
	t.Helper()
	objects := map[string]string{
		"c":  `{"type":"x-mitre-collection","id":"c","name":"Enterprise ATT&CK","x_mitre_version":"99.1"}`,
		"m":  `{"type":"marking-definition","id":"m","definition":{"statement":"Copyright MITRE & others"}}`,
		"x":  `{"type":"x-mitre-matrix","id":"x","tactic_refs":["t2","t1"]}`,
		"t1": `{"type":"x-mitre-tactic","id":"t1","name":"One","x_mitre_shortname":"one","external_references":[{"source_name":"mitre-attack","external_id":"TA0001"}]}`,
		"t2": `{"type":"x-mitre-tactic","id":"t2","name":"Two","x_mitre_shortname":"two","external_references":[{"source_name":"mitre-attack","external_id":"TA0002"}]}`,
		"p1": `{"type":"attack-pattern","id":"p1","name":"First","description":"left out","external_references":[{"source_name":"capec","external_id":"CAPEC-1"},{"source_name":"mitre-attack","external_id":"T0002"}],"kill_chain_phases":[{"kill_chain_name":"mitre-attack","phase_name":"one"},{"kill_chain_name":"other","phase_name":"one"},{"kill_chain_name":"mitre-attack","phase_name":"two"}]}`,
		"p2": `{"type":"attack-pattern","id":"p2","name":"Sub <&>","external_references":[{"source_name":"mitre-attack","external_id":"T0002.001"}],"kill_chain_phases":[{"kill_chain_name":"mitre-attack","phase_name":"one"}]}`,
		"p3": `{"type":"attack-pattern","id":"p3","name":"Old","revoked":true,"external_references":[{"source_name":"mitre-attack","external_id":"T0001"}]}`,
		"p4": `{"type":"attack-pattern","id":"p4","name":"Gone","x_mitre_deprecated":true,"external_references":[{"source_name":"mitre-attack","external_id":"T0003"}]}`,
		"r1": `{"type":"relationship","id":"r1","relationship_type":"subtechnique-of","source_ref":"p2","target_ref":"p1"}`,
		"r2": `{"type":"relationship","id":"r2","relationship_type":"revoked-by","source_ref":"p3","target_ref":"p2"}`,
		"r3": `{"type":"relationship","id":"r3","relationship_type":"uses","source_ref":"p3","target_ref":"p1"}`,
	}
	maps.Copy(objects, change)
	var all []json.RawMessage
	for _, o := range objects {
		if o != "" {
			all = append(all, json.RawMessage(o))
		}
	}
	text, err := json.Marshal(map[string]any{"type": "bundle", "objects": all})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestConvert(t *testing.T) {
	got, err := convert(strings.NewReader(bundle(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
"source": "MITRE ATT&CK Enterprise, https://github.com/mitre-attack/attack-stix-data",
"version": "99.1",
"copyright": "Copyright MITRE & others",
"license": "` + license + `",
"tactics": [
{"id":"TA0002","short_name":"two","name":"Two"},
{"id":"TA0001","short_name":"one","name":"One"}
],
"techniques": [
{"id":"T0001","name":"Old","tactics":[],"revoked_by":"T0002.001"},
{"id":"T0002","name":"First","tactics":["two","one"]},
{"id":"T0002.001","name":"Sub <&>","tactics":["one"]},
{"id":"T0003","name":"Gone","tactics":[],"deprecated":true}
]
}
`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	if !json.Valid(got) {
		t.Error("it is no JSON")
	}
}

// TestRefusals checks that a bundle which lacks something is refused, not half converted.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]string
		want   string
	}{
		"no version":        {map[string]string{"c": ""}, "no version"},
		"no copyright":      {map[string]string{"m": ""}, "no copyright"},
		"no matrix":         {map[string]string{"x": ""}, "0 matrices"},
		"no tactic":         {map[string]string{"t1": ""}, "t1"},
		"unknown tactic":    {map[string]string{"x": `{"type":"x-mitre-matrix","id":"x","tactic_refs":["t2"]}`}, "T0002"},
		"not replaced":      {map[string]string{"r2": ""}, "T0001 is revoked"},
		"no parent":         {map[string]string{"r1": ""}, "T0002.001 is not stated"},
		"a technique twice": {map[string]string{"p5": `{"type":"attack-pattern","id":"p5","x_mitre_deprecated":true,"external_references":[{"source_name":"mitre-attack","external_id":"T0003"}]}`}, "T0003 twice"},
		"no ID":             {map[string]string{"p5": `{"type":"attack-pattern","id":"p5","name":"Nameless"}`}, "Nameless"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := convert(strings.NewReader(bundle(t, test.change))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v; want an error about %q", got, err, test.want)
			}
		})
	}
	for _, text := range []string{"", "{", `{"type":"report"}`} {
		if _, err := convert(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
