package models

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"
)

// Batch holds the events of one request, which are stored all or none.
type Batch struct {
	Events []Incoming
	Faults []ItemFault // items of the request that were not accepted

	// Key, if not empty, was chosen by the client for this request. A batch is not
	// stored if its StoredKey was seen before. Digest identifies the content of the request.
	Key    string
	Digest string

	// ReceivedAt is the time of receipt; in a spool, by the database's clock. AgentID
	// is the agent that sent the batch. Both decide the session of an event that names
	// none, no matter when and by which backend it is stored.
	ReceivedAt time.Time
	AgentID    string

	// OwnSessionsOnly says that the batch came with the key of its agent. Its events cannot
	// name the session of another agent: they belong to what their own agent monitors.
	OwnSessionsOnly bool
}

// StoredKey returns the text under which the batch's key is stored. If the batch came with
// the key of its agent, the text belongs to that agent: another one that learns Key cannot
// take it. No client can send the tab, so nobody can send the text either.
func (b *Batch) StoredKey() string {
	if b.Key == "" || !b.OwnSessionsOnly {
		return b.Key
	}
	sum := sha256.Sum256([]byte(b.AgentID + "\t" + b.Key))
	return "\t" + hex.EncodeToString(sum[:])
}

// Group holds batches that are stored in one transaction.
type Group struct {
	Batches []Batch
	Mark    Mark
	Late    bool // it waited in a spool: attribution uses the times of receipt
}

// Mark numbers the batches of one writer: those of a group are First, First+1 … It is
// stored with the group, so that a group whose commit succeeded without a reply is not
// stored again. The zero Mark means none.
type Mark struct {
	Writer string
	First  int64
}

// ErrAlreadyStored means that at least the first batch of a group was stored before.
var ErrAlreadyStored = errors.New("the group was stored before")

// WriterMark is the number of a writer's last stored batch. It is kept forever, because
// a spool may come back at any time.
type WriterMark struct {
	Writer    string    `gorm:"primaryKey;type:varchar(64)"`
	Number    int64     `gorm:"not null"`
	UpdatedAt time.Time `gorm:"not null"`
}

// ItemFault describes why one item of a request was not accepted.
type ItemFault struct {
	Index int    `json:"index"` // of the item, from 0
	Error string `json:"error"`
}

// Receipt is the result of a batch. It is stored with the batch's key, as JSON.
type Receipt struct {
	Stored int         `json:"stored"` // events
	Ranges []SeqRange  `json:"ranges"` // one for each session, in the order of their first event
	Faults []ItemFault `json:"errors,omitempty"`

	Repeated bool `json:"-"` // this is the receipt of an earlier batch with the same key
	Spooled  int  `json:"-"` // events on this machine's disk that wait for the database; they have no seq yet
}

// SeqRange is the seqs that the events of a batch got in one session.
type SeqRange struct {
	SessionID string `json:"session_id"`
	First     int64  `json:"first_seq"`
	Last      int64  `json:"last_seq"`
}
