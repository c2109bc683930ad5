// Package pgtest starts a real PostgreSQL server from the binaries that are installed
// on this machine, for tests and benchmarks.
//
// The server runs in a temporary folder, listens only on a free loopback port and trusts
// every connection. It has ended when [Server.Close] returns. On Linux it also ends when
// the process that started it dies in any way. A killed process leaves the temporary
// folder behind, but never the server.
//
// PostgreSQL refuses to run as root. A process of root runs it as the user "postgres",
// or "nobody" if that user does not exist.
//
// The package does not depend on the schema, on GORM or on the rest of OS-Pulse.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ospulse/test/freeport"
)

const (
	startTimeout = time.Minute              // for one start, including recovery after an immediate stop
	stopTimeout  = 30 * time.Second         // after which the server is killed
	pollInterval = 20 * time.Millisecond    // between two attempts to connect while it starts
	portAttempts = 5                        // free ports to try: another process may take one before the server does
	logTailBytes = 4 << 10                  // size of the log's end in an error
	superuser    = "postgres"               // role and first database that initdb creates
	portTaken    = "Address already in use" // the server's log message in that case, with LC_ALL=C
)

// Options configure a server. The zero value is for tests.
type Options struct {
	// Settings override those of the server, as in postgresql.conf.
	Settings map[string]string
	// Durable leaves fsync and full_page_writes on, as in production. Without it both
	// are off, which is safe as long as the machine itself does not fail: commits
	// survive Stop and Restart.
	Durable bool
	// Parent is the folder in which the server's own folder is created; by default the
	// folder of temporary files, or for a server that is not durable one in memory, if
	// TMPDIR does not say otherwise. The user that runs PostgreSQL must have access to it.
	Parent string
	// Primary, if not nil, is a running server. The new server is its streaming
	// standby, and its WAL receiver has the name ApplicationName.
	Primary *Server
}

// ApplicationName is the name under which a standby connects to its primary, for
// synchronous_standby_names.
const ApplicationName = "standby"

// StopMode is a way to stop a server.
type StopMode string

const (
	// Fast rolls back open transactions, disconnects every client and shuts down.
	Fast StopMode = "fast"
	// Immediate ends the server as in a crash: the next start recovers from the log. On
	// Windows every stop is immediate.
	Immediate StopMode = "immediate"
)

// Server is one PostgreSQL server. Its methods are safe for concurrent use.
type Server struct {
	bin      string // folder of the binaries
	dir      string // temporary folder: data, log and socket
	name     string // its cluster_name, which distinguishes it from another server on the port
	settings map[string]string

	port int // constant after Start

	mu      sync.Mutex
	running *process // nil when stopped
}

// Start runs initdb in a temporary folder and starts a server on a free loopback port.
// It returns when a connection works. The context limits the start only; the server
// then runs until Close, or until this process ends. The error of a failed start has
// the end of the server's log.
func Start(ctx context.Context, opts Options) (*Server, error) {
	bin, err := BinDir()
	if err != nil {
		return nil, err
	}
	if opts.Parent == "" && !opts.Durable {
		opts.Parent = inMemory()
	}
	dir, err := makeDir(opts.Parent)
	if err != nil {
		return nil, fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	s := &Server{bin: bin, dir: dir, name: filepath.Base(dir), settings: map[string]string{
		"max_connections": "500", // many tests share a server
	}}
	if !opts.Durable {
		s.settings["fsync"] = "off"
		s.settings["full_page_writes"] = "off"
	}
	for k, v := range opts.Settings {
		s.settings[k] = v
	}
	if opts.Primary != nil {
		err = s.basebackup(ctx, opts.Primary)
	} else {
		err = s.initdb(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for range portAttempts {
		if s.port, err = freeport.Get(ctx); err != nil {
			break
		}
		if err = s.Restart(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// BinDir returns the folder with initdb and postgres: the newest version of Debian's
// packages, else the one on PATH. The error says what to install.
func BinDir() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if dir := newestBinDir(dirs); dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if dir := filepath.Dir(path); hasServer(dir) {
			return dir, nil
		}
	}
	return "", errors.New("no PostgreSQL server is installed: " +
		"run tools/install-deps.sh (Debian, Ubuntu), or install PostgreSQL 13 or newer and put the folder of its initdb and postgres on PATH")
}

// newestBinDir returns the newest of the folders named …/<major version>/bin, or "" if
// none has a server.
func newestBinDir(dirs []string) string {
	best, bestVersion := "", -1.0
	for _, dir := range dirs {
		version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64) // "9.6" has a dot
		if err == nil && version > bestVersion && hasServer(dir) {
			best, bestVersion = dir, version
		}
	}
	return best
}

// hasServer reports whether dir has the two binaries that Start needs.
func hasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// URL returns the connection string of a database of this server. Every server has the
// database "postgres".
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(superuser),
		Host:     s.Address(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// CreateDatabase creates an empty database. It fails if the name exists.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	return s.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
}

// Stop ends the server and keeps its data for Restart. It succeeds if the server is not
// running. It kills a server that does not end within 30 s, and returns an error.
func (s *Server) Stop(mode StopMode) error {
	if mode != Fast && mode != Immediate {
		return fmt.Errorf("stop PostgreSQL: mode %q is neither %q nor %q", mode, Fast, Immediate)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop(mode)
}

// Restart starts the server again, on the same port and data. It stops a running server
// first (fast). It returns when a connection works.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(Fast); err != nil {
		return err
	}
	return s.start(ctx)
}

// Promote promotes a standby to a primary, and returns when it accepts writes.
func (s *Server) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	var promoted bool
	err = conn.QueryRow(ctx, "SELECT pg_promote(true, $1)", int(startTimeout/time.Second)).Scan(&promoted)
	if err == nil && !promoted {
		err = fmt.Errorf("it is no primary after %v", startTimeout)
	}
	return errors.Join(err, conn.Close(ctx))
}

// Close ends the server and removes its folder. A second Close succeeds; no other
// method works after Close.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.stop(Immediate), os.RemoveAll(s.dir))
}

