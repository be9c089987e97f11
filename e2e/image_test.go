package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

const (
	imageName  = "localhost/chronos:test"
	imageLimit = 19 << 20 // of the whole image; the program alone is below 16
)

// A podman keeps images and containers of its own, below a directory that is removed with the test.
// It needs root, but no daemon.
type podman struct {
	t   *testing.T
	dir string
}

func newPodman(t *testing.T) *podman {
	t.Helper()
	for _, program := range []string{"podman", "runc", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: install what builds and runs the image with: apt-get install podman runc busybox-static", err)
		}
	}
	p := &podman{t, t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range strings.Fields(p.must("ps", "--all", "--format", "{{.Names}}")) {
				t.Logf("%s logged: %s", name, p.logs(name))
			}
		}
		p.run("rm", "--all", "--force", "--time", "0")
	})
	return p
}

func (p *podman) run(args ...string) (string, error) {
	cmd := exec.Command("podman", append([]string{"--root", p.dir + "/images", "--runroot", p.dir + "/run", "--storage-driver", "vfs",
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("podman %s: %w\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

func (p *podman) must(args ...string) string {
	p.t.Helper()
	out, err := p.run(args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// container starts a container of the image. Machines of CI may not raise limits, as podman would.
func (p *podman) container(name string, options []string, args ...string) {
	p.t.Helper()
	words := append([]string{"run", "--detach", "--name", name, "--pull", "never", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"}, options...)
	p.must(append(append(words, imageName), args...)...)
}

// makeBase makes the image that the Dockerfile starts from, under the same name, out of
// busybox; Go itself and its caches are mounted when building.
func (p *podman) makeBase() {
	p.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(name string, mode int64, content []byte, link string) {
		h := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg, Linkname: link}
		switch {
		case strings.HasSuffix(name, "/"):
			h.Typeflag = tar.TypeDir
		case link != "":
			h.Typeflag = tar.TypeSymlink
		}
		if err := w.WriteHeader(h); err != nil {
			p.t.Fatal(err)
		}
		w.Write(content)
	}
	for _, dir := range []string{"bin/", "etc/ssl/certs/", "root/.cache/go-build/", "usr/local/go/", "go/pkg/mod/", "proc/", "dev/", "sys/"} {
		add(dir, 0o755, nil, "")
	}
	add("tmp/", 0o1777, nil, "")
	add("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"), "")
	for name, file := range map[string]string{"bin/busybox": lookPath(p.t, "busybox"), "etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt"} {
		content, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatalf("%v: apt-get install busybox-static ca-certificates", err)
		}
		add(name, 0o755, content, "")
	}
	applets, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			add("bin/"+applet, 0o777, nil, "busybox")
		}
	}
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(p.dir, "base.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.must("import", "--change", "ENV PATH=/usr/local/go/bin:/bin", "--change", "ENV HOME=/root", "--change", "ENV GOPATH=/go",
		"--change", "ENV GOPROXY="+goEnv(p.t, "GOPROXY"), file, baseImage(p.t))
}

func lookPath(t *testing.T, program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// baseImage is the name that the Dockerfile builds from.
func baseImage(t *testing.T) string {
	text, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "ARG GO_IMAGE="); ok {
			return strings.TrimSpace(name)
		}
	}
	t.Fatal("the Dockerfile has no ARG GO_IMAGE")
	return ""
}

func (p *podman) build() {
	p.t.Helper()
	if out, err := exec.Command("go", "mod", "download").CombinedOutput(); err != nil {
		p.t.Fatalf("go mod download: %v\n%s", err, out)
	}
	p.makeBase()
	noteSource()
	start := time.Now()
	p.must("build", "--isolation", "chroot", "--pull=never", "--format", "docker", "--build-arg", "VERSION=1.2.3", "--tag", imageName,
		"--volume", goEnv(p.t, "GOROOT")+":/usr/local/go:ro", "--volume", goEnv(p.t, "GOMODCACHE")+":/go/pkg/mod",
		"--volume", goEnv(p.t, "GOCACHE")+":/root/.cache/go-build", repository)
	p.t.Logf("built in %v", time.Since(start).Round(time.Millisecond))
}

// inspect returns one value of a container.
func (p *podman) inspect(name, format string) string {
	p.t.Helper()
	return p.must("inspect", "--format", format, name)
}

// stop sends SIGTERM and wants the container to end well.
func (p *podman) stop(name string) {
	p.t.Helper()
	sent := time.Now()
	p.must("kill", "--signal", "TERM", name)
	if status := p.must("wait", "--interval", "10ms", name); status != "0" {
		p.t.Errorf("%s ended on SIGTERM with status %s, want 0", name, status)
	}
	p.t.Logf("%s: SIGTERM to end in %v", name, time.Since(sent).Round(time.Millisecond))
}

// answering waits for the instance at an address.
func answering(t *testing.T, addr string) *instance {
	t.Helper()
	v := &instance{addr: addr}
	until(t, addr+" answers", func() bool {
		status, text, err := v.call("GET", "/ping", "")
		return err == nil && status == http.StatusOK && text == "pong\n"
	})
	return v
}

func TestImage(t *testing.T) {
	t.Parallel()
	p := newPodman(t)
	p.build()
	size := p.inspect(imageName, "{{.Size}}")
	if n, err := strconv.Atoi(size); err != nil || n > imageLimit {
		t.Errorf("the image has %s bytes, want at most %d", size, imageLimit)
	}
	t.Logf("the image has %s bytes", size)
	if out := p.must("run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", imageName, "--version"); out != "chronos 1.2.3" {
		t.Errorf("--version = %q, want the one of the build", out)
	}
	t.Run("alone", func(t *testing.T) { imageAlone(t, &podman{t, p.dir}) })
	t.Run("started as before", func(t *testing.T) { imageStartedAsBefore(t, &podman{t, p.dir}) })
	t.Run("two on one ZooKeeper", func(t *testing.T) { imageTwice(t, &podman{t, p.dir}) })
}

// imageAlone is docker run -p 8080:8080 IMAGE.
func imageAlone(t *testing.T, p *podman) {
	start := time.Now()
	port := fmt.Sprint(zktest.FreePort())
	p.container("alone", []string{"--publish", "127.0.0.1:" + port + ":8080"})
	created := time.Since(start)
	v := answering(t, "127.0.0.1:"+port)
	t.Logf("podman run took %v, the first answer came %v after it", created.Round(time.Millisecond), (time.Since(start) - created).Round(time.Millisecond))
	if user := p.must("exec", "alone", "id", "-u"); user != "65532" {
		t.Errorf("the program runs as user %q, want 65532", user)
	}
	p.must("exec", "alone", "/usr/bin/chronos", "healthcheck")
	p.must("healthcheck", "run", "alone")

	post := func(name, command string) {
		v.mustCall(t, "POST", "/scheduler/iso8601", fmt.Sprintf(`{"name":%q,"command":%q,"schedule":"R/2090-01-01T00:00:00Z/P1D","scheduleTimeZone":"Europe/Berlin","retries":0}`, name, command), http.StatusNoContent)
		v.mustCall(t, "PUT", "/scheduler/job/"+name, "", http.StatusNoContent)
	}
	last := func(name string) (run runOfJob) {
		open, ended := v.runs(t, name)
		if all := append(open, ended...); len(all) > 0 {
			return all[0]
		}
		return run
	}
	post("hello", "echo hello $(id -un) | tr a-z A-Z")
	until(t, "the job has finished", func() bool { return last("hello").State == "finished" })
	if out := v.mustCall(t, "GET", "/scheduler/run/"+last("hello").ID+"/stdout", "", http.StatusOK); out != "HELLO CHRONOS\n" {
		t.Errorf("the job wrote %q, want HELLO CHRONOS", out)
	}
	post("long", "sleep 1000")
	until(t, "the long job runs", func() bool { return last("long").State == "active" })
	p.stop("alone")

	p.must("start", "alone")
	answering(t, v.addr)
	until(t, "the run that the end has cut off is recorded as lost", func() bool {
		run := last("long")
		return run.State == "lost" || run.State == "failed" && strings.Contains(run.Reason, "lost")
	})
	t.Logf("the run that was cut off: %+v", last("long"))
	p.stop("alone")
}

// imageTwice is what Marathon does with host networking: two instances, one address for each.
func imageTwice(t *testing.T, p *podman) {
	hosts, root := zktest.Shared(t)
	names, instances := []string{"first", "second"}, []*instance{}
	for _, name := range names {
		port := fmt.Sprint(zktest.FreePort())
		p.container(name, []string{"--network", "host", "--env", "HOST=127.0.0.1", "--env", "PORT0=" + port, "--volume", "shared:/data"},
			"--zk_hosts", "zk://"+hosts[0], "--zk_path", root, "--zk_timeout", "4000")
		v := answering(t, "127.0.0.1:"+port)
		p.must("exec", name, "/usr/bin/chronos", "healthcheck")
		instances = append(instances, v)
	}
	leader := leaderAmong(t, instances)
	i := 0
	if leader == instances[1] {
		i = 1
	}
	follower := instances[1-i]
	follower.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"j","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`, http.StatusNoContent)
	leader.mustCall(t, "GET", "/v1/scheduler/job/j", "", http.StatusOK)
	start := time.Now()
	p.stop(names[i])
	follower.mustCall(t, "GET", "/v1/scheduler/job/j", "", http.StatusOK)
	t.Logf("stopped the leader; %v later the other one answered as leader", time.Since(start).Round(time.Millisecond))
	p.stop(names[1-i])
}

// imageStartedAsBefore starts the program by what used to start the JVM versions: the packages' files and
// variables, and the words of DC/OS's package.
func imageStartedAsBefore(t *testing.T, p *podman) {
	conf, port := t.TempDir(), fmt.Sprint(zktest.FreePort())
	if err := os.Chmod(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"http_port": port + "\n", "?disable_http_compression": "", "cluster_name": "from a file\n"} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.container("packaged", []string{"--network", "host", "--volume", conf + ":/etc/chronos/conf:ro",
		"--env", "CHRONOS_CLUSTER_NAME=of the environment", "--env", "CHRONOS_PORT_80_TCP=tcp://10.0.0.1:80"}, "--failure_retry", "1000")
	answering(t, "127.0.0.1:"+port)
	p.must("exec", "packaged", "/usr/bin/chronos", "healthcheck")
	wantLog(t, p, "packaged", "options of /etc/chronos/conf: disable_http_compression cluster_name http_port", "environment variables that are not named after options are ignored: CHRONOS_PORT_80_TCP")
	p.stop("packaged")

	port = fmt.Sprint(zktest.FreePort())
	p.container("dcos", []string{"--network", "host", "--env", "PORT0=" + port, "--env", "HOST=127.0.0.1"},
		"/usr/bin/chronos", "run_jar", "--http_port", "$PORT0", "--hostname", "$HOST", "--mesos_framework_name", "chronos", "--mail_ssl", "true", "--slack_token", "secret")
	dcos := answering(t, "127.0.0.1:"+port)
	if leader := leaderAmong(t, []*instance{dcos}); leader != dcos {
		t.Errorf("the leader is %s, want %s", leader.addr, dcos.addr)
	}
	wantLog(t, p, "dcos", "option --slack_token is unknown and ignored", "$PORT0 in --http_port is replaced from the environment")
	p.stop("dcos")

	// Without run_jar nobody forgives an unknown option.
	if out, err := p.run("run", "--rm", "--pull", "never", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", imageName, "--slack_token", "x"); err == nil {
		t.Errorf("an unknown option starts the program: %s", out)
	}
}

// logs is what a container has written, on both of its outputs.
func (p *podman) logs(name string) string {
	p.t.Helper()
	log, err := exec.Command("podman", "--root", p.dir+"/images", "--runroot", p.dir+"/run", "--storage-driver", "vfs", "logs", name).CombinedOutput()
	if err != nil {
		p.t.Errorf("podman logs %s: %v", name, err)
	}
	return string(log)
}

func wantLog(t *testing.T, p *podman, name string, wants ...string) {
	t.Helper()
	log := p.logs(name)
	for _, want := range wants {
		if !strings.Contains(log, want) {
			t.Errorf("the log of %s lacks %q:\n%s", name, want, log)
		}
	}
}

func TestDockerfileAgreesWithTheProgram(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
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
	if env["CHRONOS_DATA_DIR"] != "/data" || len(env) != 2 {
		t.Errorf("the image sets %v, want two variables and the data in /data", env)
	}
	data := t.TempDir()
	got := startedAlone(t, []string{"CHRONOS_DATA_DIR=" + data, "CHRONOS_HTTP_ADDRESS=" + env["CHRONOS_HTTP_ADDRESS"]}, "--hostname", "h")
	if want := (serving{"[::]:8080", "h:8080", "local"}); got != want {
		t.Errorf("with %v it serves %+v, want %+v", env, got, want)
	}
	if _, err := os.Stat(filepath.Join(data, "state.log")); err != nil {
		t.Errorf("the state is not in a file in the data directory: %v", err)
	}
}
