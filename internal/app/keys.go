package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/durable"
	"ospulse/internal/handlers"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
)

const keysUsage = `Create, list and revoke the keys that requests need.

Usage: ospulse-backend keys create --role ROLE [--name NAME] [--agent AGENT] [--expires TIME]
       ospulse-backend keys list
       ospulse-backend keys revoke ID

  --role     agent (sends events of one agent), viewer (reads), analyst (also uploads,
             starts, stops, changes and exports), or admin (also keys, rules and audit)
  --name     who or what holds the key; the default is the role
  --agent    for the role agent: the ID or the name of the agent; the default is the one at
             AGENT_SERVICE_URL
  --expires  a duration such as 12h or 90d, or a time such as 2027-01-31T00:00:00Z

The first key makes the backend require a key of every request. A backend may run
meanwhile; it notices within seconds. create prints the key once; it is not stored.
`

// runKeys runs the subcommand keys with its arguments.
func runKeys(ctx context.Context, args []string, cfg config.Config, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("keys", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	role, name := flags.String("role", "", ""), flags.String("name", "", "")
	agent, expires := flags.String("agent", "", ""), flags.String("expires", "", "")
	action := "help"
	if len(args) > 0 {
		action, args = args[0], args[1:]
	}
	if slices.Contains([]string{"help", "--help", "-h"}, action) {
		_, err := io.WriteString(stdout, keysUsage)
		return err
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, err = io.WriteString(stdout, keysUsage)
			return err
		}
		return fmt.Errorf("%w; see ospulse-backend keys --help", err)
	}
	wanted := service.NewKey{Name: cmp.Or(*name, *role), Role: models.Role(*role), Agent: *agent}
	var err error
	switch isCreate, n := action == "create", flags.NArg(); {
	case isCreate && *role == "":
		return errors.New("keys create needs --role agent, viewer, analyst or admin")
	case isCreate && n == 0, action == "list" && n == 0 && flags.NFlag() == 0, action == "revoke" && n == 1 && flags.NFlag() == 0:
		wanted.ExpiresAt, err = expiry(*expires, time.Now())
	default:
		err = errors.New("unknown arguments; see ospulse-backend keys --help")
	}
	if err != nil {
		return err
	}

	own, err := openKeys(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	defer own.db.Close()
	keys, audit := own.keys, own.audit
	by := models.Actor{Name: "ospulse-backend keys", Role: models.RoleAdmin}
	switch action {
	case "create":
		entry := models.AuditEntry{ActorName: by.Name, Role: by.Role, Action: "createKey"}
		if err := audit.Begin(ctx, &entry); err != nil {
			return plain(err)
		}
		key, text, err := keys.Create(ctx, by, wanted)
		if err != nil {
			recordFailure(ctx, audit, &entry, err)
			return plain(err)
		}
		after, err := json.Marshal(map[string]any{"name": key.Name, "role": key.Role, "agent": key.AgentName, "expires_at": key.ExpiresAt})
		if err != nil {
			return err
		}
		entry.Target, entry.After, entry.Status = key.ID, string(after), http.StatusCreated
		audit.Record(ctx, &entry)
		_, err = fmt.Fprintln(stdout, text)
		return err
	case "revoke":
		entry := models.AuditEntry{ActorName: by.Name, Role: by.Role, Action: "revokeKey", Target: strings.ToValidUTF8(flags.Arg(0), "\uFFFD")}
		_ = audit.Begin(ctx, &entry) // a leaked key can be revoked whatever is wrong with the audit
		key, err := keys.Revoke(ctx, flags.Arg(0))
		if err != nil {
			recordFailure(ctx, audit, &entry, err)
			return plain(err)
		}
		entry.Status = http.StatusOK
		audit.Record(ctx, &entry)
		_, err = fmt.Fprintf(stdout, "%s of %s is revoked\n", key.ID, key.Name)
		return err
	default:
		return listKeys(ctx, keys, stdout)
	}
}

// keyStore is what the subcommands about keys and agents use.
type keyStore struct {
	db    *database.DB
	keys  *service.Keys
	audit *service.Audit
	log   *slog.Logger
}

// openKeys opens the keys of the settings' database. The caller closes the database.
func openKeys(ctx context.Context, cfg config.Config, stderr io.Writer) (*keyStore, error) {
	log := newLogger(cfg, stderr)
	if err := durable.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder %s (DATA_DIR) cannot be used: %w", cfg.DataDir, err)
	}
	db, err := connect(ctx, cfg, 0, log)
	if err != nil {
		return nil, err
	}
	own := &keyStore{
		db: db, keys: service.NewKeys(repository.NewKeys(db), repository.NewAgents(db), service.KeyPolicy{Issuer: string(cfg.OIDCIssuer)}, time.Now, log),
		audit: service.NewAudit(repository.NewAudit(db), 0, time.Now, time.Now, log), log: log,
	}
	err = db.Migrate(ctx) // the first key may come before the first start
	if err == nil {
		err = own.keys.Load(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return own, nil
}

// recordFailure completes the entry of an action that failed.
func recordFailure(ctx context.Context, audit *service.Audit, entry *models.AuditEntry, err error) {
	entry.Code = models.ErrorCode(err)
	entry.Status = handlers.StatusOf(entry.Code)
	audit.Record(ctx, entry)
}

// plain returns the message of an error for a terminal.
func plain(err error) error {
	if e, ok := errors.AsType[*models.Error](err); ok && e.Code != models.CodeInternal {
		return errors.New(e.Message)
	}
	return err
}

// expiry reads a duration, also in days, or a time; nil for "".
func expiry(text string, now time.Time) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // it never expires
	}
	if at, ok := models.ParseTime(text); ok {
		return &at, nil
	}
	lasts, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		lasts = time.Duration(n * 24 * float64(time.Hour))
	}
	if err != nil || lasts <= 0 {
		return nil, fmt.Errorf("--expires must be a duration such as 12h or 90d, or a time such as 2027-01-31T00:00:00Z, not %q", text)
	}
	return new(now.Add(lasts).UTC()), nil
}

// listKeys prints a table of all keys.
func listKeys(ctx context.Context, keys *service.Keys, stdout io.Writer) error {
	all, err := keys.List(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tKEY\tROLE\tNAME\tAGENT\tCREATED\tLAST USED\tSTATE") //nolint:errcheck // Flush returns it
	now := time.Now()
	for i := range all {
		k := &all[i]
		state, used := "valid", "never"
		switch {
		case k.RevokedAt != nil:
			state = "revoked " + k.RevokedAt.Format(time.DateOnly)
		case !k.IsValid(now):
			state = "expired " + k.ExpiresAt.Format(time.DateOnly)
		case k.ExpiresAt != nil:
			state = "valid until " + k.ExpiresAt.Format(time.RFC3339)
		}
		if k.LastUsedAt != nil {
			used = k.LastUsedAt.Format(time.RFC3339)
		}
		//nolint:errcheck // Flush returns it
		fmt.Fprintf(table, "%s\t%s…\t%s\t%q\t%s\t%s\t%s\t%s\n", k.ID, k.Prefix, k.Role, k.Name, cmp.Or(k.AgentName, "-"), k.CreatedAt.Format(time.RFC3339), used, state)
	}
	return table.Flush()
}
