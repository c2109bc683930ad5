#!/bin/sh
# Arguments: "configure" and the version before from dpkg; from rpm 1 for the first
# installation, 2 for an upgrade.
set -e
case "$1 $2" in
"configure " | "1 ") first=yes ;;
"configure "* | "2 ") first=no ;;
*) exit 0 ;;
esac

# The system's policy says whether new services start: on Debian they do, on Fedora not.
if [ "$first" = yes ]; then
	systemctl preset ospulse-agent.service >/dev/null 2>&1 || true
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	action=try-restart
	if systemctl is-enabled --quiet ospulse-agent.service; then
		action=restart
	fi
	if command -v deb-systemd-invoke >/dev/null; then # it obeys policy-rc.d
		deb-systemd-invoke "$action" ospulse-agent.service || true
	else
		systemctl "$action" ospulse-agent.service || true
	fi
fi
