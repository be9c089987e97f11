package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// marathonApp has the keys of Marathon's app definition that the bundle uses. Old Marathons
// drop an unknown key without a word, so a key that is not here is taken for a typing error.
type marathonApp struct {
	ID          string              `json:"id"`
	Instances   int                 `json:"instances"`
	CPUs        float64             `json:"cpus"`
	Mem         float64             `json:"mem"`
	Args        []string            `json:"args"`
	Env         map[string]string   `json:"env"`
	Constraints [][]string          `json:"constraints"`
	Networks    []map[string]string `json:"networks"`
	Container   struct {
		Type   string `json:"type"`
		Docker struct {
			Image          string                `json:"image"`
			Network        string                `json:"network"`
			Privileged     bool                  `json:"privileged"`
			ForcePullImage bool                  `json:"forcePullImage"`
			PortMappings   []marathonPortMapping `json:"portMappings"`
		} `json:"docker"`
		PortMappings []marathonPortMapping `json:"portMappings"`
	} `json:"container"`
	Ports                      []int             `json:"ports"`
	RequirePorts               bool              `json:"requirePorts"`
	HealthChecks               []marathonCheck   `json:"healthChecks"`
	ReadinessChecks            []readinessCheck  `json:"readinessChecks"`
	UpgradeStrategy            upgradeStrategy   `json:"upgradeStrategy"`
	TaskKillGracePeriodSeconds *int              `json:"taskKillGracePeriodSeconds"`
	KillSelection              string            `json:"killSelection"`
	UnreachableStrategy        map[string]int    `json:"unreachableStrategy"`
	BackoffSeconds             int               `json:"backoffSeconds"`
	BackoffFactor              float64           `json:"backoffFactor"`
	MaxLaunchDelaySeconds      int               `json:"maxLaunchDelaySeconds"`
	Labels                     map[string]string `json:"labels"`
}

type marathonPortMapping struct {
	Name          string `json:"name"`
	ContainerPort int    `json:"containerPort"`
	HostPort      int    `json:"hostPort"`
	ServicePort   int    `json:"servicePort"`
	Protocol      string `json:"protocol"`
}

type marathonCheck struct {
	Protocol               string `json:"protocol"`
	Path                   string `json:"path"`
	PortIndex              *int   `json:"portIndex"`
	Port                   int    `json:"port"`
	GracePeriodSeconds     int    `json:"gracePeriodSeconds"`
	DelaySeconds           int    `json:"delaySeconds"`
	IntervalSeconds        int    `json:"intervalSeconds"`
	TimeoutSeconds         int    `json:"timeoutSeconds"`
	MaxConsecutiveFailures int    `json:"maxConsecutiveFailures"`
	IgnoreHTTP1xx          bool   `json:"ignoreHttp1xx"`
}

type readinessCheck struct {
	Name                    string `json:"name"`
	Protocol                string `json:"protocol"`
	Path                    string `json:"path"`
	PortName                string `json:"portName"`
	IntervalSeconds         int    `json:"intervalSeconds"`
	TimeoutSeconds          int    `json:"timeoutSeconds"`
	HTTPStatusCodesForReady []int  `json:"httpStatusCodesForReady"`
	PreserveLastResponse    bool   `json:"preserveLastResponse"`
}

type upgradeStrategy struct {
	MinimumHealthCapacity float64 `json:"minimumHealthCapacity"`
	MaximumOverCapacity   float64 `json:"maximumOverCapacity"`
}

// servicePort is the fixed port that clients use, the same in every file of the bundle.
const servicePort = 10044

// mappings are the port mappings, wherever the networking form has them.
func (a *marathonApp) mappings() []marathonPortMapping {
	return slices.Concat(a.Container.Docker.PortMappings, a.Container.PortMappings)
}

// ports are the service ports, by port index.
func (a *marathonApp) servicePorts() []int {
	ports := slices.Clone(a.Ports)
	for _, m := range a.mappings() {
		ports = append(ports, m.ServicePort)
	}
	return ports
}

// bundleFile reads one file of the bundle.
func bundleFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("marathon", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// readApp decodes one app, refusing keys that Marathon does not know and keys given twice.
func readApp(t *testing.T, name string) *marathonApp {
	t.Helper()
	content := bundleFile(t, name)
	var app marathonApp
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&app); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := repeatedKey(json.NewDecoder(bytes.NewReader(content))); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return &app
}

