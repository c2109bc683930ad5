package models

// Batch is the events of one request, which are stored all or none.
type Batch struct {
	Events []Incoming
	Faults []ItemFault // items of the request that could not be taken

	// Key, if not empty, was chosen by the client for this request: a batch whose
	// key was seen in the last KeyLifetime is not stored again. Digest tells
	// whether it is the same request.
	Key    string
	Digest string
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
}

// SeqRange is the numbers that a batch's events got in one session.
type SeqRange struct {
	SessionID string `json:"session_id"`
	First     int64  `json:"first_seq"`
	Last      int64  `json:"last_seq"`
}
