# The image holds the static program, a static busybox so that jobs in local
# mode find a shell, CA certificates, and an unprivileged user. Time zones are
# built into the program.
#
#   docker build --build-arg VERSION=$(git describe --tags --always) -t chronos .
#
# For several kinds of machine at once (the program is cross-compiled; what gathers the files of
# the image runs on each kind, emulated if need be):
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example.com/chronos --push .

# For a build that is the same tomorrow, name the base by its digest:
# --build-arg GO_IMAGE=docker.io/library/golang:1.26@sha256:...
ARG GO_IMAGE=docker.io/library/golang:1.26
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
        -gcflags=github.com/apache/cassandra-gocql-driver/...=-l -gcflags=go.yaml.in/yaml/...=-l \
        -ldflags "-s -w -buildid= -funcalign=16 -X main.version=${VERSION}" -o /out/usr/bin/chronos .

FROM ${GO_IMAGE} AS files
RUN test -x /bin/busybox || \
    { apt-get update && apt-get install -y --no-install-recommends busybox-static; }
RUN mkdir -p /out/bin /out/etc/ssl/certs /data && mkdir -m 1777 /out/tmp \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
    && cp /bin/busybox /out/bin/busybox \
    && for applet in $(/bin/busybox --list); do \
         test "$applet" = busybox || ln -s busybox "/out/bin/$applet"; \
       done \
    && printf 'root:x:0:0:root:/:/bin/sh\nchronos:x:65532:65532:chronos:/data:/bin/sh\n' >/out/etc/passwd \
    && printf 'root:x:0:\nchronos:x:65532:\n' >/out/etc/group

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="chronos" \
      org.opencontainers.image.description="Distributed, fault-tolerant cron for Apache Mesos and single machines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=files /out/ /
COPY --from=build /out/ /
COPY --from=files --chown=65532:65532 /data /data
ENV PATH=/usr/bin:/bin \
    CHRONOS_DATA_DIR=/data \
    CHRONOS_HTTP_ADDRESS=0.0.0.0
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/chronos", "healthcheck"]
ENTRYPOINT ["/usr/bin/chronos"]