// repeatedKey reports a key that one object has twice; encoding/json keeps the last one silently.
func repeatedKey(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if seen[fmt.Sprint(key)] {
				return fmt.Errorf("key %q is given twice", key)
			}
			seen[fmt.Sprint(key)] = true
		}
		if err := repeatedKey(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

var chronosApps = []string{"chronos-on-marathon.json", "chronos-on-marathon-1.5.json", "chronos-host-network.json"}

// The rules that Marathon's own validation has for every app.
func TestMarathonAppsAreValid(t *testing.T) {
	for _, name := range append(slices.Clone(chronosApps), "marathon-lb-internal.json") {
		t.Run(name, func(t *testing.T) {
			app := readApp(t, name)
			if !regexp.MustCompile(`^/[a-z0-9]([a-z0-9-]*[a-z0-9])?$`).MatchString(app.ID) {
				t.Errorf("id %q: want lower case, digits and dashes, since dots break service discovery", app.ID)
			}
			if app.Container.Docker.Network != "" && app.Networks != nil {
				t.Error("docker.network and networks exclude each other")
			}
			if app.Container.Docker.Network == "HOST" && len(app.mappings()) > 0 {
				t.Error("the host network has no port mappings")
			}
			for _, c := range app.Constraints {
				if len(c) != 2 || c[0] != "hostname" || c[1] != "UNIQUE" {
					t.Errorf("constraint %q: want two instances never on one agent", c)
				}
			}
			checkHealthChecks(t, app)
			checkReadiness(t, app)
			checkUpgrade(t, app)
		})
	}
}

func checkHealthChecks(t *testing.T, app *marathonApp) {
	t.Helper()
	if len(app.HealthChecks) != 1 {
		t.Fatalf("%d health checks, want one", len(app.HealthChecks))
	}
	c := app.HealthChecks[0]
	if c.Protocol != "HTTP" && c.Protocol != "MESOS_HTTP" {
		t.Errorf("health check by %q", c.Protocol)
	}
	if c.DelaySeconds != 0 && c.Protocol != "MESOS_HTTP" {
		t.Error("delaySeconds is for MESOS_HTTP only")
	}
	if c.PortIndex != nil && (*c.PortIndex < 0 || *c.PortIndex >= len(app.servicePorts())) {
		t.Errorf("portIndex %d with %d ports", *c.PortIndex, len(app.servicePorts()))
	}
	if c.MaxConsecutiveFailures < 1 || c.TimeoutSeconds >= c.IntervalSeconds {
		t.Errorf("health check %+v: 0 failures means different things by protocol, and time-outs must not overlap", c)
	}
}

func checkReadiness(t *testing.T, app *marathonApp) {
	t.Helper()
	if len(app.ReadinessChecks) > 1 {
		t.Errorf("%d readiness checks, at most one is allowed", len(app.ReadinessChecks))
	}
	for _, c := range app.ReadinessChecks {
		if !slices.ContainsFunc(app.mappings(), func(m marathonPortMapping) bool { return m.Name == c.PortName }) {
			t.Errorf("readiness check of the port %q, which no mapping has", c.PortName)
		}
		if c.TimeoutSeconds >= c.IntervalSeconds || c.Protocol != "HTTP" || c.Path == "/ping" {
			t.Errorf("readiness check %+v: want a path that followers forward, and a timeout below the interval", c)
		}
	}
}

// checkUpgrade makes sure that a deployment neither stops all instances nor waits for ever for an agent.
func checkUpgrade(t *testing.T, app *marathonApp) {
	t.Helper()
	u := app.UpgradeStrategy
	keep := int(math.Ceil(float64(app.Instances) * u.MinimumHealthCapacity))
	if u.MinimumHealthCapacity > 1 || u.MaximumOverCapacity != 0 || keep < 1 || keep >= app.Instances {
		t.Errorf("%d instances with %+v: at least one must stay and one must go", app.Instances, u)
	}
}

// What Chronos itself needs, beyond Marathon's rules.
func TestChronosAppsFitTheProgram(t *testing.T) {
	for _, name := range chronosApps {
		t.Run(name, func(t *testing.T) {
			app := readApp(t, name)
			if app.ID != "/chronos" || app.Container.Docker.Image != "IMAGE" || app.Container.Type != "DOCKER" {
				t.Errorf("id %q, image %q, type %q", app.ID, app.Container.Docker.Image, app.Container.Type)
			}
			f, err := parseFlags(app.Args, noEnviron, &bytes.Buffer{})
			if err != nil {
				t.Fatalf("args %q: %v", app.Args, err)
			}
			if f.local() || f.fileStore() || f.explicit("http_port") {
				t.Errorf("args %q: want Mesos, ZooKeeper, and the port of the environment", app.Args)
			}
			if !slices.Equal(app.servicePorts(), []int{servicePort}) {
				t.Errorf("service ports %v, want %d", app.servicePorts(), servicePort)
			}
			for _, m := range app.mappings() {
				if m.ContainerPort != defaultPort || m.HostPort != 0 || m.Protocol != "tcp" {
					t.Errorf("port mapping %+v, want container port %d on a free port", m, defaultPort)
				}
			}
			c := app.HealthChecks[0]
			if c.Path != "/ping" || c.PortIndex == nil || c.Port != 0 || c.TimeoutSeconds < 5 {
				t.Errorf("health check %+v, want /ping by portIndex", c)
			}
			checkLabels(t, app.Labels, "internal")
			checkListens(t, app, f)
		})
	}
}

// checkListens runs the address rules on the environment that Marathon makes of the app.
func checkListens(t *testing.T, app *marathonApp, f *flags) {
	t.Helper()
	environ := environOf(variables("HOST=agent1 PORT0=31234 PORT_" + strconv.Itoa(servicePort) + "=31234"))
	want := 31234
	if len(app.mappings()) > 0 {
		environ = environOf(variables("HOST=agent1 PORT0=31234 PORT_" + strconv.Itoa(defaultPort) + "=31234"))
		want = defaultPort
	}
	port := f.listenPort(environ)
	if got := f.advertised(environ, port); port != want || got != "agent1:31234" {
		t.Errorf("listens on %d and advertises %s, want %d, agent1:31234", port, got, want)
	}
	if host := f.listenHost(); host != "" {
		t.Errorf("listens on %q, want all addresses", host)
	}
}

// The labels that marathon-lb knows and that HAProxy from 1.8 on accepts.
var knownLabels = []string{
	"HAPROXY_GROUP", "HAPROXY_0_ENABLED", "HAPROXY_0_MODE", "HAPROXY_0_BALANCE", "HAPROXY_0_VHOST", "HAPROXY_0_REDIRECT_TO_HTTPS",
	"HAPROXY_0_BIND_ADDR", "HAPROXY_0_USE_HSTS", "HAPROXY_0_BACKEND_HSTS_OPTIONS", "HAPROXY_0_BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
}

func checkLabels(t *testing.T, labels map[string]string, group string) {
	t.Helper()
	for key, value := range labels {
		if !slices.Contains(knownLabels, key) {
			t.Errorf("label %q is unknown", key)
		}
		for _, placeholder := range regexp.MustCompile(`\{[^}]*\}?`).FindAllString(value, -1) {
			if placeholder != "{healthCheckPortOptions}" {
				t.Errorf("label %s has the unknown placeholder %s", key, placeholder)
			}
		}
	}
	// With MESOS_HTTP checks marathon-lb would fall back to TCP, without path checks and X-Forwarded-For.
	if labels["HAPROXY_GROUP"] != group || labels["HAPROXY_0_MODE"] != "http" || labels["HAPROXY_0_ENABLED"] != "true" {
		t.Errorf("labels %v: want group %s, mode http, enabled", labels, group)
	}
}

func TestExternalLabels(t *testing.T) {
	var body struct {
		Labels map[string]string `json:"labels"`
	}
	d := json.NewDecoder(bytes.NewReader(bundleFile(t, "labels-external.json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		t.Fatal(err)
	}
	checkLabels(t, body.Labels, "external")
	// The plain service port would go round both the redirect and the password.
	if body.Labels["HAPROXY_0_REDIRECT_TO_HTTPS"] != "true" || body.Labels["HAPROXY_0_BIND_ADDR"] != "127.0.0.1" || body.Labels["HAPROXY_0_VHOST"] == "" {
		t.Errorf("labels %v: want TLS only", body.Labels)
	}
	hsts := body.Labels["HAPROXY_0_BACKEND_HSTS_OPTIONS"]
	if !strings.HasPrefix(hsts, "  ") || !strings.HasSuffix(hsts, "\n") || strings.Contains(hsts, "rspadd") {
		t.Errorf("template %q: want an indented line that HAProxy 2.1 still takes", hsts)
	}
}

func TestLoadBalancerServesTheServicePort(t *testing.T) {
	app := readApp(t, "marathon-lb-internal.json")
	if ports := strings.Split(app.Env["PORTS"], ","); !slices.Contains(ports, strconv.Itoa(servicePort)) || !slices.Contains(ports, strconv.Itoa(app.HealthChecks[0].Port)) {
		t.Errorf("PORTS %q lacks the service port or that of the health check", app.Env["PORTS"])
	}
	if i := slices.Index(app.Args, "--group"); i < 0 || app.Args[i+1] != "internal" || app.Container.Docker.Network != "HOST" {
		t.Errorf("args %q, network %q", app.Args, app.Container.Docker.Network)
	}
}

// haproxyPath finds the program of Debian's package, which is not on every user's path.
func haproxyPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/haproxy")
	}
	if err != nil {
		t.Fatalf("%v: install it with: apt-get install haproxy", err)
	}
	return path
}

func TestHAProxyConfiguration(t *testing.T) {
	out, err := exec.Command(haproxyPath(t), "-c", "-f", filepath.Join("marathon", "haproxy.cfg")).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("[WARNING]")) {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
	config := string(bundleFile(t, "haproxy.cfg"))
	for _, want := range []string{"bind :" + strconv.Itoa(servicePort), "option httpchk GET /ping", ":" + strconv.Itoa(defaultPort) + " check inter 2s fall 2 rise 1"} {
		if !strings.Contains(config, want) {
			t.Errorf("haproxy.cfg lacks %q", want)
		}
	}
}

// startHAProxy runs the bundle's file with these servers, and returns its address.
func startHAProxy(t *testing.T, servers ...string) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := strings.Replace(string(bundleFile(t, "haproxy.cfg")), "bind :"+strconv.Itoa(servicePort), "bind fd@3", 1)
	config, last, _ := strings.Cut(config, "    server chronos-1 ")
	_, options, _ := strings.Cut(strings.SplitN(last, "\n", 2)[0], " ")
	for i, server := range servers {
		config += fmt.Sprintf("    server chronos-%d %s %s\n", i+1, server, options)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxyPath(t), "-db", "-f", file)
	cmd.ExtraFiles = []*os.File{socket} // connections wait in it until HAProxy is up
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", &out)
		}
	})
	return listener.Addr().String()
}