// LogTail returns the end of the server's log, for the report of a failed test.
func (s *Server) LogTail() string {
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	if len(log) > logTailBytes {
		log = log[len(log)-logTailBytes:]
	}
	return string(bytes.TrimSpace(log))
}

// Address returns the host and port on which the server listens.
func (s *Server) Address() string  { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }
func (s *Server) dataPath() string { return filepath.Join(s.dir, "data") }
func (s *Server) logPath() string  { return filepath.Join(s.dir, "log") }

// Exec runs one statement as a superuser, in the database "postgres", on a connection
// of its own.
func (s *Server) Exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// initdb creates the data folder.
func (s *Server) initdb(ctx context.Context) error {
	return s.run(ctx, "initdb", "-D", s.dataPath(), "-U", superuser, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
}

// basebackup creates the data folder of a standby of primary.
func (s *Server) basebackup(ctx context.Context, primary *Server) error {
	return s.run(ctx, "pg_basebackup", "-D", s.dataPath(), "-d", primary.URL(superuser)+"&application_name="+ApplicationName,
		"--write-recovery-conf", "--checkpoint=fast", "--no-sync")
}

// run runs one of PostgreSQL's binaries and waits for it.
func (s *Server) run(ctx context.Context, name string, args ...string) error {
	runtime.LockOSThread() // see process.run
	defer runtime.UnlockOSThread()
	cmd, err := s.command(ctx, name, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// errPortTaken means that another process listens on the server's port.
var errPortTaken = errors.New("the port is taken")

// start starts the server and waits until it answers. The caller holds mu.
func (s *Server) start(ctx context.Context) error {
	log, err := os.Create(s.logPath())
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own handle

	cmd, err := s.command(context.WithoutCancel(ctx), "postgres", s.arguments()...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	running, err := launch(cmd)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.running = running
	if err := s.await(ctx); err != nil {
		stopped := s.stop(Immediate)
		if strings.Contains(s.LogTail(), portTaken) {
			err = errPortTaken
		}
		return errors.Join(fmt.Errorf("start PostgreSQL on %s: %w; its log ends:\n%s", s.Address(), err, s.LogTail()), stopped)
	}
	return nil
}

// arguments returns the arguments of the postgres binary.
func (s *Server) arguments() []string {
	args := []string{"-D", s.dataPath(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", s.dir}
	for k, v := range s.settings {
		args = append(args, "-c", k+"="+v)
	}
	return append(args, "-c", "cluster_name="+s.name)
}

// await returns when the server accepts connections, or an error if it never will.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	exited := s.running.exited
	pingCtx, stopPing := context.WithCancel(ctx) // another program on the port may never answer
	defer stopPing()
	go func() {
		select {
		case <-exited:
			stopPing()
		case <-pingCtx.Done():
		}
	}()

	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		err := s.ping(pingCtx)
		if err == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-pingCtx.Done():
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case pingCtx.Err() != nil:
			return fmt.Errorf("it ended: %w", s.running.err)
		}
	}
}

// ping connects and checks that the server on the port is this one.
func (s *Server) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	var name string
	err = conn.QueryRow(ctx, "SHOW cluster_name").Scan(&name)
	if err == nil && name != s.name {
		err = fmt.Errorf("the server on the port is %q, not %q", name, s.name)
	}
	return errors.Join(err, conn.Close(ctx))
}

// stop ends the server if it is running. The caller holds mu.
func (s *Server) stop(mode StopMode) error {
	running := s.running
	s.running = nil
	if running == nil {
		return nil
	}
	return running.stop(mode, stopTimeout)
}

// command prepares one of PostgreSQL's binaries. It runs in the temporary folder, as a
// user that PostgreSQL accepts, without the PG* and locale settings of the caller:
// those would change where it listens and what it logs.
func (s *Server) command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	attr, err := sysProcAttr()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", name, err)
	}
	cmd.SysProcAttr = attr
	return cmd, nil
}
