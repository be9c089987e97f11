package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// inRepository reads a file of the repository.
func inRepository(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// helpOf is what the program says of its options.
func helpOf(t *testing.T) string {
	t.Helper()
	help, err := exec.Command(program(), "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("--help: %v", err)
	}
	return string(help)
}

var longOption = regexp.MustCompile(`--[a-z][a-z0-9_]+`)

// The services that HAProxy and the instances of the compose file name are services of it, and so are its volumes.
func TestComposeFileFitsItsParts(t *testing.T) {
	t.Parallel()
	compose := inRepository(t, "deploy/compose.yml")
	_, body, _ := strings.Cut(compose, "\nservices:\n")
	services, volumes, found := strings.Cut(body, "\nvolumes:\n")
	if !found || strings.Contains(compose, "\t") {
		t.Fatal("want services, then volumes, and no tab")
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z0-9]+):$`).FindAllStringSubmatch(services, -1) {
		names = append(names, m[1])
	}
	if want := []string{"zk1", "zk2", "zk3", "chronos1", "chronos2", "haproxy"}; !slices.Equal(names, want) {
		t.Errorf("services %q, want %q", names, want)
	}

	help := helpOf(t)
	options := regexp.MustCompile(`(?m)^  command: (.*)$`).FindStringSubmatch(compose)
	if options == nil {
		t.Fatal("the instances have no command")
	}
	for _, option := range longOption.FindAllString(options[1], -1) {
		if !strings.Contains(help, option+" ") {
			t.Errorf("the instances are given %s, which the program does not know", option)
		}
	}
	for _, m := range regexp.MustCompile(`(zk\d):2181|server\.\d=(zk\d):`).FindAllStringSubmatch(compose, -1) {
		if name := m[1] + m[2]; !slices.Contains(names, name) {
			t.Errorf("%s is named and is no service", name)
		}
	}
	for _, name := range []string{"chronos1", "chronos2"} {
		_, service, _ := strings.Cut(services, "\n  "+name+":\n")
		if !strings.Contains(strings.SplitN(service, "\n  chronos", 2)[0], "HOST: "+name+"}") {
			t.Errorf("%s does not tell the other one where it is", name)
		}
		if !strings.Contains(inRepository(t, "deploy/haproxy.cfg"), fmt.Sprintf("server %s %[1]s:%d ", name, defaultPort)) {
			t.Errorf("HAProxy has no server %s at port %d", name, defaultPort)
		}
	}
	for _, m := range regexp.MustCompile(`"([a-z0-9-]+):/`).FindAllStringSubmatch(services, -1) {
		if !strings.Contains(volumes, "  "+m[1]+":\n") {
			t.Errorf("the volume %s is not declared", m[1])
		}
	}
	if port := fmt.Sprintf("127.0.0.1:%d:%[1]d", servicePort); !strings.Contains(services, port) {
		t.Errorf("want HAProxy published on loopback only, as %s", port)
	}
}

// The servers apart, the two configurations of HAProxy are one, of which the tests run the other.
func TestComposeHAProxyIsThatOfTheBundle(t *testing.T) {
	t.Parallel()
	withoutServers := func(name string) string {
		_, text, _ := strings.Cut(inRepository(t, name), "\nglobal\n")
		text, _, _ = strings.Cut(text, "\n    server ")
		return text
	}
	if got, want := withoutServers("deploy/haproxy.cfg"), withoutServers("marathon/haproxy.cfg"); got != want || want == "" {
		t.Errorf("deploy/haproxy.cfg differs from marathon/haproxy.cfg:\n%s", got)
	}
	if out, err := exec.Command(haproxyPath(t), "-c", "-f", filepath.Join(repository, "deploy/haproxy.cfg")).CombinedOutput(); err != nil {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
}

// systemd itself reads the unit, with and without the drop-in for Mesos, which closes what the unit leaves open to jobs.
func TestUnitIsWhatSystemdUnderstands(t *testing.T) {
	t.Parallel()
	unit := inRepository(t, "packaging/chronos.service")
	for _, want := range []string{"ExecStart=/usr/bin/chronos\n", "\nDelegate=yes\n", "\nKillMode=process\n", "\nProtectSystem=yes\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	root := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("etc/systemd/system/chronos.service", strings.ReplaceAll(unit, "=/usr/bin/chronos", "="+program()))
	check := func(args ...string) {
		out, err := exec.Command(analyze, args...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// Releases before 254 do not know it, and the unit says so.
			if strings.Contains(line, "Unknown key") && !strings.Contains(line, "DelegateSubgroup") {
				t.Errorf("systemd-analyze %s: %s", args[0], line)
			}
		}
		if err != nil {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
	check("verify", "--man=no", path)
	write("etc/systemd/system/chronos.service.d/mesos.conf", inRepository(t, "packaging/mesos.conf"))
	check("security", "--offline=yes", "--threshold=20", "--root="+root, "chronos.service")
}

// What the scripts of a release name exists, and the image is built as everything else is.
func TestReleaseScriptsFitTheRepository(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob(filepath.Join(repository, "packaging/*.sh"))
	if err != nil || len(scripts) < 6 {
		t.Fatalf("scripts %q, %v", scripts, err)
	}
	for _, script := range scripts {
		if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", script, out)
		}
	}

	release, packages := inRepository(t, "packaging/release.sh"), inRepository(t, "packaging/nfpm.yaml")
	for _, m := range regexp.MustCompile(`(?m)(?:src: |install: |remove: )"?([^\s",]+)`).FindAllStringSubmatch(packages, -1) {
		staged, made := strings.CutPrefix(m[1], "${STAGE}/")
		switch {
		case m[1] == "${BINARY}":
		case made && !strings.Contains(release, "$stage/"+strings.Replace(staged, filepath.Ext(staged), "", 1)):
			t.Errorf("nfpm.yaml takes %s, which release.sh does not make", m[1])
		case !made:
			if _, err := os.Stat(filepath.Join(repository, m[1])); err != nil {
				t.Errorf("nfpm.yaml: %v", err)
			}
		}
	}

	makefile := inRepository(t, "Makefile")
	goFlags := regexp.MustCompile(`(?m)^GOFLAGS := (.*)$`).FindStringSubmatch(makefile)
	ldFlags := regexp.MustCompile(`(?m)^LDFLAGS := (.*)\$\(VERSION\)$`).FindStringSubmatch(makefile)
	if goFlags == nil || ldFlags == nil {
		t.Fatal("the Makefile has no GOFLAGS and LDFLAGS")
	}
	if goFlags[1] != shippedFlags || ldFlags[1] != shippedLinkFlags+" -X main.version=" {
		t.Errorf("the Makefile builds with %s and links with %s, these tests do so otherwise", goFlags[1], ldFlags[1])
	}
	dockerfile := strings.Join(strings.Fields(strings.ReplaceAll(inRepository(t, "Dockerfile"), "\\\n", " ")), " ")
	if want := fmt.Sprintf(`GOARCH=${TARGETARCH} go build %s -ldflags "%s${VERSION}"`, goFlags[1], ldFlags[1]); !strings.Contains(dockerfile, want) {
		t.Errorf("the Dockerfile does not build with %s", want)
	}
	workflows := inRepository(t, ".github/workflows/test.yml") + inRepository(t, ".github/workflows/release.yml")
	for _, m := range regexp.MustCompile(`(?m)(?:run: |sudo )make ([a-z-]+)$`).FindAllStringSubmatch(workflows, -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("a workflow runs make %s, which there is not", m[1])
		}
	}
}
