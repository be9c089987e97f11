#!/usr/bin/env bash
# Makes a release of the last commit twice, in two clones that lie at different places, at
# different times of day and with separate caches of what was compiled, and compares them.
#
#   packaging/reproducible.sh v1.2.3
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# release makes one in a clone at a place, and leaves its checksums there.
release() {
	git clone -q --no-hardlinks . "$work/$1"
	(cd "$work/$1" && GOCACHE=$work/cache-$1 TZ=$2 packaging/release.sh "$version")
}

version=$1
release first UTC
release a/second/elsewhere Asia/Tokyo
if ! diff "$work/first/dist/SHA256SUMS" "$work/a/second/elsewhere/dist/SHA256SUMS"; then
	echo "the two builds differ"
	exit 1
fi
cat "$work/first/dist/SHA256SUMS"
echo "built twice, the same bytes"
