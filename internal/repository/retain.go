package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Retention finds what may expire, removes it and records that.
type Retention struct {
	db    *database.DB
	views *views
}

// NewRetention returns the retention of db.
func NewRetention(db *database.DB) *Retention { return &Retention{db, newViews(db)} }

// Latest returns the latest time at which a backend is known to have run; the zero time if none.
func (r *Retention) Latest(ctx context.Context) (latest time.Time, err error) {
	for _, source := range []struct {
		model  any
		column string
	}{{&models.WriterMark{}, "updated_at"}, {&models.Agent{}, "last_seen_at"}, {&models.Session{}, "updated_at"}} {
		var times []time.Time
		err := r.db.Read(ctx).Model(source.model).Where(source.column+" IS NOT NULL").Order(source.column+" DESC").Limit(1).Pluck(source.column, &times).Error
		if err != nil {
			return latest, translate(r.db, err, "the latest time")
		}
		for _, at := range times {
			if at.After(latest) {
				latest = at
			}
		}
	}
	return latest, nil
}

// agedAt is the time by which a session's age counts: its end or its import, whichever is
// later. A start that failed and may have run has no end.
const agedAt = "CASE WHEN imported_at IS NOT NULL AND (monitoring_ended IS NULL OR imported_at > monitoring_ended) THEN imported_at ELSE COALESCE(monitoring_ended, updated_at) END"

// expirable is the condition for sessions that retention may remove.
const expirable = "NOT keep AND NOT is_active AND start_requested IS NULL AND starting_since IS NULL AND NOT " + backfilling + " AND " + visible +
	" AND (monitoring_ended IS NOT NULL OR imported_at IS NOT NULL OR start_error_may_have_run)"

// ListExpirable returns up to limit sessions that retention may remove, oldest first: those
// that follow last if it is not nil. It never returns the session unassigned.
func (r *Retention) ListExpirable(ctx context.Context, last *models.Expirable, limit int) (found []models.Expirable, err error) {
	err = r.db.View(ctx, func(tx *gorm.DB) error {
		query := tx.Model(&models.Session{}).Where(expirable+" AND id <> ?", models.UnassignedID)
		if last != nil {
			query = query.Where("("+agedAt+" > ? OR "+agedAt+" = ? AND id > ?)", last.At, last.At, last.SessionID)
		}
		var sessions []models.Session
		columns := "id, name, file_name, file_sha256, file_size_bytes, event_count, expired_seq, monitoring_ended, imported_at, updated_at"
		if err := query.Select(columns).Order(agedAt + ", id").Limit(limit).Find(&sessions).Error; err != nil || len(sessions) == 0 {
			return err
		}
		sizes, err := r.sizes(tx, sessions)
		for i := range sessions {
			s := &sessions[i]
			found = append(found, models.Expirable{
				SessionID: s.ID, Whole: true, Name: s.Name, FileName: s.FileName, FirstSeq: s.ExpiredSeq + 1, LastSeq: s.EventCount, SizeBytes: sizes[s.ID], At: sessionAge(s),
			})
		}
		return err
	})
	return found, translate(r.db, err, "the session")
}

// sessionAge is agedAt in Go.
func sessionAge(s *models.Session) time.Time {
	at := s.UpdatedAt
	if s.MonitoringEnded != nil {
		at = *s.MonitoringEnded
	}
	if s.ImportedAt != nil && (s.MonitoringEnded == nil || s.ImportedAt.After(at)) {
		at = *s.ImportedAt
	}
	return at.UTC()
}

// Sizes in bytes that an estimate adds: of a segment and its blocks beside their packed
// values, and of a row of events beside its data, with its indexes.
const (
	segmentOverhead = 300
	rowOverhead     = 300
)

// sizes estimates the stored bytes of sessions, with their files. A file that other
// sessions use counts 0.
func (r *Retention) sizes(tx *gorm.DB, sessions []models.Session) (map[string]int64, error) {
	ids, hashes := make([]string, len(sessions)), []string{}
	for i := range sessions {
		if ids[i] = sessions[i].ID; sessions[i].FileSHA256 != nil {
			hashes = append(hashes, *sessions[i].FileSHA256)
		}
	}
	ofThese := tx.Where("session_id IN ?", ids)
	sealed, err := sealedSizes(ofThese, ofThese)
	if err != nil {
		return nil, err
	}
	rowBytes, err := r.rowBytes(tx)
	if err != nil {
		return nil, err
	}
	var alone []string // files that one session uses
	if err := tx.Model(&models.Session{}).Where("file_sha256 IN ?", hashes).Group("file_sha256").Having("COUNT(*) = 1").Pluck("file_sha256", &alone).Error; err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for i := range sessions {
		s := &sessions[i]
		of := sealed[s.ID]
		sizes[s.ID] = of.Bytes + max(s.EventCount-s.ExpiredSeq-of.Events, 0)*rowBytes
		if s.FileSHA256 != nil && slices.Contains(alone, *s.FileSHA256) {
			sizes[s.ID] += s.FileSizeBytes
		}
	}
	return sizes, nil
}

