#!/usr/bin/env bash
# Makes all files of a release in dist/: tarballs, the deb and the rpm, bills of materials
# (CycloneDX) and SHA256SUMS. The same commit, version and Go release give the same bytes on any
# machine: "make reproducible" looks whether that is so. Needs Go, git and GNU tar.
#
#   packaging/release.sh v1.2.3
set -euo pipefail
cd "$(dirname "$0")/.."

version=$1
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
platforms="linux/amd64 linux/arm64 darwin/amd64 darwin/arm64"
dist=dist
stage=$dist/stage

# Everything in the archives is as old as the commit. nfpm takes the variable too.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
umask 022

step() { printf '%s  %s\n' "$(date +%T)" "$*"; }

# tool runs a Go program for this machine, whatever is being built for.
tool() { env -u GOOS -u GOARCH go run -trimpath "$@"; }

# package_version makes "1.2.3+4.gabcdef" of "v1.2.3-4-gabcdef": packages take no dash, and what
# comes after a release is the later one. What is no version is before all of them.
package_version() {
	case $1 in
	v[0-9]*.[0-9]*) echo "${1#v}" | sed 's/-/+/; s/-/./g' ;;
	*) echo "0.0.0+$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d).$(echo "$1" | tr -c 'A-Za-z0-9\n' .)" ;;
	esac
}

build_binaries() {
	local platform
	for platform in $platforms; do
		step "build for $platform"
		make --no-print-directory binary VERSION="$version" OS="${platform%/*}" ARCH="${platform#*/}" OUT="$(binary "$platform")"
	done
}

# binary is where the program for a platform lies.
binary() { echo "$stage/${1%/*}-${1#*/}/chronos"; }

# make_documents makes what the program says of itself, and the papers of the deb.
make_documents() {
	local own=$stage/own shell
	make --no-print-directory binary VERSION="$version" OS="$(go env GOHOSTOS)" ARCH="$(go env GOHOSTARCH)" OUT="$own"
	"$own" man >"$stage/chronos.1"
	gzip -9nc "$stage/chronos.1" >"$stage/chronos.1.gz"
	for shell in bash zsh fish; do
		"$own" completion "$shell" >"$stage/completion.$shell"
	done
	gzip -9nc CHANGELOG.md >"$stage/changelog.gz"
	cp packaging/copyright "$stage/copyright"
	collect_licenses >"$stage/third-party-licenses.txt"
	printf 'chronos (%s-1) stable; urgency=medium\n\n  * See changelog.gz for what is new.\n\n -- %s  %s\n' "$PACKAGE_VERSION" \
		"$(sed -n 's/^maintainer: //p' packaging/nfpm.yaml)" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" |
		gzip -9nc >"$stage/changelog.Debian.gz"
}

# collect_licenses gathers those of what is built into the program.
collect_licenses() {
	local module directory license
	go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' . | sort -u | while read -r module directory; do
		for license in "$directory"/LICENSE* "$directory"/NOTICE*; do
			[ ! -f "$license" ] || { printf '==== %s: %s\n\n' "$module" "${license##*/}"; cat "$license"; echo; }
		done
	done
	printf '==== Go: LICENSE\n\n'
	cat "$(go env GOROOT)/LICENSE"
}

# pack makes the tarball of one platform.
pack() {
	local name dir
	name=chronos-$version-${1%/*}-${1#*/}
	dir=$stage/tar/$name
	step "pack $name"
	mkdir -p "$dir/completion"
	cp "$(binary "$1")" "$stage/chronos.1" "$stage/third-party-licenses.txt" LICENSE ./*.md "$dir/"
	cp -R docs deploy marathon ops "$dir/"
	for shell in bash zsh fish; do
		cp "$stage/completion.$shell" "$dir/completion/chronos.$shell"
	done
	if [ "${1%/*}" = linux ]; then
		mkdir "$dir/systemd"
		cp packaging/chronos.service packaging/chronos.default packaging/chronos.sysusers packaging/mesos.conf "$dir/systemd/"
	fi
	tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w --mtime="@$SOURCE_DATE_EPOCH" \
		-C "$stage/tar" -c "$name" | gzip -9n >"$dist/$name.tar.gz"
	tool $cyclonedx bin -json -noserial -notimestamp -std -version "$version" -output "$dist/$name.cdx.json" "$(binary "$1")"
}

# make_packages makes the deb and the rpm of one architecture.
make_packages() {
	local packager
	for packager in deb rpm; do
		step "$packager for $1"
		ARCH=$1 BINARY=$(binary "linux/$1") STAGE=$stage \
			tool $nfpm package --config packaging/nfpm.yaml --packager $packager --target $dist
	done
}

rm -rf $dist
mkdir -p $stage
PACKAGE_VERSION=$(package_version "$version")
export PACKAGE_VERSION
build_binaries
make_documents
for platform in $platforms; do
	pack "$platform"
done
for architecture in amd64 arm64; do
	make_packages $architecture
done
rm -rf $stage
(cd $dist && sha256sum -- * >SHA256SUMS)
step "dist/ is complete"
