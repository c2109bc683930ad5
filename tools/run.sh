#!/bin/sh
# Starts the backend and, on Linux, the agent: the whole product on one machine. Both end
# at Ctrl-C, or when one of them ends. As root the agent sees everything. As another user
# it starts, too, and reports what it cannot see.
#
# PORT is the backend's port (3003), AGENT_PORT the agent's (7000). AGENT=no starts only
# the backend.
set -eu
cd "$(dirname "$0")/.."

GO=${GO:-go}
export CGO_ENABLED=0

if [ "$(uname -s)" != Linux ] || [ "${AGENT:-yes}" = no ]; then
	exec $GO run main.go
fi

# Without bubblewrap everything works except running samples. The agent reports it, too.
tools/install-deps.sh run || true

built=$(mktemp -d)
backend= agent= status=0
finish() {
	trap '' HUP INT TERM
	# shellcheck disable=SC2086 # none, one or two pids
	kill -TERM $agent $backend 2>/dev/null || true
	wait
	rm -rf "$built"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

$GO build -o "$built/ospulse-backend" main.go
$GO build -o "$built/ospulse-agent" ./agent

port=${PORT:-3003} agent_port=${AGENT_PORT:-7000}
AGENT_SERVICE_URL=${AGENT_SERVICE_URL:-http://127.0.0.1:$agent_port} PORT=$port "$built/ospulse-backend" &
backend=$!
# These settings are for the backend only.
env -u HOST -u DATA_DIR -u ALLOWED_HOSTS -u LOG_FORMAT \
	"$built/ospulse-agent" --backend "${BACKEND_URL:-http://127.0.0.1:$port}" --host 127.0.0.1 --port "$agent_port" --data "${AGENT_DATA_DIR:-data/agent}" &
agent=$!

# sh cannot wait for the first of two processes.
while kill -0 "$backend" 2>/dev/null && kill -0 "$agent" 2>/dev/null; do
	sleep 1 &
	wait $! || true
done
if kill -0 "$backend" 2>/dev/null; then wait "$agent" || status=$?; else wait "$backend" || status=$?; fi
exit "$status"
