package openid

import (
	"encoding/json"
	"strings"
	"testing"

	"ospulse/internal/models"
)

// TestRoleOf lists claims and the role that they give: the highest of those that match.
func TestRoleOf(t *testing.T) {
	roles := map[string]models.Role{"ops": models.RoleAdmin, "lab": models.RoleAnalyst, "all": models.RoleViewer}
	for name, tt := range map[string]struct {
		claim, claims string
		everyone      models.Role
		want          models.Role
	}{
		"a text":                         {"roles", `{"roles":"lab"}`, "", models.RoleAnalyst},
		"the highest of a list":          {"roles", `{"roles":["all","ops","lab"]}`, "", models.RoleAdmin},
		"a path":                         {"realm_access.roles", `{"realm_access":{"roles":["all"]}}`, "", models.RoleViewer},
		"a name with dots":               {"https://lab.test/roles", `{"https://lab.test/roles":["lab"]}`, "", models.RoleAnalyst},
		"a name with dots in a path":     {"a.b.c", `{"a":{"b.c":"ops"}}`, "", models.RoleAdmin},
		"everyone, with a higher role":   {"roles", `{"roles":["lab"]}`, models.RoleViewer, models.RoleAnalyst},
		"everyone, with a lower role":    {"roles", `{"roles":["all"]}`, models.RoleAnalyst, models.RoleAnalyst},
		"everyone, without the claim":    {"roles", `{}`, models.RoleViewer, models.RoleViewer},
		"no claim":                       {"roles", `{"groups":["ops"]}`, "", ""},
		"an unknown value":               {"roles", `{"roles":["OPS","ops "," lab","*"]}`, "", ""},
		"values of other kinds":          {"roles", `{"roles":[1,null,true,{"ops":1},["ops"]]}`, "", ""},
		"a path through another kind":    {"a.b", `{"a":["ops"]}`, "", ""},
		"a path to the parent of values": {"a", `{"a":{"b":"ops"}}`, "", ""},
		"null":                           {"a.b", `{"a":null}`, "", ""},
	} {
		var claims map[string]any
		if err := json.Unmarshal([]byte(tt.claims), &claims); err != nil {
			t.Fatal(err)
		}
		s := Settings{RoleClaim: tt.claim, Roles: map[string]models.Role{}}
		for value, role := range roles {
			s.Roles[value] = role
		}
		if tt.everyone != "" {
			s.Roles[Everyone] = tt.everyone
		}
		if got := s.roleOf(claims); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestNameOf lists claims and the name that they give.
func TestNameOf(t *testing.T) {
	for claims, want := range map[string]string{
		`{"preferred_username":"ada","email":"a@b","name":"Ada","sub":"1"}`:      "ada",
		`{"preferred_username":7,"email":"a@b","sub":"1"}`:                       "a@b",
		`{"preferred_username":" \u0000\n ","name":"Ada\u001b[31m L","sub":"1"}`: "Ada[31m L",
		`{"sub":"1"}`: "1",
		`{"name":"` + strings.Repeat("ä", 150) + `"}`:  strings.Repeat("ä", 100),
		`{"name":"x` + strings.Repeat("ä", 150) + `"}`: "x" + strings.Repeat("ä", 99),
	} {
		var parsed map[string]any
		if err := json.Unmarshal([]byte(claims), &parsed); err != nil {
			t.Fatal(err)
		}
		if got := nameOf(parsed); got != want {
			t.Errorf("%.60s: %q, want %q", claims, got, want)
		}
	}
}
