#!/bin/sh
# Removing the package keeps unsent events. A purge removes them: they are copies of what
# the backend should have.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
	rm -f /etc/systemd/system/multi-user.target.wants/ospulse-agent.service
	rm -rf /var/lib/ospulse-agent
fi
