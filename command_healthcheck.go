package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// healthTimeout is how long an instance may take to answer.
const healthTimeout = 4 * time.Second

const healthcheckHelp = `Usage: chronos healthcheck [options]

Ask the instance of this machine or container for /ping, and end with status 0 if
it answers within four seconds. Docker's HEALTHCHECK of the image runs it.

Without options it takes those of the container's first process. The options of
the server that matter are --http_address, --http_port, --disable_http,
--https_address and --https_port; see chronos --help.
`

// healthcheck asks the instance on this machine or in this container whether it is alive. It is for Docker's
// HEALTHCHECK, which knows neither the port nor whether there is TLS: without options
// it uses those of the container's first process.
func healthcheck(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if slices.Contains(args, "--help") {
		fmt.Fprint(stdout, healthcheckHelp)
		return errHelp
	}
	if len(args) == 0 {
		words, err := os.ReadFile("/proc/1/cmdline")
		if err == nil { // if we can't read it, it is not our container either
			args = programArguments(words)
		}
	}
	args, _, err := expandLegacy(args, os.Environ(), rootFS(), stdin, stdout)
	if err != nil {
		return err
	}
	f, err := parseFlags(args, os.LookupEnv, stdout)
	if err != nil {
		return err
	}
	url, err := pingURL(f, os.LookupEnv)
	if err != nil {
		return err
	}
	return ping200(ctx, url)
}

// programArguments returns the arguments of this program in a command line as /proc shows it,
// even after an init such as tini; none if it is another program's.
func programArguments(cmdline []byte) []string {
	words := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	i := slices.IndexFunc(words, func(w string) bool { return path.Base(w) == "chronos" })
	if i < 0 || i+1 < len(words) && commandNamed(words[i+1]) != nil {
		return nil
	}
	return words[i+1:]
}

// pingURL returns where an instance with these flags answers /ping.
func pingURL(f *flags, environ func(string) (string, bool)) (string, error) {
	scheme, host, port := "http", f.listenHost(), f.listenPort(environ)
	if f.disableHTTP {
		scheme, host, port = "https", f.httpsHost(), f.httpsPort
	}
	if port == 0 {
		return "", errors.New("the instance listens on a port that the system chose (port 0): give --http_port")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/ping", nil
}

// ping200 returns nil if the address answers with status 200.
func ping200(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// The certificate is for the name that others know, and we ask ourselves.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s", url, res.Status)
	}
	return nil
}
