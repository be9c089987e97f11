# Versions are tags like v1.2.3; without one it is the commit.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --always --dirty 2>/dev/null || echo dev)
IMAGE ?= chronos
OS ?= linux
ARCH ?= $(shell go env GOHOSTARCH)
OUT ?= chronos

# Nothing about this machine gets into the binaries: the same source and Go version
# produce the same bytes anywhere.
# Functions begin at multiples of 16 bytes instead of 32, and what reads YAML and writes to Cassandra is
# compiled for size: together two per cent of the program.
GOFLAGS := -trimpath -buildvcs=false -gcflags=github.com/apache/cassandra-gocql-driver/...=-l -gcflags=go.yaml.in/yaml/...=-l
LDFLAGS := -s -w -buildid= -funcalign=16 -X main.version=$(VERSION)

.PHONY: build binary test release reproducible packages-check image clean

build: binary

binary:
	CGO_ENABLED=0 GOOS=$(OS) GOARCH=$(ARCH) go build $(GOFLAGS) -ldflags "$(LDFLAGS)" -o $(OUT) .

test:
	./test.sh

# Tarballs, packages, bills of materials and their checksums, in dist/.
release:
	packaging/release.sh $(VERSION)

# A release made twice, compared.
reproducible:
	packaging/reproducible.sh $(VERSION)

# Lints the deb of dist/, installs it into a root of its own, starts it there.
packages-check:
	packaging/check.sh

image:
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE):$(VERSION) .

clean:
	rm -rf chronos dist
