#!/bin/bash
# Installs, starts, upgrades, removes and purges the packages of this checkout in a fresh
# Debian with its own systemd, and runs lintian on them. It needs root, a Debian with
# debootstrap, lintian, curl and systemd-nspawn (package systemd-container), and some
# minutes. CI does not run it: it takes too long there. The packages stay in dist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for program in debootstrap lintian curl systemd-nspawn; do
	command -v "$program" >/dev/null || { echo "test.sh: $program is not installed" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "test.sh needs root" >&2; exit 1; }

work=$(mktemp -d)
nspawn= leader=
finish() {
	if [ -n "$nspawn" ]; then
		kill "$nspawn" 2>/dev/null || true
		wait "$nspawn" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '== %4ds  %s\n' $SECONDS "$*"; }
fail() {
	echo "FAILED: $*" >&2
	[ -z "$leader" ] || inside journalctl --no-pager -n 50 -u ospulse-backend -u ospulse-agent >&2 || true
	exit 1
}
# Runs a command in the fresh Debian.
inside() { nsenter --target "$leader" --all env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
# Requests a path of a service in it.
ask() { nsenter --target "$leader" --net curl -sS --fail-with-body --max-time 60 "$@"; }
# Waits until a command succeeds.
eventually() {
	for _ in $(seq 600); do
		if "$@" >"$work/last" 2>&1; then return; fi
		sleep 0.5
	done
	fail "never: $*: $(cat "$work/last")"
}
holds() { "$@" >"$work/last" 2>&1 || fail "$*: $(cat "$work/last")"; }
fails() { if "$@" >"$work/last" 2>&1; then fail "no error: $*"; fi; }
says() { # text, command...
	local text=$1
	shift
	"$@" >"$work/last" 2>&1 && grep -qF -- "$text" "$work/last"
}

target=linux/$(go env GOARCH)
old=0.0.0~0 # older than every version
step "build version $old, and the packages of this checkout"
release() { go -C tools run ./release -targets "$target" "$@"; }
release -version $old
mkdir "$work/old"
mv dist/*.deb "$work/old/"
release
new=$(dpkg-deb -f dist/ospulse-backend_*.deb Version)
dpkg --compare-versions $old-1 lt "$new" || fail "$new is not newer than $old"

step "checksums and lintian"
(cd dist && holds sha256sum --quiet -c SHA256SUMS)
lintian --fail-on error --allow-root dist/*.deb "$work"/old/*.deb 2>/dev/null || fail "lintian reports errors"

step "a fresh Debian"
. /etc/os-release
# shellcheck disable=SC2016 # apt replaces REPO_URI
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $VERSION_CODENAME" 'Created-By: Packages' 'Component: main' | head -1)
root=$work/root
debootstrap --variant=minbase --include=systemd-sysv,debconf "$VERSION_CODENAME" "$root" "$mirror" >"$work/last" || fail "debootstrap: $(tail -5 "$work/last")"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
mkdir -p "$root/packages/new"
cp -r "$work/old" "$root/packages/"
cp dist/*.deb "$root/packages/new/"
systemd-nspawn --quiet --register=no --keep-unit --private-network --boot --directory="$root" --console=pipe </dev/null >"$work/boot" 2>&1 &
nspawn=$!
booted() { leader=$(pgrep -P "$nspawn" | head -1) && [ -n "$leader" ] && inside systemctl is-active multi-user.target; }
eventually booted
install() { holds inside sh -c "dpkg -i /packages/$2/ospulse-$1_*.deb"; }

backend=http://127.0.0.1:3003 agent=http://127.0.0.1:7000 env=/etc/ospulse/backend.env
running() { ask $backend/healthz && says "\"$1\"" ask $backend/api/health; } # version
stored() { says '"from the old version"' ask $backend/api/sessions/unassigned/events; }

step "install the backend $old: it starts as its own user, and logs to the journal"
install backend old
eventually running $old
pid=$(inside systemctl show -P MainPID ospulse-backend)
[ "$(inside stat -c %U "/proc/$pid")" = ospulse ] || fail "the backend runs as $(inside stat -c %U "/proc/$pid")"
[ "$(inside stat -c '%U %a' $env /var/lib/ospulse | paste -sd ' ')" = "root 640 ospulse 700" ] || fail "owners: $(inside stat -c '%U %a' $env /var/lib/ospulse)"
holds says 'msg=listening' inside journalctl --no-pager -u ospulse-backend
exposure=$(inside systemd-analyze security --no-pager ospulse-backend | sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p')
awk -v e="$exposure" 'BEGIN { exit !(e != "" && e <= 2.0) }' || fail "systemd-analyze security says ${exposure:-nothing}"
fails stored
holds ask -H 'Content-Type: application/json' -d '{"event_type":"x","source":"from the old version","data":{}}' $backend/api/events
holds stored

step "its commands: --check-config, doctor, backup"
holds says 'configuration is correct' inside runuser -u ospulse -- ospulse-backend --env $env --check-config
holds says 'it runs and is ready' inside runuser -u ospulse -- ospulse-backend --env $env doctor
holds inside systemctl start ospulse-backup
holds inside sh -c 'test -s /var/backups/ospulse/ospulse-*'

step "upgrade it to $new: settings and events stay"
inside sh -c "echo LOG_LEVEL=debug >> $env"
install backend new
eventually running "${new%-1}"
holds stored
holds inside grep -q LOG_LEVEL=debug $env
eventually says 'level=DEBUG' inside journalctl --no-pager -u ospulse-backend

step "remove it and install it again: events stay"
holds inside dpkg -r ospulse-backend
fails ask $backend/healthz
fails inside test -e /usr/bin/ospulse-backend
holds inside test -e /var/lib/ospulse/ospulse.db
install backend new
eventually running "${new%-1}"
holds stored

step "purge it: events stay unless the administrator agrees"
holds inside dpkg -P ospulse-backend
fails inside test -e $env
holds inside test -e /var/lib/ospulse/ospulse.db
install backend new
eventually running "${new%-1}"
holds stored
inside sh -c 'echo ospulse-backend ospulse-backend/remove-data boolean true | debconf-set-selections'
holds inside dpkg -P ospulse-backend
fails ask $backend/healthz
fails inside test -e /var/lib/ospulse
holds inside sh -c 'test -s /var/backups/ospulse/ospulse-*'
[ -z "$(inside find /etc /lib/systemd /usr -name '*ospulse*' -not -path '/etc/passwd*')" ] || fail "left: $(inside find /etc /lib/systemd /usr -name '*ospulse*')"

step "install it again, and restore the backup"
install backend new
eventually running "${new%-1}"
fails stored
holds inside systemctl stop ospulse-backend
holds inside sh -c "runuser -u ospulse -- ospulse-backend --env $env restore --replace /var/backups/ospulse/ospulse-*"
holds inside systemctl start ospulse-backend
eventually running "${new%-1}"
holds stored

step "the agent beside the backend: install, upgrade, purge"
install agent old
eventually ask $agent/health
eventually says '"sensor"' ask $backend/api/agents
install agent new
eventually says "\"${new%-1}\"" ask $backend/api/agents
if says agents/heartbeat inside journalctl --no-pager -u ospulse-backend; then fail "heartbeats fill the log"; fi
holds inside dpkg -P ospulse-agent
fails ask $agent/health
fails inside test -e /var/lib/ospulse-agent
[ -z "$(inside systemctl --failed --no-legend)" ] || fail "failed: $(inside systemctl --failed --no-legend)"
step "passed"
