//go:build linux

package sensor

import "ospulse/agent/internal/event"

type httpAssembler struct{}

func newHTTPAssembler() *httpAssembler { return &httpAssembler{} }

func (h *httpAssembler) more(*decoder, *record, func(*event.Event))                      {}
func (h *httpAssembler) tls(*decoder, *record, func(*event.Event))                       {}
func (h *httpAssembler) plain(*decoder, *record, *call, *socketInfo, func(*event.Event)) {}
