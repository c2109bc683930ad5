// Package telemetry holds the backend's Prometheus metrics and the writer of its
// request log. It imports no other package of the backend: callers report to it, or
// pass functions that return the values.
package telemetry

import (
	"database/sql"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Ingest counts received events. It is safe for concurrent use.
type Ingest struct {
	accepted  prometheus.Counter
	committed prometheus.Counter
	refused   *prometheus.CounterVec
	spooled   prometheus.Counter
	rejected  prometheus.Counter
	group     prometheus.Histogram
	commit    prometheus.Histogram
}

// NewIngest returns the counters, registered with r.
func NewIngest(r prometheus.Registerer) *Ingest {
	m := &Ingest{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ospulse_events_accepted_total", Help: "Events that were well formed and queued.",
		}),
		committed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ospulse_events_committed_total", Help: "Events that were committed to the database.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ospulse_events_refused_total", Help: "Events, or requests that held none that could be read, that were not stored, by the code of the error.",
		}, []string{"reason"}),
		spooled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ospulse_events_spooled_total", Help: "Events that were put on this machine's disk because the database was away; they are committed later.",
		}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ospulse_events_rejected_total", Help: "Events that were spooled, and then set aside because the database refuses them.",
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ospulse_ingest_group_events", Help: "Events committed in one transaction.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000},
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ospulse_ingest_commit_seconds", Help: "Time to commit one group.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // 0.5 ms to 4 s
		}),
	}
	r.MustRegister(m.accepted, m.committed, m.refused, m.spooled, m.rejected, m.group, m.commit)
	return m
}

// Accepted counts queued events.
func (m *Ingest) Accepted(events int) { m.accepted.Add(float64(events)) }

// Committed counts a group.
func (m *Ingest) Committed(events int, took time.Duration) {
	m.committed.Add(float64(events))
	m.group.Observe(float64(events))
	m.commit.Observe(took.Seconds())
}

// Spooled counts events that were written to this machine's disk.
func (m *Ingest) Spooled(events int) { m.spooled.Add(float64(events)) }

// Rejected counts spooled events that cannot be stored.
func (m *Ingest) Rejected(events int) { m.rejected.Add(float64(events)) }

// Refused counts events that were not stored. There must be few different reasons.
func (m *Ingest) Refused(events int, reason string) {
	m.refused.WithLabelValues(reason).Add(float64(events))
}

// Streams counts live streams and their events. It is safe for concurrent use.
type Streams struct {
	open    prometheus.Gauge
	sent    prometheus.Counter
	tooSlow prometheus.Counter
}

// NewStreams returns the counters, registered with r.
func NewStreams(r prometheus.Registerer) *Streams {
	m := &Streams{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ospulse_streams_open", Help: "Live streams that are open.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ospulse_stream_events_sent_total", Help: "Events that were sent on live streams, once for each stream.",
		}),
		tooSlow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ospulse_streams_too_slow_total", Help: "Live streams that were cut off because the client took nothing.",
		}),
	}
	r.MustRegister(m.open, m.sent, m.tooSlow)
	return m
}

// Opened counts a stream.
func (m *Streams) Opened() { m.open.Inc() }

// Closed counts the end of a stream.
func (m *Streams) Closed() { m.open.Dec() }

// Sent counts events that were sent on a stream.
func (m *Streams) Sent(events int) { m.sent.Add(float64(events)) }

// TooSlow counts a stream that was closed because its client took nothing.
func (m *Streams) TooSlow() { m.tooSlow.Inc() }

// RegisterQueue registers metrics of the events that wait to be committed.
func RegisterQueue(r prometheus.Registerer, depth func() (events int, sizeBytes int64)) {
	registerDepth(r, depth, "ospulse_ingest_queue_events", "Events that wait to be committed.",
		"ospulse_ingest_queue_bytes", "About the memory that waiting events take.")
}

// RegisterSpool registers metrics of the spooled events, and of those that are set
// aside.
func RegisterSpool(r prometheus.Registerer, backlog func() (events int, sizeBytes int64), setAside func() int) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ospulse_spool_set_aside_events", Help: "Acknowledged events on this machine's disk that the database refuses.",
	}, func() float64 { return float64(setAside()) }))
	registerDepth(r, backlog, "ospulse_spool_events", "Events on this machine's disk that wait for the database.",
		"ospulse_spool_bytes", "What they take of SPOOL_MAX_MB.")
}

func registerDepth(r prometheus.Registerer, depth func() (events int, sizeBytes int64), eventsName, eventsHelp, bytesName, bytesHelp string) {
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: eventsName, Help: eventsHelp},
			func() float64 { events, _ := depth(); return float64(events) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: bytesName, Help: bytesHelp},
			func() float64 { _, size := depth(); return float64(size) }),
	)
}

// NewRegistry returns a registry with metrics of the Go runtime, the process and the
// database's pools, by name.
func NewRegistry(pools map[string]*sql.DB) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for name, pool := range pools {
		r.MustRegister(collectors.NewDBStatsCollector(pool, name))
	}
	return r
}

// MetricsHandler serves the metrics of r in the format of Prometheus.
func MetricsHandler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})
}
