// The OS-Pulse backend stores every event that agents report about the programs they
// watch, and serves the events to the dashboard. See README.md.
package main

import (
	"os"

	"ospulse/internal/app"
)

func main() {
	os.Exit(app.Main())
}
