package models

import (
	"errors"
	"time"
)

// Batch is the events of one request, which are stored all or none.
type Batch struct {
	Events []Incoming
	Faults []ItemFault // items of the request that could not be taken

	// Key, if not empty, was chosen by the client for this request: a batch whose
	// key was seen is not stored again. Digest tells whether it is the same request.
	Key    string
	Digest string

	// ReceivedAt is when the request came in, in a spool by the clock of the database,
	// and AgentID the agent that sent it. Both decide the session of an event that names none, however late the event
	// is stored and whichever backend stores it.
	ReceivedAt time.Time
	AgentID    string
}

// Group is batches that are stored in one transaction.
type Group struct {
	Batches []Batch
	Mark    Mark
	Late    bool // it waited in a spool: its sessions are those of its moments of receipt
}

// Mark numbers the batches of one writer: those of a group are First, First+1 …
// It is stored with the group, so that a group whose commit was made, but not
// heard of, is not stored again. The zero Mark is none.
type Mark struct {
	Writer string
	First  int64
}

// ErrAlreadyStored is for a group of which the first batch, at least, was stored
// before.
var ErrAlreadyStored = errors.New("the group was stored before")

// WriterMark is the number of the last batch of a writer that was stored. It is kept
// for good: a spool may come back after any time.
type WriterMark struct {
	Writer    string    `gorm:"primaryKey;type:varchar(64)"`
	Number    int64     `gorm:"not null"`
	UpdatedAt time.Time `gorm:"not null"`
}

// ItemFault says what is wrong with one item of a request.
type ItemFault struct {
	Index int    `json:"index"` // of the item, from 0
	Error string `json:"error"`
}

// Receipt says what became of a batch. It is kept with the batch's key, as JSON.
type Receipt struct {
	Stored int         `json:"stored"` // events
	Ranges []SeqRange  `json:"ranges"` // one for each session, in the order of their first event
	Faults []ItemFault `json:"errors,omitempty"`

	Repeated bool `json:"-"` // this is the receipt of an earlier batch with the same key
	Spooled  int  `json:"-"` // events that are on this machine's disk, to be stored when the database is back; they have no numbers yet
}

// SeqRange is the numbers that a batch's events got in one session.
type SeqRange struct {
	SessionID string `json:"session_id"`
	First     int64  `json:"first_seq"`
	Last      int64  `json:"last_seq"`
}
