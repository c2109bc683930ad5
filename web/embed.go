// Package web holds the dashboard as it was built: what `npm run build` in this
// folder makes of src lies in dist, is committed, and goes into the program, so that
// a backend needs nothing beside itself. It knows nothing of how it is served.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files gives the files of the dashboard: index.html, what else a browser asks for by
// name, and under assets what is named by its content's hash and so never changes.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a constant, and right
	}
	return files
}
