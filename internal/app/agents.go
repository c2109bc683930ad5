package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"ospulse/internal/config"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

const agentsUsage = `Add agents: monitored machines.

Usage: ospulse-backend agents add NAME

It prints the command that makes the agent on the monitored machine this backend's. The
token in it works once, within an hour. The agent then fetches its work from this backend,
so the backend need not reach it. The first agent that is added gets the sessions that name
no agent. The dashboard does the same with Agents, Add agent. An admin's key must exist.
`

// runAgents runs the subcommand agents with its arguments.
func runAgents(ctx context.Context, args []string, cfg config.Config, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h":
		_, err := io.WriteString(stdout, agentsUsage)
		return err
	case args[0] != "add" || len(args) != 2:
		return errors.New("unknown arguments; see ospulse-backend agents --help")
	}
	own, err := openKeys(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	defer own.db.Close()
	certificates, err := openCertificate(cfg, own.log)
	if err != nil {
		return err
	}
	by := models.Actor{Name: "ospulse-backend agents", Role: models.RoleAdmin}
	entry := models.AuditEntry{ActorName: by.Name, Role: by.Role, Action: "addAgent"}
	if err := own.audit.Begin(ctx, &entry); err != nil {
		return plain(err)
	}
	agent, token, err := own.keys.AddAgent(ctx, by, args[1])
	if err != nil {
		recordFailure(ctx, own.audit, &entry, err)
		return plain(err)
	}
	after, err := json.Marshal(map[string]any{"name": agent.Name})
	if err != nil {
		return err
	}
	entry.Target, entry.After, entry.Status = agent.ID, string(after), http.StatusCreated
	own.audit.Record(ctx, &entry)
	_, err = fmt.Fprintln(stdout, service.EnrollCommand(reachableURL(cfg), token, selfSigned(cfg, certificates)()))
	return err
}

// reachableURL returns the URL at which other machines reach the backend.
func reachableURL(cfg config.Config) string {
	if cfg.PublicURL != "" {
		return strings.TrimRight(string(cfg.PublicURL), "/")
	}
	host := string(cfg.Host)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	scheme := "http"
	if cfg.UsesTLS() {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(cfg.Port))
}
