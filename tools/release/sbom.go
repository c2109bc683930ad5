package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// writeSBOMs writes a list of the included modules for each program, in the format of
// CycloneDX: what Go linked for the targets, and for the backend the packages of the
// dashboard.
func (r *releaser) writeSBOMs(targets []string) error {
	for _, p := range programs {
		var components []cdx.Component
		for _, target := range targets {
			if !slices.Contains(programsFor(target), p) {
				continue
			}
			modules, err := goModules(r.path(built(target, p.name)))
			if err != nil {
				return err
			}
			components = append(components, modules...)
		}
		if !p.linuxOnly {
			lock, err := os.ReadFile(r.path("web/package-lock.json"))
			if err != nil {
				return err
			}
			packages, err := npmPackages(lock)
			if err != nil {
				return err
			}
			components = append(components, packages...)
		}
		if err := writeSBOM(r.path("dist/"+p.name+".cdx.json"), p.name, r.version, r.made, components); err != nil {
			return err
		}
	}
	return nil
}

// goModules returns the modules in a built program, and Go's standard library.
func goModules(path string) (list []cdx.Component, err error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list = append(list, component("golang", "std", strings.TrimPrefix(info.GoVersion, "go")))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		list = append(list, component("golang", m.Path, m.Version))
	}
	return list, nil
}

// npmPackages returns the packages of a package-lock.json that are no mere tools.
func npmPackages(lock []byte) (list []cdx.Component, err error) {
	var locked struct {
		Packages map[string]struct {
			Version string
			Dev     bool
		}
	}
	if err := json.Unmarshal(lock, &locked); err != nil {
		return nil, fmt.Errorf("package-lock.json: %w", err)
	}
	const folder = "node_modules/"
	for place, p := range locked.Packages {
		if i := strings.LastIndex(place, folder); i >= 0 && !p.Dev {
			list = append(list, component("npm", place[i+len(folder):], p.Version))
		}
	}
	return list, nil
}

// component returns the component of a module. Its reference is its package URL.
func component(kind, name, version string) cdx.Component {
	purl := "pkg:" + kind + "/" + strings.ReplaceAll(name, "@", "%40") + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: purl}
}

// writeSBOM writes the SBOM of a program. It sorts components and removes repeated ones.
func writeSBOM(path, name, version string, at time.Time, components []cdx.Component) (err error) {
	slices.SortFunc(components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	components = slices.CompactFunc(components, func(a, b cdx.Component) bool { return a.BOMRef == b.BOMRef })
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: at.Format(time.RFC3339),
		Component: &cdx.Component{BOMRef: name, Type: cdx.ComponentTypeApplication, Name: name, Version: version},
	}
	bom.Components = &components
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom), file.Close())
}
