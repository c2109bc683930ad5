package ingest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"ospulse/internal/models"
)

// isolate finds the events whose content makes the one batch of a group invalid. It
// also returns the batch with a report in place of each such event.
//
// An event counts as refused only if the batch can be stored with the report in its
// place, and with harmless values in the event's own columns. If the database refuses
// those too, the schema is at fault and not the event. isolate then returns an error
// that may go away.
func isolate(ctx context.Context, store Store, group models.Group) (refused []models.Refused, reported models.Batch, err error) {
	batch := group.Batches[0]
	try := func(events []models.Incoming) error {
		ctx, cancel := context.WithTimeout(ctx, drainTimeout)
		defer cancel()
		tried := batch
		tried.Key, tried.Events = "", events
		return store.Try(ctx, models.Group{Batches: []models.Batch{tried}, Mark: group.Mark, Late: group.Late})
	}
	if refused, err = searchRefused(batch.Events, try); err != nil || len(refused) == 0 {
		return nil, batch, err
	}
	at := batch.ReceivedAt
	if at.IsZero() {
		at = time.Now()
	}
	reported = batch
	harmless := slices.Clone(batch.Events)
	reported.Events = slices.Clone(batch.Events)
	for i := range refused {
		r := &refused[i]
		reported.Events[r.Index] = r.Report(at)
		harmless[r.Index] = withColumnsOf(r.Report(at), &r.Event)
	}
	err = errors.Join(try(harmless), try(slices.Clone(reported.Events)))
	if models.ErrorCode(err) == models.CodeInvalid {
		err = models.Wrap(err, models.CodeInternal, "the database refuses every event: %s", message(err))
	}
	if err != nil {
		return nil, batch, err
	}
	// The database may have been repaired between the search and these attempts.
	again, err := searchRefused(batch.Events, try)
	if err == nil && !slices.EqualFunc(refused, again, func(a, b models.Refused) bool { return a.Index == b.Index }) {
		err = models.Errorf(models.CodeUnavailable, "the database was changed just now")
	}
	return refused, reported, err
}

// searchRefused returns the events that try refuses as invalid. It halves refused
// events until each is alone.
func searchRefused(events []models.Incoming, try func([]models.Incoming) error) (refused []models.Refused, err error) {
	var search func(from, to int) error
	search = func(from, to int) error {
		some := slices.Clone(events[from:to])
		err := try(some)
		switch {
		case models.ErrorCode(err) != models.CodeInvalid:
			return err
		case len(some) == 1:
			refused = append(refused, models.Refused{Index: from, Event: some[0], Reason: message(err)})
			return nil
		}
		middle, found := (from+to)/2, len(refused)
		if err := errors.Join(search(from, middle), search(middle, to)); err != nil {
			return err
		}
		if len(refused) == found { // each half can be stored, but not both together
			for i := range some {
				refused = append(refused, models.Refused{Index: from + i, Event: some[i], Reason: message(err)})
			}
		}
		return nil
	}
	err = search(0, len(events))
	return refused, err
}

// withColumnsOf returns in with harmless values in the columns that other has values
// in.
func withColumnsOf(in models.Incoming, other *models.Incoming) models.Incoming {
	pid, text := int64(1), "x"
	set := func(column **string, has *string) {
		if has != nil {
			*column = &text
		}
	}
	if other.PID != nil {
		in.PID = &pid
	}
	set(&in.ProcessName, other.ProcessName)
	set(&in.Operation, other.Operation)
	set(&in.Target, other.Target)
	set(&in.Preview, other.Preview)
	set(&in.TimestampText, other.TimestampText)
	if other.DataRaw != nil {
		in.DataRaw = []byte("1")
	}
	return in
}

// withFaults adds refused events to the faults of a batch's items and returns them in
// item order. The indexes of refused events count only the items without faults.
func withFaults(faults []models.ItemFault, refused []models.Refused) []models.ItemFault {
	all := slices.Clone(faults)
	for _, r := range refused {
		index := r.Index
		for _, fault := range faults {
			if fault.Index <= index {
				index++
			}
		}
		all = append(all, models.ItemFault{Index: index, Error: r.Reason})
	}
	slices.SortFunc(all, func(a, b models.ItemFault) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// message returns the part of an error that users may read.
func message(err error) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Message
	}
	return "the backend does not know this error; its log has it"
}
