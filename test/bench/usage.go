package main

import (
	"os"
	"time"

	"ospulse/test/testbed"
)

// usage is the processor time of the backend, the database and the load generator.
type usage struct{ backend, database, load time.Duration }

func readUsage(backend int, dialect string) usage {
	u := usage{backend: testbed.CPU(backend), load: testbed.CPU(os.Getpid())}
	if dialect == postgres {
		u.database = testbed.PostgresCPU()
	}
	return u
}

func (u usage) since(before usage) usage {
	return usage{u.backend - before.backend, u.database - before.database, u.load - before.load}
}