// sealedSize is the size of a session's segments and blocks, and the number of events in
// the sealed ones.
type sealedSize struct {
	SessionID string
	Bytes     int64
	Events    int64
}

// sealedSizes returns the sizes by session of some segments and blocks. Neither database
// reads a large value to find its length.
func sealedSizes(ofSegments, ofBlocks *gorm.DB) (map[string]sealedSize, error) {
	var segments, blocks []sealedSize
	err := errors.Join(
		ofSegments.Session(&gorm.Session{}).Model(&models.Segment{}).Group("session_id").Select("session_id, SUM(LENGTH(columns) + COALESCE(LENGTH(skip), 0) + ?) AS bytes, SUM(CASE WHEN is_sealed THEN event_count ELSE 0 END) AS events", segmentOverhead).Scan(&segments).Error,
		ofBlocks.Session(&gorm.Session{}).Model(&models.Block{}).Group("session_id").Select("session_id, SUM(LENGTH(data) + object_bytes) AS bytes").Scan(&blocks).Error,
	)
	sizes := map[string]sealedSize{}
	for _, s := range append(segments, blocks...) {
		of := sizes[s.SessionID]
		sizes[s.SessionID] = sealedSize{s.SessionID, of.Bytes + s.Bytes, of.Events + s.Events}
	}
	return sizes, err
}

// sampledRows is the number of newest rows by which rowBytes estimates the others.
const sampledRows = 200

// rowBytes estimates the bytes of a row of events, with its indexes.
func (r *Retention) rowBytes(tx *gorm.DB) (int64, error) {
	size := "LENGTH(data) + COALESCE(LENGTH(data_raw), 0) + COALESCE(LENGTH(preview), 0)"
	if r.db.Dialect() == "postgres" {
		size = "pg_column_size(data) + COALESCE(pg_column_size(data_raw), 0) + COALESCE(pg_column_size(preview), 0)"
	}
	var mean float64
	err := tx.Raw("SELECT COALESCE(AVG("+size+"), 0) FROM (SELECT data, data_raw, preview FROM events ORDER BY id DESC LIMIT ?) AS newest", sampledRows).Scan(&mean).Error
	return int64(mean) + rowOverhead, err
}

// UsedBytes returns the size of the stored data and of the target files, also of those in
// a bucket. It excludes free space inside the database, which later events use.
//
// SQLite counts its pages in use. PostgreSQL does not know its free space, so the stored
// events are added up as in ListExpirable, and all other tables count as the file system
// sees them.
func (r *Retention) UsedBytes(ctx context.Context) (used int64, err error) {
	err = r.db.View(ctx, func(tx *gorm.DB) error {
		var files int64
		if err := tx.Model(&models.TargetFile{}).Where("NOT no_content").Select("COALESCE(SUM(size_bytes), 0)").Scan(&files).Error; err != nil {
			return err
		}
		used = files
		if r.db.Dialect() != "postgres" {
			var pages, free, size int64
			err := errors.Join(tx.Raw("PRAGMA page_count").Scan(&pages).Error, tx.Raw("PRAGMA freelist_count").Scan(&free).Error, tx.Raw("PRAGMA page_size").Scan(&size).Error)
			used += (pages - free) * size
			if r.db.Objects() != nil { // then the rows of blocks are short
				var objects int64
				err = errors.Join(err, tx.Model(&models.Block{}).Select("COALESCE(SUM(object_bytes), 0)").Scan(&objects).Error)
				used += objects
			}
			return err
		}
		var others, events int64
		there := tx.Where("session_id NOT IN (SELECT id FROM sessions WHERE " + hidden + " AND deleting_since IS NOT NULL)")
		sealed, err := sealedSizes(there, there)
		if err != nil {
			return err
		}
		rowBytes, err := r.rowBytes(tx)
		if err != nil {
			return err
		}
		err = errors.Join(
			tx.Raw("SELECT pg_database_size(current_database()) - (SELECT SUM(pg_total_relation_size(name::regclass)) FROM unnest(ARRAY['events', 'segments', 'blocks']) AS name)").Scan(&others).Error,
			tx.Model(&models.Session{}).Where("deleting_since IS NULL").Select("COALESCE(SUM(event_count - expired_seq), 0)").Scan(&events).Error,
		)
		for _, of := range sealed {
			used += of.Bytes
			events -= of.Events
		}
		used += max(others, 0) + max(events, 0)*rowBytes
		return err
	})
	return used, translate(r.db, err, "the size of the database")
}

// Free pages that stay in an SQLite database for later events: a share of all pages, and at
// least a number.
const (
	freePagesShare = 16
	minFreePages   = 256
)

