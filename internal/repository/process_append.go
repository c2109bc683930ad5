package repository

import (
	"encoding/json"
	"slices"
	"strings"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// maxProcessesRead limits how many stored processes of a few pids a statement reads; it
// reads the latest ones. A pid rarely has several. readMissing reads those of the others
// whose start an event reports.
const maxProcessesRead = 512

// readProcesses returns the statements that read the stored processes of a group.
func readProcesses(g *process.Group) []database.Statement {
	bySession := map[string][]int64{}
	for pid := range g.PIDs() {
		bySession[pid.SessionID] = append(bySession[pid.SessionID], pid.PID)
	}
	var statements []database.Statement
	for sessionID, pids := range bySession {
		for some := range slices.Chunk(pids, askedAtOnce) {
			read := 0
			statements = append(statements, readProcess(g, sessionID, "pid IN (?, ?, ?, ?, ?, ?, ?, ?) ORDER BY started_at DESC LIMIT ?",
				append(filled([]any{sessionID}, some), int64(maxProcessesRead)), func(p *models.Process) {
					if read++; read < maxProcessesRead {
						return
					}
					for _, pid := range some {
						g.SetMissing(process.PID{SessionID: sessionID, PID: pid}, p.StartedAt)
					}
				}))
		}
	}
	return statements
}

// readMissing returns the statements that read the processes which readProcesses left out
// and whose start an event reports.
func readMissing(g *process.Group) []database.Statement {
	var statements []database.Statement
	for pid, start := range g.Missing() {
		args := []any{pid.SessionID, pid.PID, start}
		statements = append(statements, readProcess(g, pid.SessionID, "pid = ? AND started_at = ?", args, func(*models.Process) {}))
	}
	return statements
}

// readProcess returns a statement that adds to a group the processes of a session that a
// condition selects. It calls after with each.
func readProcess(g *process.Group, sessionID, condition string, args []any, after func(*models.Process)) database.Statement {
	var (
		p         models.Process
		id, known int64
		counts    string
	)
	return database.Statement{
		Text: "SELECT id, pid, started_at, CASE WHEN start_known THEN 1 ELSE 0 END, parent_pid, parent_started_at, name, image, command_line, first_seen, last_seen, event_counts " +
			"FROM processes WHERE session_id = ? AND " + condition,
		Args: args,
		Dest: []any{&id, &p.PID, &p.StartedAt, &known, &p.ParentPID, &p.ParentStartedAt, &p.Name, &p.Image, &p.CommandLine, &p.FirstSeen, &p.LastSeen, &counts},
		Row: func() {
			read := p
			read.ID, read.SessionID, read.StartKnown = uint64(id), sessionID, known != 0
			_ = json.Unmarshal([]byte(counts), &read.EventCounts) // writeProcesses wrote it
			g.AddStored(&read)
			after(&read)
		},
	}
}

// writeProcesses returns the statements that store what a group changes.
func writeProcesses(g *process.Group) ([]database.Statement, error) {
	var statements []database.Statement
	var usual []any // arguments of usualUpdates, one process after the other
	for _, change := range g.Changes() {
		counts, err := json.Marshal(change.EventCounts)
		if err != nil {
			return nil, err
		}
		if change.CountsOnly {
			usual = append(usual, int64(change.ID), change.FirstSeen, change.LastSeen, string(counts))
		} else {
			statements = append(statements, writeProcess(change.Process, string(counts)))
		}
	}
	for some := range slices.Chunk(usual, 4*len(usualUpdates)) {
		statements = append(statements, database.Statement{Text: usualUpdates[len(some)/4-1], Args: some})
	}
	for _, sessionID := range g.Families() {
		statements = append(statements, familyChanged(sessionID))
	}
	return statements, nil
}

// familyChanged returns the statement that tells readers to read the processes of a session
// again.
func familyChanged(sessionID string) database.Statement {
	return database.Statement{Text: "UPDATE sessions SET process_version = process_version + 1 WHERE id = ?", Args: []any{sessionID}}
}

// usualUpdates[i] updates the times and counts of i+1 processes in one statement.
var usualUpdates = func() (texts [8]string) { //nolint:gochecknoglobals // a constant
	for i := range texts {
		texts[i] = "UPDATE processes SET first_seen = v.column2, last_seen = v.column3, event_counts = v.column4 FROM (VALUES " +
			"(CAST(? AS bigint), CAST(? AS timestamptz), CAST(? AS timestamptz), CAST(? AS text))" + strings.Repeat(", (?, ?, ?, ?)", i) +
			") AS v WHERE processes.id = v.column1"
	}
	return texts
}()

func writeProcess(p *models.Process, counts string) database.Statement {
	args := []any{p.FirstSeen, p.LastSeen, counts, p.StartedAt, p.StartKnown, orNil(p.ParentPID), orNil(p.ParentStartedAt), p.Name, p.Image, p.CommandLine}
	if p.ID != 0 {
		return database.Statement{
			Text: "UPDATE processes SET first_seen = ?, last_seen = ?, event_counts = ?, started_at = ?, start_known = ?, parent_pid = ?, parent_started_at = ?, name = ?, image = ?, command_line = ? WHERE id = ?",
			Args: append(args, int64(p.ID)),
		}
	}
	return database.Statement{
		Text: "INSERT INTO processes (first_seen, last_seen, event_counts, started_at, start_known, parent_pid, parent_started_at, name, image, command_line, session_id, pid) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		Args: append(args, p.SessionID, p.PID),
	}
}
