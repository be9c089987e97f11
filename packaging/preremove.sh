#!/bin/sh
# Before removing the deb ("remove") or the rpm (0 packages remain), but not before an upgrade.
# The state in /var/lib/chronos stays, even if the package is purged.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now chronos.service || true
	fi
	;;
esac
