//go:build linux

package judge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"ospulse/internal/database"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// fault is a fault to inject. inject causes it, waits, and undoes it.
type fault struct {
	name         string
	inject       func(w *world, r *rand.Rand) error
	isGeneral    bool // it does not involve the database
	needsStandby bool
}

// faults returns the faults that apply to a set-up and that this user may inject.
func faults(s setup) []fault {
	if s.standby && !s.sync {
		return []fault{{name: "failover, asynchronous", inject: failoverAsync, needsStandby: true}}
	}
	all := []fault{
		{name: "backend: kill -9", inject: killBackend, isGeneral: true},
		{name: "backend: SIGTERM", inject: endBackend, isGeneral: true},
		{name: "backend: SIGSTOP", inject: stopBackend, isGeneral: true},
		{name: "clock: forward", inject: clockForward, isGeneral: true},
		{name: "clock: back", inject: clockBack, isGeneral: true},
		{name: "heavy readers", inject: heavyReaders, isGeneral: true},
	}
	isRoot := os.Geteuid() == 0
	if isRoot {
		all = append(all, fault{name: "agent: kill -9", inject: killAgent, isGeneral: true})
	}
	if !s.postgres {
		all = append(all, fault{name: "database: locked", inject: lockFile})
		if isRoot {
			all = append(all, fault{name: "disk full", inject: fullDisk("data")}, fault{name: "EIO from fsync", inject: failSync})
		}
		return all
	}
	all = append(all,
		fault{name: "database: immediate stop", inject: stopDatabase(pgtest.Immediate)},
		fault{name: "database: fast stop", inject: stopDatabase(pgtest.Fast)},
		fault{name: "database: sessions ended", inject: endSessions},
		fault{name: "database: locked", inject: lockTable},
		fault{name: "database: privileges revoked", inject: revoke},
		fault{name: "database: connections exhausted", inject: exhaustConnections},
		fault{name: "network: cut", inject: network_(cut)},
		fault{name: "network: delayed", inject: network_(delayed)},
		fault{name: "network: half-open", inject: network_(halfOpen)},
		fault{name: "network: answers lost", inject: network_(mute)},
		fault{name: "network: commits unheard", inject: network_(unheard)},
		fault{name: "network: reset", inject: resetNetwork},
		fault{name: "backend: kill -9 while it drains", inject: killDraining},
	)
	if isRoot {
		all = append(all, fault{name: "disk full: database", inject: fullDisk("pg")}, fault{name: "disk full: spool", inject: fullSpoolDisk}, fault{name: "EIO from fsync", inject: failSpoolSync},
			fault{name: "database: EIO from fsync", inject: failDatabaseSync})
	}
	if s.standby {
		all = append(all, fault{name: "failover, synchronous", inject: failover, needsStandby: true}, fault{name: "standby away", inject: standbyAway, needsStandby: true},
			fault{name: "standby away, then failover", inject: failoverToLate, needsStandby: true})
	}
	return all
}

// turn returns the set-up that gets the fault in a short run. A short run injects each
// fault of a database once.
func (f fault) turn(s setup, seed uint64) string {
	places := []string{"postgres", "postgres", "three-sync"} // twice, because a round with one backend is shorter
	switch {
	case f.isGeneral:
		places = []string{"sqlite", "postgres", "three-sync"}
	case f.needsStandby || !s.postgres:
		return s.name
	}
	return places[roundSeed(seed, f.name, 0)%uint64(len(places))]
}

// hold waits for a random time between least and most.
func hold(r *rand.Rand, least, most time.Duration) {
	<-time.After(least + time.Duration(r.Int64N(int64(most-least))))
}

func (w *world) any(r *rand.Rand) *backend { return w.backends[r.IntN(len(w.backends))] }

func killBackend(w *world, r *rand.Rand) error {
	b := w.any(r)
	if err := b.end(os.Kill); err != nil {
		return err
	}
	hold(r, 0, time.Second)
	return b.start()
}

