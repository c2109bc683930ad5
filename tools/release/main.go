// Command release makes what a release consists of, in the folder dist: packages for Debian
// and Fedora, archives for other systems, lists of the included modules (SBOMs), and
// checksums. Two runs on the same commit make the same bytes.
//
//	go -C tools run ./release [-version V] [-targets linux/amd64,…]
//
// It needs the packages' descriptions in packaging, Go, Git and no network beyond Go's
// module cache.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// allTargets are the systems that a release is for.
const allTargets = "linux/amd64,linux/arm64,windows/amd64,darwin/amd64,darwin/arm64"

func main() {
	version := flag.String("version", "", "the version; the default is from git describe")
	targets := flag.String("targets", allTargets, "the systems, as GOOS/GOARCH, separated by commas")
	flag.Parse()
	if err := run(context.Background(), *version, strings.Split(*targets, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// program is a program of a release.
type program struct {
	name, pkg string
	variable  string // of its version, for the linker
	linuxOnly bool
}

var programs = []program{
	{"ospulse-backend", "./main.go", "ospulse/internal/app.version", false},
	{"ospulse-agent", "./agent", "main.version", true},
}

// releaser makes one release.
type releaser struct {
	root       string // the repository
	version    string
	maintainer string
	made       time.Time // the time in all files: of the commit, or SOURCE_DATE_EPOCH
}

func run(ctx context.Context, version string, targets []string) error {
	r := &releaser{version: version}
	if err := r.describe(ctx); err != nil {
		return err
	}
	dist := r.path("dist")
	if err := errors.Join(os.RemoveAll(dist), os.MkdirAll(dist, 0o755)); err != nil {
		return err
	}
	for _, target := range targets {
		if err := r.build(ctx, target); err != nil {
			return err
		}
	}
	if err := errors.Join(r.writeSBOMs(targets), r.writeChangelog()); err != nil {
		return err
	}
	for _, target := range targets {
		if err := errors.Join(r.archive(target), r.pack(ctx, target)); err != nil {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(r.path("dist/build")), os.Remove(r.path("dist/changelog.yaml"))); err != nil {
		return err
	}
	return r.writeSums()
}

func (r *releaser) path(name string) string { return filepath.Join(r.root, filepath.FromSlash(name)) }

// describe finds the repository, the version, the time and the maintainer.
func (r *releaser) describe(ctx context.Context) error {
	root, err := r.git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	r.root = root
	commit, err := r.git(ctx, "log", "-1", "--format=%ct %h %an <%ae>")
	if err != nil {
		return err
	}
	seconds, rest, _ := strings.Cut(commit, " ")
	hash, author, _ := strings.Cut(rest, " ")
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds = epoch
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.made = time.Unix(unix, 0).UTC()
	if r.maintainer = os.Getenv("MAINTAINER"); r.maintainer == "" {
		r.maintainer = author
	}
	if r.version == "" {
		described, err := r.git(ctx, "describe", "--tags", "--match", "v[0-9]*")
		if err != nil { // there is no release yet
			described = "v0.0.0-git" + r.made.Format("20060102150405") + "." + hash
		}
		r.version = packageVersion(described)
		if changes, err := r.git(ctx, "status", "--porcelain"); err != nil || changes != "" {
			r.version += "+dirty"
		}
	}
	return nil
}

// sinceTag is what git describe adds to the tag of an earlier commit.
var sinceTag = regexp.MustCompile(`-(\d+)-(g[0-9a-f]+)$`)

// packageVersion returns the version of packages for a result of git describe. dpkg and rpm
// order 1.0~rc1 before 1.0, and 1.0+5.gabc after it.
func packageVersion(described string) string {
	version := sinceTag.ReplaceAllString(strings.TrimPrefix(described, "v"), "+$1.$2")
	return strings.Replace(version, "-", "~", 1)
}

func (r *releaser) git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// do runs a command in the repository.
func (r *releaser) do(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.root, os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return nil
}

// programsFor returns the programs for a target.
func programsFor(target string) (list []program) {
	for _, p := range programs {
		if !p.linuxOnly || strings.HasPrefix(target, "linux/") {
			list = append(list, p)
		}
	}
	return list
}

// built returns the path of a program for a target, from the repository.
func built(target, name string) string {
	if strings.HasPrefix(target, "windows/") {
		name += ".exe"
	}
	return "dist/build/" + strings.ReplaceAll(target, "/", "_") + "/" + name
}

// build builds the programs for a target.
func (r *releaser) build(ctx context.Context, target string) error {
	goos, goarch, ok := strings.Cut(target, "/")
	if !ok {
		return fmt.Errorf("the target %q is not GOOS/GOARCH", target)
	}
	for _, p := range programsFor(target) {
		fmt.Fprintln(os.Stderr, "release: build", p.name, r.version, "for", target)
		err := r.do(ctx, []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch}, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -X "+p.variable+"="+r.version, "-o", built(target, p.name), p.pkg)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeChangelog writes the changelog of the packages in the format of nfpm.
func (r *releaser) writeChangelog() error {
	text, err := json.MarshalIndent([]any{map[string]any{ // YAML includes JSON
		"semver": r.version + "-1", "date": r.made.Format(time.RFC3339), "packager": r.maintainer,
		"deb":     map[string]any{"urgency": "medium", "distributions": []string{"stable"}},
		"changes": []any{map[string]string{"note": "See docs/CHANGELOG.md in the repository."}},
	}}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.path("dist/changelog.yaml"), text, 0o600)
}

// pack makes the packages for a target that has any.
func (r *releaser) pack(ctx context.Context, target string) error {
	goos, goarch, _ := strings.Cut(target, "/")
	if goos != "linux" {
		return nil
	}
	env := []string{
		"ARCH=" + goarch, "VERSION=" + r.version, "MAINTAINER=" + r.maintainer, "BUILD=" + filepath.Dir(built(target, "x")),
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.made.Unix(), 10),
	}
	for _, p := range programsFor(target) {
		for _, format := range []string{"deb", "rpm"} {
			config := "packaging/" + strings.TrimPrefix(p.name, "ospulse-") + "/nfpm.yaml"
			if err := r.do(ctx, env, "go", "tool", "-modfile=packaging/go.mod", "nfpm", "package", "--config", config, "--packager", format, "--target", "dist/"); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSums writes SHA256SUMS, which sha256sum -c reads.
func (r *releaser) writeSums() error {
	entries, err := os.ReadDir(r.path("dist"))
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		content, err := os.ReadFile(r.path("dist/" + e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	return os.WriteFile(r.path("dist/SHA256SUMS"), sums.Bytes(), 0o644)
}
