#!/usr/bin/env bash
# Looks at the packages in dist/: lintian finds no error in the deb, and installed into a Debian
# of its own it starts by the command line of its unit, runs a job, and is removed without its
# state. Needs Debian (mmdebstrap, lintian, rpm, curl) and root.
set -euo pipefail
cd "$(dirname "$0")/.."

architecture=$(dpkg --print-architecture)
deb=$(echo dist/chronos_*_"$architecture".deb)
root=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$root"' EXIT

step() { printf '%s  %s\n' "$(date +%T)" "$*"; }

# unit prints the values of a key of the installed unit.
unit() { sed -n "s/^$1=//p" "$root/lib/systemd/system/chronos.service"; }

# start runs the unit's command in its directory and environment, with a loopback of its own and what a system mounts.
start() {
	local directory
	directory=$(unit WorkingDirectory)
	mkdir -p "$root/var/lib/$(unit StateDirectory)"
	# shellcheck disable=SC2046
	unshare --net --mount sh -c 'ip link set lo up && mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec "$@"' "$root" \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin $(unit Environment) chroot "$root" sh -c "cd $directory && exec $(unit ExecStart)" &
	server=$!
}

# installed runs a command in the installed system, where the server listens.
installed() { nsenter --target "$server" --net --mount chroot "$root" "$@"; }

# await repeats a command, for as long as a minute, until it succeeds.
await() {
	local tries
	for tries in $(seq 300); do
		if "$@" >/dev/null 2>&1; then
			return
		fi
		kill -0 "$server"
		sleep 0.2
	done
	echo "in vain, $tries times: $*"
	return 1
}

step "lintian"
lintian --profile debian --fail-on error --allow-root --info "$deb"

step "the rpm has the same files"
files=$(rpm -qpl --nosignature dist/chronos-*."$(uname -m)".rpm)
for file in /usr/bin/chronos /usr/lib/systemd/system/chronos.service /etc/sysconfig/chronos; do
	grep -qx "$file" <<<"$files" || { echo "the rpm lacks $file"; exit 1; }
done

step "install a Debian"
# shellcheck disable=SC1091
mmdebstrap --quiet --variant=essential --mode=root "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" >/dev/null
step "install $deb"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
cp "$deb" "$root/tmp/chronos.deb"
chroot "$root" dpkg -i /tmp/chronos.deb
chroot "$root" chronos --version
chroot "$root" test -s /usr/share/man/man1/chronos.1.gz || echo "no manual page, as in images without documents"

step "start it by its unit: $(unit ExecStart)"
start
await installed chronos healthcheck
# Posted by the machine's curl, as the installed system has none.
nsenter --target "$server" --net -- curl -fsS -H 'Content-Type: application/json' localhost:8080/scheduler/iso8601 \
	-d '{"name":"hello","command":"echo hello","schedule":"R1/2090-01-01T00:00:00Z/P1D"}'
installed chronos run hello --wait
[ "$(installed chronos logs hello)" = hello ]
kill "$server"
wait "$server" || true

step "upgrade, remove, purge"
echo "CHRONOS_HTTP_PORT=8081" >>"$root/etc/default/chronos"
chroot "$root" dpkg -i --force-confold /tmp/chronos.deb
grep -q 8081 "$root/etc/default/chronos"
chroot "$root" dpkg --remove chronos
test ! -e "$root/usr/bin/chronos"
chroot "$root" dpkg --purge chronos
test -s "$root/var/lib/chronos/state.log"
server=
step "the packages are good"