func endBackend(w *world, r *rand.Rand) error {
	b := w.any(r)
	if err := b.end(syscall.SIGTERM); err != nil {
		return err
	}
	return b.start()
}

func stopBackend(w *world, r *rand.Rand) error {
	b := w.any(r)
	if err := b.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	hold(r, time.Second, 4*time.Second)
	return b.signal(syscall.SIGCONT)
}

// step returns a random clock step.
func step(r *rand.Rand) time.Duration {
	most := []time.Duration{2 * time.Second, time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour}[r.IntN(5)]
	return time.Second + time.Duration(r.Int64N(int64(most)))
}

func clockForward(w *world, r *rand.Rand) error {
	w.setClock(step(r))
	hold(r, 500*time.Millisecond, 2*time.Second)
	w.setClock(0)
	hold(r, 200*time.Millisecond, time.Second)
	return nil
}

func clockBack(w *world, r *rand.Rand) error {
	w.setClock(-step(r))
	hold(r, 500*time.Millisecond, 2*time.Second)
	w.setClock(0)
	hold(r, 200*time.Millisecond, time.Second)
	return nil
}

// heavyReaders use all connections that readers may have.
func heavyReaders(w *world, r *rand.Rand) error {
	if w.big == "" {
		w.fillBig()
	}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	var readers sync.WaitGroup
	for range 20 {
		b := w.any(r)
		readers.Go(func() {
			for ctx.Err() == nil {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url()+"/api/sessions/"+w.big+"/events?count=true&limit=1&filter=data.n+contains+nothing", nil)
				if err != nil {
					return
				}
				if response, err := w.http.Do(request); err == nil {
					_, _ = io.Copy(io.Discard, response.Body) // the connection may be cut
					response.Body.Close()
				}
			}
		})
	}
	readers.Wait()
	return nil
}

// lockFile holds SQLite's write lock, as another program may.
func lockFile(w *world, r *rand.Rand) error {
	ctx := context.Background()
	db, err := database.Open(ctx, database.Options{Path: filepath.Join(w.dir, "data", "0", "ospulse.db"), PoolSize: 2})
	if err != nil {
		return err
	}
	pools, err := db.Pools()
	if err != nil {
		return errors.Join(err, db.Close())
	}
	tx, err := pools["write"].BeginTx(ctx, nil)
	if err == nil {
		hold(r, time.Second, 6*time.Second)
		err = tx.Rollback()
	}
	return errors.Join(err, db.Close())
}

// fill fills one of the disks, and returns a function that frees the space.
func (w *world) fill(name string) (free func() error, err error) {
	path := filepath.Join(w.dir, name, "filler")
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	free = func() error { return errors.Join(file.Close(), os.Remove(path)) }
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil {
		return nil, errors.Join(err, free())
	}
	at := int64(0)
	for size := int64(stat.Bavail) * stat.Bsize; size >= stat.Bsize; size /= 2 {
		for unix.Fallocate(int(file.Fd()), 0, at, size) == nil {
			at += size
		}
	}
	return free, nil
}

// fullDisk fills the disk of the data folder or that of PostgreSQL, which may stop.
func fullDisk(name string) func(*world, *rand.Rand) error {
	return func(w *world, r *rand.Rand) error {
		free, err := w.fill(name)
		if err != nil {
			return err
		}
		hold(r, time.Second, 3*time.Second)
		if err := free(); err != nil || w.pg == nil || name != "pg" {
			return err
		}
		return w.mendDatabase()
	}
}

// mendDatabase restarts the servers that do not answer.
func (w *world) mendDatabase() error {
	for _, s := range w.pg.servers {
		if s == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err != nil {
			if err := errors.Join(s.Stop(pgtest.Immediate), s.Restart(context.Background())); err != nil {
				return err
			}
		}
	}
	return nil
}

// fullSpoolDisk leaves no space for the spool while the database is away.
func fullSpoolDisk(w *world, r *rand.Rand) error {
	free, err := w.fill("data")
	if err != nil {
		return err
	}
	return errors.Join(stopDatabase(pgtest.Immediate)(w, r), free())
}

