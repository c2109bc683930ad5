package attack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ospulse/internal/models"
)

// Layer is a layer of the ATT&CK Navigator, in version 4.5 of its format
// (https://github.com/mitre-attack/attack-navigator/blob/master/layers/spec/v4.5/layerformat.md).
type Layer struct {
	Name        string           `json:"name"`
	Versions    layerVersions    `json:"versions"`
	Domain      string           `json:"domain"`
	Description string           `json:"description"`
	Sorting     int              `json:"sorting"`
	Layout      layerLayout      `json:"layout"`
	Techniques  []layerTechnique `json:"techniques"`
	Gradient    layerGradient    `json:"gradient"`
	Legend      []layerLegend    `json:"legendItems"`
}

type layerVersions struct {
	Attack    string `json:"attack"`    // the number before the point
	Navigator string `json:"navigator"` // the oldest that reads the format is 4.9.0
	Layer     string `json:"layer"`
}

type layerLayout struct {
	Layout   string `json:"layout"`
	ShowID   bool   `json:"showID"`
	ShowName bool   `json:"showName"`
	Expanded string `json:"expandedSubtechniques"`
}

type layerTechnique struct {
	ID       string      `json:"techniqueID"`
	Tactic   string      `json:"tactic"`
	Score    int         `json:"score"` // by the highest level
	Comment  string      `json:"comment"`
	Enabled  bool        `json:"enabled"`
	Metadata []layerNote `json:"metadata"`
}

type layerNote struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type layerGradient struct {
	Colors   []string `json:"colors"`
	MinValue int      `json:"minValue"`
	MaxValue int      `json:"maxValue"`
}

type layerLegend struct {
	Label string `json:"label"`
	Color string `json:"color"`
}

// levels are in the order of models.LevelRank, from 1 on, and scoreColors are theirs.
var levels = []string{"informational", "low", "medium", "high", "critical"} //nolint:gochecknoglobals // a constant

var scoreColors = []string{"#dbe9f6", "#ffeda0", "#feb24c", "#f03b20", "#99000d"} //nolint:gochecknoglobals // a constant

// Layer returns the matrix as a layer with a name and a description. Techniques that the
// version of ATT&CK does not have in use are not part of it; the description names them.
func (m *Matrix) Layer(name, description string) Layer {
	major, _, _ := strings.Cut(known.Version, ".")
	layer := Layer{
		Name: name, Domain: "enterprise-attack",
		Versions:   layerVersions{Attack: major, Navigator: "5.1.0", Layer: "4.5"},
		Sorting:    3, // the highest score first
		Layout:     layerLayout{Layout: "side", ShowName: true, Expanded: "annotated"},
		Techniques: []layerTechnique{},
		Gradient:   layerGradient{Colors: scoreColors, MinValue: 1, MaxValue: len(scoreColors)},
	}
	for i, color := range scoreColors {
		layer.Legend = append(layer.Legend, layerLegend{"Level " + levels[i], color})
	}
	out := map[string]bool{}
	for i := range m.Tactics {
		column := &m.Tactics[i]
		for j := range column.Techniques {
			c := &column.Techniques[j]
			if c.State != Current {
				out[c.ID] = true
				continue
			}
			layer.Techniques = append(layer.Techniques, layerTechnique{
				ID: c.ID, Tactic: column.ShortName, Score: models.LevelRank(c.Level), Comment: strings.Join(c.Titles, "\n"), Enabled: true,
				Metadata: []layerNote{{"Findings", fmt.Sprint(c.Findings)}, {"Events", fmt.Sprint(c.Events)}, {"Highest level", c.Level}},
			})
		}
	}
	for i := range m.Unplaced {
		out[m.Unplaced[i].ID] = true
	}
	layer.Description = description + without(out)
	return layer
}

// without says which techniques a layer does not have.
func without(ids map[string]bool) string {
	if len(ids) == 0 {
		return ""
	}
	return " Not in the matrix of ATT&CK " + known.Version + ": " + strings.Join(slices.Sorted(maps.Keys(ids)), ", ") + "."
}