// ReturnSpace returns up to limit free pages of an SQLite database to the file system, in
// one short transaction. It returns their number: 0 if few enough are free, if the database
// was made without incremental vacuum, and always on PostgreSQL, whose autovacuum does it.
func (r *Retention) ReturnSpace(ctx context.Context, limit int) (n int64, err error) {
	if r.db.Dialect() == "postgres" {
		return 0, nil
	}
	var mode, pages, free int64
	read := r.db.Read(ctx)
	err = errors.Join(read.Raw("PRAGMA auto_vacuum").Scan(&mode).Error, read.Raw("PRAGMA page_count").Scan(&pages).Error, read.Raw("PRAGMA freelist_count").Scan(&free).Error)
	spare := free - max(pages/freePagesShare, minFreePages)
	if err != nil || mode != incrementalVacuum || spare <= 0 {
		return 0, translate(r.db, err, "the free pages")
	}
	n = min(spare, int64(limit))
	err = r.db.Write(ctx, func(tx *gorm.DB) error { return tx.Exec(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", n)).Error })
	if err == nil && n == spare { // the file shrinks when the write-ahead log is copied to it
		err = read.Exec("PRAGMA wal_checkpoint(PASSIVE)").Error
	}
	return n, translate(r.db, err, "the free pages")
}

// incrementalVacuum is a value of SQLite's auto_vacuum.
const incrementalVacuum = 2

// Expire begins to delete a session, as Sessions.Hide does, and records that it expired.
// It returns not_found if the session is hidden already, and conflict if retention may
// not remove it, or if its age counts from another time than e.At: it has changed.
func (r *Retention) Expire(ctx context.Context, e *models.Expirable, rule models.ExpiryRule, setting string, now time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		var session models.Session
		locking := clause.Locking{Strength: clause.LockingStrengthUpdate} // no effect on SQLite, where transactions queue
		if err := tx.Clauses(locking).Where("id = ? AND "+expirable, e.SessionID).Take(&session).Error; err != nil {
			return err
		}
		if !sessionAge(&session).Equal(e.At) {
			return models.Errorf(models.CodeConflict, "session %s has changed meanwhile", e.SessionID)
		}
		if err := tx.Model(&session).Select("deleting_since").Updates(&models.Session{DeletingSince: &now}).Error; err != nil {
			return err
		}
		return tx.Create(&models.Expiration{
			SessionID: e.SessionID, Whole: true, Name: session.Name, FileName: session.FileName, FirstSeq: session.ExpiredSeq + 1, LastSeq: session.EventCount,
			Rule: rule, Setting: setting, SizeBytes: e.SizeBytes, At: e.At, ExpiredAt: now,
		}).Error
	})
	return translate(r.db, err, "session "+e.SessionID)
}

// ListExpirations returns a page of expirations, newest first.
func (r *Retention) ListExpirations(ctx context.Context, page models.ExpirationPage) ([]models.Expiration, error) {
	query := r.db.Read(ctx).Order("id DESC").Limit(page.Limit)
	if page.SessionID != "" {
		query = query.Where("session_id = ?", page.SessionID)
	}
	if page.Before > 0 {
		query = query.Where("id < ?", page.Before)
	}
	var found []models.Expiration
	err := query.Find(&found).Error
	return found, translate(r.db, err, "the expiration")
}

// CountExpired returns the number of sessions that expired as a whole, and when the first
// of them did; nil if none did.
func (r *Retention) CountExpired(ctx context.Context) (n int64, since *time.Time, err error) {
	err = r.db.Read(ctx).Model(&models.Expiration{}).Where("whole").Count(&n).Error
	if err == nil && n > 0 {
		var times []time.Time
		if err = r.db.Read(ctx).Model(&models.Expiration{}).Where("whole").Order("id").Limit(1).Pluck("expired_at", &times).Error; len(times) > 0 {
			since = &times[0]
		}
	}
	return n, since, translate(r.db, err, "the expiration")
}

// notFound returns the error for a session that does not exist. It says so if the session
// expired.
func notFound(ctx context.Context, db *database.DB, id string, err error) error {
	if !errors.Is(err, gorm.ErrRecordNotFound) {
		return translate(db, err, "session "+id)
	}
	var found []models.Expiration
	if failed := db.Read(ctx).Where("session_id = ? AND whole", id).Order("id DESC").Limit(1).Find(&found).Error; failed != nil || len(found) == 0 {
		return translate(db, errors.Join(failed, err), "session "+id)
	}
	return models.Wrap(err, models.CodeNotFound, "session %s expired on %s, by %s", id, models.FormatTime(found[0].ExpiredAt), ruleText(&found[0]))
}

// noEvent returns the error for an event that does not exist. It says so if the event
// expired.
func noEvent(ctx context.Context, db *database.DB, sessionID string, seq int64) error {
	var found []models.Expiration
	err := db.Read(ctx).Where("session_id = ? AND NOT whole AND first_seq <= ? AND last_seq >= ?", sessionID, seq, seq).Limit(1).Find(&found).Error
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return models.Errorf(models.CodeNotFound, "event %d of session %s expired on %s, by %s", seq, sessionID, models.FormatTime(found[0].ExpiredAt), ruleText(&found[0]))
	}
	return models.Errorf(models.CodeNotFound, "event %d of session %s does not exist", seq, sessionID)
}

// ruleText names the rule of an expiration for users.
func ruleText(e *models.Expiration) string {
	if e.Rule == models.RuleUser {
		return "the request of a user"
	}
	if e.Setting == "" {
		return string(e.Rule)
	}
	return fmt.Sprintf("%s=%s", e.Rule, e.Setting)
}
