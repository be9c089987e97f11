#!/usr/bin/env bash
# Lints and tests everything, after installing what that needs.
#
#   ./test.sh              linters and all tests, seven minutes on two cores, ten the first time
#   ./test.sh -run Crash   linters, and the tests that these go test flags select
#   ./test.sh quick        linters and "go test ."; installs nothing but Go modules
#   ./test.sh cover        all tests without the race detector, and how much of the code they cover
#   ./test.sh long         the long forms: randomized tests, torture, fuzzing; takes hours
#
# The tests use real parts instead of stand-ins: a ZooKeeper (and Curator's own
# LeaderLatch beside our election), HAProxy, htpasswd, a browser, promtool, keytool, an
# image built and run by podman. They come from Debian packages; on another
# system install them by hand, and this script will not install anything.
set -euo pipefail
cd "$(dirname "$0")"

# a command or file that must exist, and the Debian package that contains it
needs="
gcc:gcc
/usr/include/stdlib.h:libc6-dev
java:default-jre-headless
javac:default-jdk-headless
keytool:default-jre-headless
openssl:openssl
/usr/share/java/zookeeper.jar:zookeeper
/usr/share/java/curator-recipes.jar:libcurator-recipes-java
/usr/share/java/curator-framework.jar:libcurator-framework-java
haproxy:haproxy
htpasswd:apache2-utils
promtool:prometheus
chromium-headless-shell:chromium-headless-shell
node:nodejs
npm:npm
podman:podman
runc:runc
/usr/bin/busybox:busybox-static
python3:python3-venv
curl:curl
ip:iproute2
"
schemathesis=schemathesis==4.32.5 # makes requests of the API's own description

step() { printf '%s  %s\n' "$(date +%T)" "$*"; }

missing() {
	local need
	for need in $needs; do
		command -v "${need%%:*}" >/dev/null || [ -e "${need%%:*}" ] || echo "${need#*:}"
	done | sort -u
}

install_packages() {
	local sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# install_schemathesis installs a program of the Python registry where the tests look for it.
install_schemathesis() {
	local venv=${XDG_CACHE_HOME:-$HOME/.cache}/chronos-test/schemathesis
	if [ "$(cat "$venv/installed" 2>/dev/null)" = "$schemathesis" ]; then
		return
	fi
	step "pip install $schemathesis"
	python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
	if python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check "$schemathesis"; then
		echo "$schemathesis" >"$venv/installed"
	else
		echo "the Python registry is out of reach, so the API is not compared with its description by schemathesis"
		export CHRONOS_TEST_SCHEMATHESIS=none
	fi
}

lint() {
	step "gofmt, go vet, go mod tidy"
	local unformatted
	unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
	[ -z "$unformatted" ] || { echo "not formatted by gofmt: $unformatted"; return 1; }
	go vet -tags services ./...
	go vet .
	go mod tidy -diff
	step "staticcheck"
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags services ./...
	step "actionlint"
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	step "govulncheck"
	check_vulnerabilities
}

check_vulnerabilities() {
	local found
	if found=$(go run golang.org/x/vuln/cmd/govulncheck@v1.8.0 ./... 2>&1); then
		return
	fi
	case $found in
	*"govulncheck: fetching vulnerabilities"*) echo "the vulnerability database is out of reach, so it was not consulted" ;;
	*) echo "$found"; return 1 ;;
	esac
}

# run_tests passes its arguments to go test, and lists the slowest tests at the end.
run_tests() {
	step "go test $*"
	go test -json -vet=off "$@" | go run ./internal/slowest
}

test_all() {
	export GORACE="suppressions=$PWD/testdata/race.supp atexit_sleep_ms=0"
	# Hashing passwords takes ten times as long if each step of it is looked at, and shares no memory.
	# More tests at a time than processors: some wait, for sessions to expire say, while others compute.
	run_tests -race -gcflags=golang.org/x/crypto/blowfish=-race=false -parallel 4 -tags services -timeout 30m "$@" ./...
}

# lint_and_test lints while the tests run, because these also wait for servers and browsers, and reports it after them.
lint_and_test() {
	local report failed=
	report=$(mktemp)
	# shellcheck disable=SC2064
	trap "rm -f '$report'" EXIT
	(lint) >"$report" 2>&1 &
	test_all "$@" || failed=yes
	wait $! || failed=yes
	cat "$report"
	[ -z "$failed" ]
}

# Each process of the program that the tests start records its coverage, and so do the tests in the root. The race
# detector is left out, because counting beside it takes twice the time.
test_covered() {
	local covered
	covered=$(mktemp -d)
	# shellcheck disable=SC2064
	trap "rm -rf '$covered'" EXIT
	GOCOVERDIR=$covered run_tests -tags services -timeout 30m -cover "$@" ./... -args -test.gocoverdir="$covered"
	echo
	go tool covdata percent -i="$covered" -pkg="$(go list .)"
}

# fetch_kernel prints the path of a kernel for a virtual machine, which it takes out of Debian's package into a directory.
fetch_kernel() {
	local package
	package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
	(cd "$1" && apt-get download -qq "$package" && dpkg-deb -x ./*.deb .) >&2
	echo "$1"/boot/vmlinuz-*
}

test_long() {
	local package target machine
	machine=$(mktemp -d)
	# shellcheck disable=SC2064
	trap "rm -rf '$machine'" EXIT
	CHRONOS_TEST_KERNEL=$(fetch_kernel "$machine")
	export CHRONOS_TEST_KERNEL
	run_tests -tags services -timeout 6h . -long
	step "Kubernetes and etcd from their Go modules, ten minutes the first time"
	CHRONOS_TEST_KUBERNETES=${XDG_CACHE_HOME:-$HOME/.cache}/chronos-test/kubernetes
	export CHRONOS_TEST_KUBERNETES
	e2e/kubernetes.sh build "$CHRONOS_TEST_KUBERNETES"
	run_tests -timeout 6h -run 'Torture|FailOversBehindHAProxy' ./e2e -torture
	step "a release, and what is in its packages"
	make release packages-check
	for target in $(go test -list '^Fuzz' . | grep '^Fuzz'); do
		step "go test -fuzz $target"
		# Minimizing what is interesting would otherwise take the minute.
		go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime 60s -fuzzminimizetime 1s .
	done
}

form=all
case ${1:-} in
quick | cover | long) form=$1; shift ;;
esac
if [ "$form" = long ]; then
	needs+="qemu-system-x86_64:qemu-system-x86 make:make lintian:lintian rpm:rpm mmdebstrap:mmdebstrap
		containerd:containerd /usr/lib/cni/bridge:containernetworking-plugins iptables:iptables conntrack:conntrack"
fi
if [ "$form" = quick ]; then
	echo "Linters and the tests that need nothing but Go, about two minutes on two cores."
	lint
	run_tests . "$@"
	exit
fi

case $form in
all) duration="seven minutes on two cores, or ten if nothing has been compiled yet" ;;
cover) duration="about five minutes on two cores" ;;
long) duration="some hours" ;;
esac
packages=$(missing)
if [ -n "$packages" ]; then
	echo "Installs the Debian packages" $packages "(some minutes), then takes $duration."
	# shellcheck disable=SC2086
	install_packages $packages
else
	echo "Everything that the tests need is installed. They take $duration."
fi
case $form in
all | cover) install_schemathesis ;;
esac
case $form in
all) lint_and_test "$@" ;;
cover) test_covered "$@" ;;
long)
	lint
	test_long
	;;
esac
step "done"
