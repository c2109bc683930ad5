#!/bin/sh
# Removing the package keeps its data and its user. A purge removes the data if the
# administrator agrees to that (debconf), and never the backups.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
	rm -f /etc/systemd/system/multi-user.target.wants/ospulse-backend.service /etc/systemd/system/timers.target.wants/ospulse-backup.timer
fi
if [ "$1" = purge ] && [ -e /usr/share/debconf/confmodule ]; then
	. /usr/share/debconf/confmodule
	db_input high ospulse-backend/remove-data || true
	db_go || true
	db_get ospulse-backend/remove-data || RET=false
	if [ "$RET" = true ]; then
		rm -rf /var/lib/ospulse
	fi
	db_purge
fi