// A write that reached an instance which died before it answered is sent to the other one
// under the same name, by which Chronos knows it.
func TestHAProxyRepeatsWritesUnderOneName(t *testing.T) {
	type arrival struct{ server, id, forwarded string }
	var mu sync.Mutex
	var arrivals []arrival
	var servers [2]string
	for i := range servers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ping" {
				io.WriteString(w, "pong\n")
				return
			}
			mu.Lock()
			arrivals = append(arrivals, arrival{servers[i], r.Header.Get(requestIDHeader), r.Header.Get("X-Forwarded-For")})
			first := len(arrivals) == 1
			mu.Unlock()
			if !first {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.Close()
			}
		}))
		t.Cleanup(server.Close)
		servers[i] = server.Listener.Addr().String()
	}
	address := startHAProxy(t, servers[:]...)

	res, err := http.Post("http://"+address+"/scheduler/iso8601", "application/json", strings.NewReader(`{"name":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	mu.Lock()
	defer mu.Unlock()
	if res.StatusCode != http.StatusNoContent || len(arrivals) != 2 {
		t.Fatalf("POST = %d after %d arrivals, want 204 after 2", res.StatusCode, len(arrivals))
	}
	if a, b := arrivals[0], arrivals[1]; a.server == b.server || a.id != b.id || len(a.id) < 16 || a.forwarded != "127.0.0.1" {
		t.Errorf("arrivals %+v, want two servers and one name", arrivals)
	}
}

func TestDockerfileAgreesWithTheProgram(t *testing.T) {
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := string(content)
	for _, want := range []string{
		"\nEXPOSE " + strconv.Itoa(defaultPort) + "\n",
		"\nENTRYPOINT [\"/usr/bin/chronos\"]\n",
		"\nVOLUME /data\n",
		"-X main.version=${VERSION}",
		"\nSTOPSIGNAL SIGTERM\n",
	} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("Dockerfile lacks %q", want)
		}
	}
	if !regexp.MustCompile(`\nUSER [1-9][0-9]*:[1-9][0-9]*\n`).MatchString(dockerfile) {
		t.Error("the image must not run as root")
	}

	// What the image's environment makes of no options at all.
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(CHRONOS_[A-Z_]+)=(\S+)`).FindAllStringSubmatch(dockerfile, -1) {
		env[m[1]] = m[2]
	}
	f, err := parseFlags(nil, environOf(env), &bytes.Buffer{})
	if err != nil || f.dataDir != "/data" || f.listenAddress(environOf(env)) != "0.0.0.0:8080" || !f.fileStore() {
		t.Errorf("%v: data in %q, listens on %q, %v", env, f.dataDir, f.listenAddress(environOf(env)), err)
	}
}

// Every file that the README's commands name exists, and every file of the bundle is in the README.
func TestMarathonREADMENamesTheFiles(t *testing.T) {
	readme := string(bundleFile(t, "README.md"))
	for _, m := range regexp.MustCompile(`@(?:marathon/)?([a-z0-9.-]+\.json)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join("marathon", m[1])); errors.Is(err, os.ErrNotExist) {
			t.Errorf("README.md posts %s, which does not exist", m[1])
		}
	}
	entries, err := os.ReadDir("marathon")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(readme, e.Name()) && e.Name() != "README.md" {
			t.Errorf("README.md does not mention %s", e.Name())
		}
	}
}
