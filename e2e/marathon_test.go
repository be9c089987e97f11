package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	Protocol string `json:"protocol"`
	Command  struct {
		Value string `json:"value"`
	} `json:"command"`
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

const (
	// servicePort is the fixed port that clients use, the same in every file of the bundle.
	servicePort = 10044
	// defaultPort is where the program listens if nobody says otherwise.
	defaultPort = 8080

	bundle = repository + "/marathon"
)

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
	content, err := os.ReadFile(filepath.Join(bundle, name))
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
	if c.Protocol != "HTTP" && c.Protocol != "MESOS_HTTP" && (c.Protocol != "COMMAND" || c.Command.Value == "") {
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
			if slices.Contains(app.Args, "--http_port") {
				t.Errorf("args %q: want the port of the environment", app.Args)
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
			checkListens(t, app)
		})
	}
}

// checkListens starts the program as Marathon starts the app.
func checkListens(t *testing.T, app *marathonApp) {
	t.Helper()
	port, environ := 31234, []string{"HOST=agent1", "PORT0=31234"}
	if len(app.mappings()) > 0 {
		port, environ = defaultPort, append(environ, "PORT_"+strconv.Itoa(defaultPort)+"=31234")
	} else {
		environ = append(environ, "PORT_"+strconv.Itoa(servicePort)+"=31234")
	}
	got := startedAlone(t, environ, app.Args...)
	if want := (serving{"[::]:" + strconv.Itoa(port), "agent1:31234", got.master}); got != want || !strings.HasPrefix(got.master, "zk://") {
		t.Errorf("serves %+v, want %+v and a Mesos found by ZooKeeper", got, want)
	}
}

// serving is what an instance logs about itself.
type serving struct{ address, id, master string }

// startedAlone starts the program in a network of its own, in which all ports are free and nothing is reached,
// until it serves.
func startedAlone(t *testing.T, environ []string, args ...string) (s serving) {
	t.Helper()
	v := &instance{log: filepath.Join(t.TempDir(), "log")}
	cmd := exec.Command(program(), append(slices.Clone(args), "--log_format", "json")...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	v.run(t, cmd)
	t.Cleanup(v.kill)
	v.until(t, "it serves", func() bool {
		lines := v.logLines(t)
		i := slices.IndexFunc(lines, func(l logLine) bool { return l.msg == "chronos serves" })
		if i >= 0 {
			said := lines[i].rest
			s = serving{fmt.Sprint(said["address"]), fmt.Sprint(said["id"]), fmt.Sprint(said["master"])}
		}
		return i >= 0
	})
	v.terminate(t)
	return s
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

// The command of the README's "Upgrade" puts the external labels into the app, so that a PUT of it does not undo them.
func TestUpgradeKeepsTheExternalLabels(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)^ *(python3 -c .*)$`).FindStringSubmatch(string(bundleFile(t, "README.md")))
	if command == nil {
		t.Fatal("README.md does not say how the labels get into the file")
	}
	dir := t.TempDir()
	for _, name := range []string{"chronos-on-marathon.json", "labels-external.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), bundleFile(t, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", command[1])
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command[1], err, out)
	}
	content, err := os.ReadFile(filepath.Join(dir, "chronos-external.json"))
	if err != nil {
		t.Fatal(err)
	}
	var merged marathonApp
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&merged); err != nil {
		t.Fatal(err)
	}
	checkLabels(t, merged.Labels, "external")
	if before := readApp(t, "chronos-on-marathon.json"); merged.ID != before.ID || !slices.Equal(merged.Args, before.Args) || len(merged.HealthChecks) != 1 {
		t.Errorf("the merged app is %+v, want all of %+v", merged, before)
	}
}

func TestLoadBalancerServesTheServicePort(t *testing.T) {
	app := readApp(t, "marathon-lb-internal.json")
	if ports := strings.Split(app.Env["PORTS"], ","); !slices.Contains(ports, strconv.Itoa(servicePort)) {
		t.Errorf("PORTS %q lacks the service port", app.Env["PORTS"])
	}
	// A check of a port that is not the app's own is refused by Marathon before 0.15, and agents offer none of these ports.
	check := app.HealthChecks[0]
	_, port, _ := strings.Cut(check.Command.Value, "127.0.0.1:")
	port, _, _ = strings.Cut(port, "/")
	if check.Protocol != "COMMAND" || check.Port != 0 || !slices.Contains(strings.Split(app.Env["PORTS"], ","), port) {
		t.Errorf("health check %+v, want a command that asks one of %s", check, app.Env["PORTS"])
	}
	if i := slices.Index(app.Args, "--group"); i < 0 || app.Args[i+1] != "internal" || app.Container.Docker.Network != "HOST" {
		t.Errorf("args %q, network %q", app.Args, app.Container.Docker.Network)
	}
}

// Every file that the README's commands name exists, and every file of the bundle is in the README.
func TestMarathonREADMENamesTheFiles(t *testing.T) {
	readme := string(bundleFile(t, "README.md"))
	for _, m := range regexp.MustCompile(`@(?:marathon/)?([a-z0-9.-]+\.json)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join(bundle, m[1])); errors.Is(err, os.ErrNotExist) {
			t.Errorf("README.md posts %s, which does not exist", m[1])
		}
	}
	entries, err := os.ReadDir(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(readme, e.Name()) && e.Name() != "README.md" {
			t.Errorf("README.md does not mention %s", e.Name())
		}
	}
}
