#!/usr/bin/env bash
# Installs what the tests need, then runs all of them.
#
# The tests use real parts instead of stand-ins: a ZooKeeper (and Curator's own
# LeaderLatch beside our election), HAProxy, a browser, promtool, keytool, an
# image built and run by podman. They come from Debian's packages; on another
# system install them by hand, and this script finds nothing to do.
#
#   ./test.sh              everything
#   ./test.sh -run Crash   what go test's flags select
set -euo pipefail
cd "$(dirname "$0")"

# command or file that must exist, and the Debian package that has it
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
promtool:prometheus
chromium:chromium
node:nodejs
npm:npm
podman:podman
runc:runc
/usr/bin/busybox:busybox-static
"
missing=
for need in $needs; do
	what=${need%%:*} package=${need#*:}
	if ! command -v "$what" >/dev/null && ! [ -e "$what" ]; then
		missing="$missing $package"
	fi
done
if [ -n "$missing" ]; then
	echo "installing:$missing"
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

echo "gofmt"
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "not gofmt-ed: $unformatted"; exit 1; }
echo "go vet"
go vet ./...
echo "staticcheck"
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
echo "go mod tidy"
go mod tidy -diff
echo "go test"
go test -race -timeout 40m -cover "$@" ./...
