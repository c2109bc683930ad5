#!/bin/sh
# Arguments: "configure" and the version before from dpkg; from rpm 1 for the first
# installation, 2 for an upgrade.
set -e
case "$1 $2" in
"configure " | "1 ") first=yes ;;
"configure "* | "2 ") first=no ;;
*) exit 0 ;;
esac

systemd-sysusers ospulse-backend.conf
# It needs /proc, which an image that is being built may lack. Then the boot creates the folder.
systemd-tmpfiles --create ospulse-backend.conf || true
# The file may hold the password of the database.
chgrp ospulse /etc/ospulse/backend.env
chmod 640 /etc/ospulse/backend.env

# debconf learns the question of the purge now: by then its text is gone.
if [ "$1" = configure ] && [ -e /usr/share/debconf/confmodule ]; then
	. /usr/share/debconf/confmodule
	db_stop
fi

# The system's policy says whether new services start: on Debian they do, on Fedora not.
if [ "$first" = yes ]; then
	systemctl preset ospulse-backend.service >/dev/null 2>&1 || true
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	action=try-restart
	if systemctl is-enabled --quiet ospulse-backend.service; then
		action=restart
	fi
	if command -v deb-systemd-invoke >/dev/null; then # it obeys policy-rc.d
		deb-systemd-invoke "$action" ospulse-backend.service || true
	else
		systemctl "$action" ospulse-backend.service || true
	fi
fi
