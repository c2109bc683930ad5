#!/bin/sh
# Arguments: "remove" from dpkg, 0 from rpm. In an upgrade the service runs on until the
# new version is installed. On Debian it stays enabled until the purge, so that it starts
# again if the package is installed again.
set -e
case "$1" in
remove)
	if [ -d /run/systemd/system ]; then
		systemctl stop ospulse-agent.service || true
	fi
	;;
0) systemctl disable --now ospulse-agent.service >/dev/null 2>&1 || true ;;
esac
