// Package web embeds the built dashboard. `npm run build` in this folder writes it to
// dist, which is committed, so the backend needs no other files. The package does not
// know how the files are served.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files returns the files of the dashboard: index.html and other files with fixed names,
// and under assets the files whose names have the hash of their content, so that they
// never change.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // cannot happen: the name is a valid constant
	}
	return files
}
