//go:build linux

package delivery

import (
	"context"
	"sync"
	"time"
)

// Run delivers events until ctx ends. Then it goes on until every event is delivered or the
// backend does not accept the rest, for FlushTimeout at most. It leaves undelivered events
// in the spool and closes the spool. Call Run once.
func (d *Delivery) Run(ctx context.Context) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var spooling sync.WaitGroup
	ended := make(chan struct{})
	spooling.Go(func() { d.spoolOld(ended) })
	spooling.Go(func() { d.syncSpool(ended) })
	d.dispatch(ctx, sending)
	cancel()
	d.sends.Wait()
	close(ended)
	spooling.Wait()
	d.end()
	d.client.close()
}

// dispatch seals and sends batches until ctx ends and the final flush is over.
func (d *Delivery) dispatch(ctx, sending context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case <-d.wake:
		case <-timer.C:
		case <-done:
			done = nil
			d.beginClosing()
			limit := time.NewTimer(d.flush)
			defer limit.Stop() //nolint:gocritic // once
			late = limit.C
		case <-late:
			return
		}
		wait, idle := d.step(sending)
		if idle && done == nil {
			return
		}
		timer.Reset(wait)
	}
}

// beginClosing makes every lane try once more, now.
func (d *Delivery) beginClosing() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	d.gate.at = time.Time{}
	for _, l := range d.lanes {
		l.retry.at = time.Time{}
	}
}

// step seals open batches that are due and starts to send batches that are ready. It
// returns the time until the next step, and whether no batch is left to try.
func (d *Delivery) step(sending context.Context) (wait time.Duration, idle bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	wait, idle = time.Hour, true
	for session, l := range d.lanes {
		if len(l.losses) > 0 && !d.refusing && d.queued < d.maxQueue {
			d.reportLosses(l)
		}
		if l.open != nil {
			if due := l.open.opened.Add(d.linger(l)).Sub(now); due > 0 {
				wait = min(wait, due)
			} else {
				d.seal(l)
				poke(d.wakeOut)
			}
		}
		if l.isEmpty() {
			delete(d.lanes, session)
			continue
		}
		if l.sending || l.open != nil || len(l.losses) > 0 && !d.closing {
			idle = false
		}
		if l.sending || !l.isReady() || l.gaveUp {
			continue
		}
		idle = false
		at := l.retry.at
		if d.gate.at.After(at) {
			at = d.gate.at
		}
		if at.After(now) {
			wait = min(wait, at.Sub(now))
			continue
		}
		if d.inFlight >= maxInFlight || d.gate.fails > 0 && d.inFlight > 0 { // while the backend is away, one request at a time probes it
			continue
		}
		l.sending = true
		d.inFlight++
		d.sends.Go(func() { d.send(sending, l) })
	}
	return wait, idle
}

// linger returns how long the lane's open batch waits for more events.
func (d *Delivery) linger(l *lane) time.Duration {
	switch {
	case d.closing:
		return 0
	case l.retry.fails > 0 || d.gate.fails > 0: // the batch goes to disk, as one record
		return spoolAfter
	case l.sending || l.isReady():
		return busyLinger
	default:
		return idleLinger
	}
}
