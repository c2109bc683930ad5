package service

import (
	"context"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// ProcessTreeRepository finds processes of sessions. internal/repository implements it and
// documents its contracts.
type ProcessTreeRepository interface {
	Search(ctx context.Context, sessionID, text string, limit int) (ids []uint64, err error)
	ListByID(ctx context.Context, sessionID string, ids []uint64) ([]models.Process, error)
}

// ProcessTrees lists the process trees of sessions. It is safe for concurrent use.
type ProcessTrees struct {
	processes ProcessTreeRepository
	families  *Families
	analysis  *Analysis
}

// NewProcessTrees returns the service over its repository, and the services that know the
// tree and count events.
func NewProcessTrees(processes ProcessTreeRepository, families *Families, analysis *Analysis) *ProcessTrees {
	return &ProcessTrees{processes, families, analysis}
}

// ProcessTreePage is a page of a process tree.
type ProcessTreePage struct {
	Rows      []ProcessRow
	Offset    int   // rows before the page
	Total     int   // rows
	Matching  int   // processes that the text and the filter select
	Processes int   // processes of the tree
	Truncated bool  // the session has more processes
	UpTo      int64 // the tree has the processes of the events up to this Seq
}

// ProcessRow is a process in a page.
type ProcessRow struct {
	process.Row
	*models.Process
}

// Page returns a page of a session's processes in the order of the tree. A text selects
// the processes whose pid, name, image and command line contain it; a filter, those that
// have events which it selects. Their ancestors are listed too. Page returns not_found for
// an unknown session.
func (s *ProcessTrees) Page(ctx context.Context, sessionID string, where *filter.Filter, text string, list process.List) (page ProcessTreePage, err error) {
	family, err := s.families.Of(ctx, sessionID)
	if err != nil {
		return page, err
	}
	if where != nil {
		if err := checkWhole(family, sessionID); err != nil {
			return page, err
		}
		if list.Counts, err = s.analysis.CountProcesses(ctx, sessionID, where, family); err != nil {
			return page, err
		}
	}
	if text != "" {
		ids, err := s.processes.Search(ctx, sessionID, text, maxFamily)
		if err != nil {
			return page, err
		}
		list.IDs = append([]uint64{}, ids...)
	}
	listed := family.Page(list)
	ids := make([]uint64, len(listed.Rows))
	for i, row := range listed.Rows {
		ids[i] = row.ID
	}
	found, err := s.processes.ListByID(ctx, sessionID, ids)
	if err != nil {
		return page, err
	}
	byID := make(map[uint64]*models.Process, len(found))
	for i := range found {
		byID[found[i].ID] = &found[i]
	}
	page = ProcessTreePage{
		Offset: listed.Offset, Total: listed.Total, Matching: listed.Matching,
		Processes: family.Len(), Truncated: family.Truncated, UpTo: family.UpTo,
	}
	for _, row := range listed.Rows {
		if p := byID[row.ID]; p != nil { // else the session is being deleted
			page.Rows = append(page.Rows, ProcessRow{row, p})
		}
	}
	return page, nil
}