// failSync makes every fsync of a backend fail with EIO.
func failSync(w *world, r *rand.Rand) error {
	b := w.any(r)
	end, err := b.failSync()
	if err != nil {
		return err
	}
	hold(r, time.Second, 2*time.Second)
	return end()
}

// failSync attaches strace to the backend, and returns a function that detaches it.
func (b *backend) failSync() (end func() error, err error) { return failSyncOf(b.process.Pid) }

// failSyncOf makes every fsync of processes, and of their future children, fail.
func failSyncOf(pids ...int) (end func() error, err error) {
	args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"}
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	cmd := exec.Command("strace", args...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// strace is attached when the kernel reports it as the tracer.
	for deadline := time.Now().Add(wait.Patience); ; <-time.After(10 * time.Millisecond) {
		var tracer int
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[0]))
		if err == nil {
			_, rest, _ := strings.Cut(string(text), "TracerPid:")
			_, err = fmt.Sscan(rest, &tracer)
		}
		if err == nil && tracer == cmd.Process.Pid {
			break
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("strace does not attach"), err, cmd.Process.Kill(), cmd.Wait())
		}
	}
	return func() error {
		err := cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()                         // the error says that it was interrupted
		if errors.Is(err, os.ErrProcessDone) { // together with the traced process
			err = nil
		}
		return err
	}, nil
}

// failDatabaseSync makes every fsync of the PostgreSQL server fail, which then stops.
func failDatabaseSync(w *world, r *rand.Rand) error {
	pid, err := w.pg.pid()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return err
	}
	pids := []int{pid}
	for _, word := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		pids = append(pids, child)
	}
	end, err := failSyncOf(pids...)
	if err != nil {
		return err
	}
	hold(r, 500*time.Millisecond, 2*time.Second)
	return errors.Join(end(), w.mendDatabase())
}

// failSpoolSync makes every fsync of a backend fail while the database is away.
func failSpoolSync(w *world, r *rand.Rand) error {
	end, err := w.any(r).failSync()
	if err != nil {
		return err
	}
	return errors.Join(stopDatabase(pgtest.Immediate)(w, r), end())
}

func stopDatabase(mode pgtest.StopMode) func(*world, *rand.Rand) error {
	return func(w *world, r *rand.Rand) error {
		if err := w.pg.serving().Stop(mode); err != nil {
			return err
		}
		hold(r, 200*time.Millisecond, 2*time.Second)
		return w.pg.serving().Restart(context.Background())
	}
}

// killDraining kills a backend at about the time when it drains its spool.
func killDraining(w *world, r *rand.Rand) error {
	if err := stopDatabase(pgtest.Immediate)(w, r); err != nil {
		return err
	}
	hold(r, 0, 400*time.Millisecond)
	return killBackend(w, r)
}

// endSessions terminates the backends' connections in the server, several times.
func endSessions(w *world, r *rand.Rand) error {
	for range 5 {
		if err := w.pg.exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"'"); err != nil {
			return err
		}
		hold(r, 50*time.Millisecond, 500*time.Millisecond)
	}
	return nil
}

// lockTable locks a table as a migration or VACUUM FULL would.
func lockTable(w *world, r *rand.Rand) error {
	ctx := context.Background()
	conn, err := w.pg.connect(ctx)
	if err != nil {
		return err
	}
	tables := w.pg.tables()
	_, err = conn.Exec(ctx, "BEGIN; LOCK TABLE "+tables[r.IntN(len(tables))]+" IN ACCESS EXCLUSIVE MODE")
	if err == nil {
		hold(r, time.Second, 6*time.Second)
	}
	return errors.Join(err, conn.Close(ctx))
}

