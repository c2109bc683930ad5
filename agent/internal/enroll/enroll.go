//go:build linux

// Package enroll makes an agent one of a backend's: it exchanges a token for the agent's key
// and keeps what the agent needs to reach the backend.
package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ospulse/agent/internal/durable"
	"ospulse/agent/internal/pin"
)

const (
	// FileName is the name of the file with the enrollment, in the data folder.
	FileName = "enrollment.json"

	requestTimeout = 30 * time.Second
	maxAnswerBytes = 64 << 10
)

// Enrollment is what an enrolled agent knows of its backend.
type Enrollment struct {
	Backend     string `json:"backend"`     // URL
	Fingerprint string `json:"fingerprint"` // SHA-256 of the only certificate to accept; "" for any that the machine trusts
	Name        string `json:"name"`        // of the agent
	Key         string `json:"key"`
}

// Read returns the enrollment in a data folder; nil if there is none.
func Read(folder string) (*Enrollment, error) {
	text, err := os.ReadFile(filepath.Join(folder, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	var e Enrollment
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("%s is damaged, enroll the agent again: %w", filepath.Join(folder, FileName), err)
	}
	return &e, nil
}

// write stores the enrollment, readable only for the user of the agent.
func (e *Enrollment) write(folder string) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, FileName+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // it has its name by then, unless something failed
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(folder, FileName)); err != nil {
		return err
	}
	return durable.SyncDir(folder)
}

const usage = `Make this machine's agent one of a backend's.

Usage: ospulse-agent enroll URL TOKEN [--backend-fingerprint SHA256] [--data FOLDER]

An admin gets the whole command in the dashboard (Agents, Add agent). The token works once,
within an hour. Run the command as the user of the agent, usually root. The agent then finds
its backend and its key in the data folder, fetches its work from the backend, and opens no
port.

  --backend-fingerprint  the SHA-256 of the backend's certificate, if no authority vouches for it
  --data                 the data folder of the agent; default %s
`

// Run runs the command enroll with its arguments and returns the exit code. folder is the
// default data folder.
func Run(ctx context.Context, args []string, folder string, stdout, stderr io.Writer) int {
	if err := run(ctx, args, folder, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent enroll:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, folder string, stdout io.Writer) error {
	e, token := Enrollment{}, ""
	flags := flag.NewFlagSet("enroll", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&e.Fingerprint, "backend-fingerprint", "", "")
	flags.StringVar(&folder, "data", folder, "")
	usual := folder
	var words []string
	for rest := args; ; { // flags may follow the words
		if err := flags.Parse(rest); errors.Is(err, flag.ErrHelp) {
			_, err = fmt.Fprintf(stdout, usage, usual)
			return err
		} else if err != nil {
			return fmt.Errorf("%w; see ospulse-agent enroll --help", err)
		}
		if flags.NArg() == 0 {
			break
		}
		words, rest = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if len(words) != 2 {
		return errors.New("the URL of the backend and a token are needed; see ospulse-agent enroll --help")
	}
	e.Backend, token = strings.TrimRight(words[0], "/"), words[1]
	u, err := url.Parse(e.Backend)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the URL of the backend must be like https://192.0.2.1:3003, not %.100q", words[0])
	}
	sum, err := pin.Parse(e.Fingerprint)
	if err != nil {
		return fmt.Errorf("--backend-fingerprint %w", err)
	}
	if sum != nil && u.Scheme != "https" {
		return errors.New("--backend-fingerprint needs an https URL")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: pin.Config(sum)}
	defer transport.CloseIdleConnections()
	if err := e.exchange(ctx, &http.Client{Transport: transport, Timeout: requestTimeout}, token); err != nil {
		return err
	}
	if err := e.write(folder); err != nil {
		return fmt.Errorf("the key could not be stored: %w. The token is used up: ask for a new one", err)
	}
	fmt.Fprintf(stdout, "This machine is enrolled as %q at %s.\n", e.Name, e.Backend) //nolint:errcheck // a terminal
	if u.Scheme == "http" {
		fmt.Fprintln(stdout, "The connection is not encrypted: everyone on the network can read the key and the events.") //nolint:errcheck // a terminal
	}
	_, err = fmt.Fprintln(stdout, "Start the agent now: systemctl restart ospulse-agent, or ospulse-agent without a package.")
	return err
}

// exchange gets the name and the key of the agent for a token.
func (e *Enrollment) exchange(ctx context.Context, client *http.Client, token string) error {
	body, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Backend+"/api/agents/enroll", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "os-pulse-agent")
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a redirect may send the token elsewhere
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	var said struct{ Key, Name, Error string }
	parseErr := json.Unmarshal(text, &said)
	switch {
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s is no backend of OS-Pulse, or one that is too old for this", e.Backend)
	case response.StatusCode/100 != 2 && said.Error != "":
		return fmt.Errorf("the backend refuses: %s", said.Error)
	case response.StatusCode/100 != 2:
		return fmt.Errorf("the backend answered %s", response.Status)
	case parseErr != nil || said.Key == "":
		return fmt.Errorf("%s did not answer as a backend of OS-Pulse", e.Backend)
	}
	e.Key, e.Name = said.Key, said.Name
	return nil
}
