package main

import (
	"os"
	"time"
)

// usage is the processor time of everyone who takes part.
type usage struct{ backend, database, load time.Duration }

func readUsage(backend int, dialect string) usage {
	u := usage{backend: processCPU(backend), load: processCPU(os.Getpid())}
	if dialect == postgres {
		u.database = postgresCPU()
	}
	return u
}

func (u usage) since(before usage) usage {
	return usage{u.backend - before.backend, u.database - before.database, u.load - before.load}
}
