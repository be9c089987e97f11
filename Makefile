VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE ?= chronos

# Nothing about this machine gets into the binaries: the same source and Go version
# produce the same bytes anywhere.
GOFLAGS := -trimpath -buildvcs=false
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION)
BUILD = CGO_ENABLED=0 GOOS=linux go build $(GOFLAGS) -ldflags "$(LDFLAGS)"

.PHONY: build test release image clean

build:
	$(BUILD) -o chronos .

test:
	./test.sh

# Builds static binaries for both architectures, and their checksums.
release:
	rm -rf dist && mkdir dist
	GOARCH=amd64 $(BUILD) -o dist/chronos-$(VERSION)-linux-amd64 .
	GOARCH=arm64 $(BUILD) -o dist/chronos-$(VERSION)-linux-arm64 .
	cp packaging/chronos.service dist/
	cd dist && sha256sum * > SHA256SUMS

image:
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE):$(VERSION) .

clean:
	rm -rf chronos dist