// revoke revokes privileges and grants them again.
func revoke(w *world, r *rand.Rand) error {
	tables := w.pg.tables()
	table := tables[r.IntN(len(tables))]
	privilege := []string{"INSERT", "SELECT", "UPDATE", "ALL"}[r.IntN(4)]
	if err := w.pg.exec(context.Background(), "REVOKE "+privilege+" ON "+table+" FROM "+role); err != nil {
		return err
	}
	if r.IntN(2) == 0 { // the spool is then drained without them
		if err := stopDatabase(pgtest.Immediate)(w, r); err != nil {
			return err
		}
	}
	hold(r, 500*time.Millisecond, 2*time.Second)
	return w.pg.exec(context.Background(), "GRANT "+privilege+" ON "+table+" TO "+role)
}

// exhaustConnections takes all connections of the server.
func exhaustConnections(w *world, r *rand.Rand) error {
	ctx := context.Background()
	url := "postgres://" + role + "@" + w.pg.serving().Address() + "/" + databaseName + "?sslmode=disable"
	var taken []*pgx.Conn
	var err error
	for range 3 {
		if err = w.pg.exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"' AND application_name = 'ospulse'"); err != nil {
			break
		}
		for range maxConnections {
			conn, err := pgx.Connect(ctx, url)
			if err != nil { // none is left
				break
			}
			taken = append(taken, conn)
		}
	}
	hold(r, time.Second, 3*time.Second)
	for _, conn := range taken {
		err = errors.Join(err, conn.Close(ctx))
	}
	return err
}

// network_ disturbs the network of one backend or of all, and restores it. Half-open
// connections may stay dead.
func network_(state network) func(*world, *rand.Rand) error { //nolint:revive // network is the type
	return func(w *world, r *rand.Rand) error {
		var some []int
		if r.IntN(2) == 0 {
			some = []int{w.any(r).index}
		}
		w.pg.network(state, some...)
		hold(r, time.Second, 5*time.Second)
		if (state == halfOpen || state == mute) && r.IntN(2) == 0 {
			w.pg.network(cut, some...)
		}
		w.pg.network(passing, some...)
		return nil
	}
}

// resetNetwork resets all connections, several times.
func resetNetwork(w *world, r *rand.Rand) error {
	for range 8 {
		w.pg.resetConnections()
		hold(r, 20*time.Millisecond, 300*time.Millisecond)
	}
	return nil
}

// failover removes the primary for good and promotes the standby, which later gets a
// standby of its own.
func failover(w *world, r *rand.Rand) error {
	ctx := context.Background()
	if err := w.pg.failover(ctx); err != nil {
		return err
	}
	hold(r, 200*time.Millisecond, time.Second)
	return w.pg.addStandby(ctx)
}

// standbyAway stops the standby for a while, so that commits wait for it, possibly
// longer than the backends do.
func standbyAway(w *world, r *rand.Rand) error {
	standby := w.pg.servers[1-w.pg.primary]
	if err := standby.Stop(pgtest.Immediate); err != nil {
		return err
	}
	hold(r, time.Second, 6*time.Second)
	if err := standby.Restart(context.Background()); err != nil {
		return err
	}
	return w.pg.awaitStandby(context.Background())
}

// failoverAsync fails over to a standby that may lack the last commits. A session that
// the backend reports as replicated must lose none.
func failoverAsync(w *world, r *rand.Rand) error {
	for _, s := range w.running {
		durability, err := s.durability()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.history.MayLose = durability != "replicated"
		s.mu.Unlock()
	}
	return failover(w, r)
}

// failoverToLate fails over to a standby that was away for a while. Commits of that
// time, which only the primary had, must not have been acknowledged or visible.
func failoverToLate(w *world, r *rand.Rand) error {
	ctx := context.Background()
	standby := w.pg.servers[1-w.pg.primary]
	if err := standby.Stop(pgtest.Immediate); err != nil {
		return err
	}
	hold(r, 2*time.Second, 7*time.Second)
	if err := w.pg.serving().Stop(pgtest.Immediate); err != nil {
		return err
	}
	if err := standby.Restart(ctx); err != nil {
		return err
	}
	return failover(w, r)
}
