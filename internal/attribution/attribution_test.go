package attribution

import (
	"testing"
	"time"

	"ospulse/internal/models"
)

// TestAttribution checks that an event goes to the session that its own agent monitored
// when the backend received it.
func TestAttribution(t *testing.T) {
	minute := func(n int) time.Time { return time.Date(2026, 11, 28, 12, n, 0, 0, time.UTC) }
	const never = 24 * 60
	run := func(id string, from, to int) models.SessionRun {
		return models.SessionRun{SessionID: id, StartedAt: minute(from), EndedAt: minute(to)}
	}
	candidates := Candidates{
		Known: map[string]string{"known": "elsewhere"},
		Runs: map[string][]models.SessionRun{
			models.DefaultAgentID: {run("first", 1, 10), run("second", 20, 30), run("longer", 40, never), run("later", 42, 45)},
			"other":               {run("of other", 5, never)},
		},
		Now: minute(50),
	}
	for name, tt := range map[string]struct {
		late     bool
		received int
		agent    string
		happened int
		hint     string
		want     string
	}{
		"late: in the first run":                  {true, 5, "", 5, "", "first"},
		"late: in the second":                     {true, 25, "", 25, "", "second"},
		"late: at a start":                        {true, 20, "", 3, "", "second"},
		"late: at an end":                         {true, 30, "", 3, "", models.UnassignedID},
		"late: before all":                        {true, 0, "", 0, "", models.UnassignedID},
		"late: after the first, happened in it":   {true, 15, "", 8, "", "first"},
		"late: after the second, happened in 1st": {true, 35, "", 8, "", models.UnassignedID},
		"late: in two":                            {true, 43, "", 43, "", "later"},
		"late: in one again":                      {true, 46, "", 43, "", "longer"},
		"late: of another agent":                  {true, 15, "other", 15, "", "of other"},
		"late: of an agent with nothing":          {true, 15, "third", 15, "", models.UnassignedID},
		"late: named":                             {true, 5, "", 5, "known", "known"},
		"late: named, unknown":                    {true, 5, "", 5, "unknown", "first"},
		"now":                                     {false, 5, "", 5, "", "longer"},
		"now, of another agent":                   {false, 5, "other", 5, "", "of other"},
	} {
		t.Run(name, func(t *testing.T) {
			candidates.Late = tt.late
			in := models.Incoming{RequestHint: tt.hint}
			in.Timestamp, in.TimestampSource = minute(tt.happened), models.TimestampFromAgent
			batches := []models.Batch{{Events: []models.Incoming{in}, ReceivedAt: minute(tt.received), AgentID: tt.agent}}
			candidates.Attribute(batches)
			if got := batches[0].Events[0].SessionID; got != tt.want {
				t.Errorf("it goes to %s, want %s", got, tt.want)
			}
		})
	}
}
