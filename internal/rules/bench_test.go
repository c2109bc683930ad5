package rules_test

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"ospulse/internal/detect"
	"ospulse/internal/models"
	"ospulse/internal/rules"
	"ospulse/internal/sigma"
	"ospulse/internal/wire"
	"ospulse/test/recording"
)

// BenchmarkRules measures all rules but the routine ones on recorded events, with those of RULES_DIR if it is set,
// and the memory of the engine.
func BenchmarkRules(b *testing.B) {
	sources := []detect.Source{{Name: "OS-Pulse", Files: rules.Files()}}
	if dir := os.Getenv("RULES_DIR"); dir != "" {
		sources = append(sources, detect.Source{Name: "RULES_DIR", Files: os.DirFS(dir)})
	}
	all, _, err := detect.NewSources(sources...).Load()
	if err != nil {
		b.Fatal(err)
	}
	running, conditions := detect.Running(slices.DeleteFunc(all, func(r detect.Rule) bool { return r.Err == nil && r.Kind == sigma.Routine }))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	engine := detect.New(conditions)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for _, name := range []string{"build", "package", "python", "shell"} {
		b.Run(name, func(b *testing.B) {
			var events []models.Event
			for _, text := range recording.Events(b, name) {
				in, err := wire.Event([]byte(text), time.Now())
				if err != nil {
					b.Fatal(err)
				}
				events = append(events, in.Event)
			}
			for b.Loop() {
				session := engine.NewSession()
				for i := range events {
					session.Match(&events[i])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
			b.ReportMetric(float64(len(running)), "rules")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "engine-MB")
		})
	}
}
