package main

import (
	"os"
	"strings"
	"testing"
)

// variables turns "HOST=a1 PORT0=31234" into an environment.
func variables(text string) map[string]string {
	m := map[string]string{}
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		m[key] = value
	}
	return m
}

// The cases are what Marathon, docker run, and the 3.0 image give their containers.
func TestListenAndAdvertise(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, line, environ string
		listen              int
		advertised          string
	}{
		{"bridge, container port 8080", "", "HOST=a1 PORT0=31234 PORT_8080=31234", 8080, "a1:31234"},
		{"bridge, container port 4400", "--http_port 4400", "HOST=a1 PORT0=31234 PORT_4400=31234", 4400, "a1:31234"},
		{"bridge, container port 0, old Marathon", "", "HOST=a1 PORT0=31234", 31234, "a1:31234"},
		{"bridge, container port 0", "", "HOST=a1 PORT0=31234 PORT_31234=31234", 31234, "a1:31234"},
		{"host network, service port", "", "HOST=a1 PORT0=31234 PORT_10044=31234", 31234, "a1:31234"},
		{"host network, required port 8080", "", "HOST=a1 PORT0=8080 PORT_8080=8080", 8080, "a1:8080"},
		{"docker run -p 8080:8080", "", "", 8080, own + ":8080"},
		{"docker run -p 12345:8080", "", "HOST=n1 PORT_8080=12345", 8080, "n1:12345"},
		{"the 3.0 image", "", "HOST=h PORT0=4400", 4400, "h:4400"},
		{"an option for the host", "--hostname h2", "HOST=a1 PORT0=31234 PORT_8080=31234", 8080, "h2:31234"},
		{"an option for the port", "--advertise_port 80", "HOST=a1 PORT0=31234 PORT_8080=31234", 8080, "a1:80"},
		{"the listening port given", "--http_port 8080", "HOST=a1 PORT0=4400", 8080, "a1:8080"},
		{"variables that are no ports", "", "HOST=a1 PORT0=x PORT_8080=tcp://10.0.0.1:80", 8080, "a1:8080"},
		{"an IPv6 address", "--hostname ::1", "", 8080, "[::1]:8080"},
	}
	for _, tt := range tests {
		f := mustParseFlags(t, tt.line)
		environ := environOf(variables(tt.environ))
		listen := f.listenPort(environ)
		if got := f.advertised(environ, listen); listen != tt.listen || got != tt.advertised {
			t.Errorf("%s: listens on %d, advertises %s; want %d, %s", tt.name, listen, got, tt.listen, tt.advertised)
		}
	}
	if got := mustParseFlags(t, "--http_port 0 --hostname h").advertised(noEnviron, 40123); got != "h:40123" {
		t.Errorf("a free port is advertised as %s", got)
	}
}

func TestListenAddress(t *testing.T) {
	for line, want := range map[string]string{
		"":                       "127.0.0.1:8080",
		"--http_address 0.0.0.0": "0.0.0.0:8080",
		"--http_address=":        ":8080",
		"--master h:5050":        ":8080",
		"--master h:5050 --http_address 10.0.0.1": "10.0.0.1:8080",
		"--zk_hosts h:2181":                       "127.0.0.1:8080",
		"--http_address ::1 --http_port 4400":     "[::1]:4400",
	} {
		if got := mustParseFlags(t, line).listenAddress(noEnviron); got != want {
			t.Errorf("%s: listenAddress() = %q, want %q", line, got, want)
		}
	}
}
