#!/bin/sh
# After installing or upgrading the deb or the rpm. The service is neither enabled nor started:
# where it keeps its state, and who may reach it, has to be said first.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers chronos.conf || true
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	# Jobs of local mode go on meanwhile, and a leader hands over.
	systemctl try-restart chronos.service || true
fi
