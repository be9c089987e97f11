package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// askAs sends a request as a user with a password, to any address.
func askAs(t *testing.T, addr, user, method, path, body string, header ...string) int {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, "password of "+user)
	}
	if body != "" {
		r.Header.Set("Content-Type", typeJSON)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := freshClient.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// chronosCommand runs a subcommand of the program.
func chronosCommand(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("chronos %q: %v\n%s", args, err, out)
	}
	return string(out)
}

const aJob = `{"name":"web-1","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`

// The recipe of five minutes: a read-only user and a token for a pipeline; and lines that htpasswd has written, with a role behind them.
func TestUsersOfHtpasswdAndOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "users")
	chronosCommand(t, "password of developers\n", "user", "add", "--file", file, "developers", "read")
	token := strings.Fields(chronosCommand(t, "", "token", "--file", file, "pipeline", "edit", "web-"))[0]
	for user, role := range map[string]string{"alice": "run", "boss": "admin"} {
		line, err := exec.Command("htpasswd", "-nbB", user, "password of "+user).Output()
		if err != nil {
			t.Fatalf("htpasswd (apt-get install apache2-utils): %v", err)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%s:%s\n", strings.TrimSpace(string(line)), role)
		f.Close()
	}
	v := newInstance(t, "log", "--data_dir", filepath.Join(dir, "data"), "--http_users_file", file)
	v.start(t)
	bearer := []string{"Authorization", "Bearer " + token}
	until(t, "the instance leads", func() bool { return askAs(t, v.addr, "boss", "GET", "/scheduler/jobs", "") == 200 })
	for _, tt := range []struct {
		what, user, method, path, body string
		header                         []string
		want                           int
	}{
		{"nobody", "", "GET", "/scheduler/jobs", "", nil, 401},
		{"nobody, to a load balancer's question", "", "GET", "/ping", "", nil, 200},
		{"a developer looks", "developers", "GET", "/v1/scheduler/jobs", "", nil, 200},
		{"a developer writes", "developers", "POST", "/scheduler/iso8601", aJob, nil, 403},
		{"the pipeline deploys", "", "POST", "/scheduler/iso8601", aJob, bearer, 204},
		{"the pipeline deploys another team's", "", "POST", "/scheduler/iso8601", strings.Replace(aJob, "web-", "db-", 1), bearer, 403},
		{"the pipeline is another", "", "GET", "/scheduler/jobs", "", []string{"Authorization", "Bearer " + token + "x"}, 401},
		{"alice starts it", "alice", "PUT", "/scheduler/job/web-1", "", nil, 204},
		{"alice deletes it", "alice", "DELETE", "/scheduler/job/web-1", "", nil, 403},
		{"the boss deletes it", "boss", "DELETE", "/scheduler/job/web-1", "", nil, 204},
	} {
		if got := askAs(t, v.addr, tt.user, tt.method, tt.path, tt.body, tt.header...); got != tt.want {
			t.Errorf("%s: %s %s = %d, want %d", tt.what, tt.method, tt.path, got, tt.want)
		}
	}
}

// accessHAProxy is the recipe in docs/access.md, with addresses.
const accessHAProxy = `global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
userlist people
  group developers users dora
  group ops users olga
  user dora insecure-password "password of dora"
  user olga insecure-password "password of olga"
  user eve insecure-password "password of eve"
frontend chronos
  bind %s
  http-request auth realm Chronos unless { http_auth(people) }
  http-request set-header X-Forwarded-User %%[http_auth_user]
  http-request del-header X-Forwarded-Groups
  http-request set-header X-Forwarded-Groups developers if { http_auth_group(people) developers }
  http-request set-header X-Forwarded-Groups ops if { http_auth_group(people) ops }
  http-request set-header X-Chronos-Proxy-Secret "${CHRONOS_PROXY_SECRET}"
  default_backend chronos
backend chronos
  option httpchk GET /ping
  server one %s check inter 200ms
  server two %s check inter 200ms
`

// HAProxy logs people in and says who they are, before two instances of which one forwards; clients can't say it themselves.
func TestHAProxyLogsPeopleIn(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	dir := t.TempDir()
	const secret = "a secret of more than sixteen characters"
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users", "@group:developers:read\n@group:ops:admin\n")
	proxySecret, instanceSecret := write("proxy-secret", secret+"\n"), write("instance-secret", "another secret of the instances\n")
	var instances []*instance
	for i := range 2 {
		v := newInstance(t, fmt.Sprintf("log%d", i), "--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", filepath.Join(dir, "data"), "--http_users_file", users,
			"--http_trusted_proxy", "127.0.0.1", "--http_trusted_proxy_secret_file", proxySecret, "--instance_secret_file", instanceSecret)
		v.start(t)
		instances = append(instances, v)
	}
	front := fmt.Sprintf("127.0.0.1:%d", zktest.FreePort())
	config := write("haproxy.cfg", fmt.Sprintf(accessHAProxy, front, instances[0].addr, instances[1].addr))
	proxy := exec.Command("haproxy", "-db", "-f", config)
	proxy.Env = append(os.Environ(), "CHRONOS_PROXY_SECRET="+secret)
	if err := proxy.Start(); err != nil {
		t.Fatalf("haproxy (apt-get install haproxy): %v", err)
	}
	t.Cleanup(func() { proxy.Process.Kill(); proxy.Wait() })
	until(t, "both instances answer through HAProxy", func() bool {
		for range 4 { // they take turns
			if askAs(t, front, "olga", "GET", "/scheduler/jobs", "") != 200 {
				return false
			}
		}
		return true
	})
	forged := []string{"X-Forwarded-Groups", "ops", "X-Forwarded-User", "olga", "X-Chronos-Proxy-Secret", "guessed"}
	for range 2 {
		for _, tt := range []struct {
			user, method, path, body string
			header                   []string
			want                     int
		}{
			{"", "GET", "/scheduler/jobs", "", nil, 401},
			{"dora", "GET", "/scheduler/jobs", "", nil, 200},
			{"dora", "POST", "/scheduler/iso8601", aJob, nil, 403},
			{"dora", "POST", "/scheduler/iso8601", aJob, forged, 403},
			{"eve", "GET", "/scheduler/jobs", "", nil, 403},
			{"eve", "GET", "/scheduler/jobs", "", forged, 403},
			{"olga", "POST", "/scheduler/iso8601", aJob, nil, 204},
		} {
			if got := askAs(t, front, tt.user, tt.method, tt.path, tt.body, tt.header...); got != tt.want {
				t.Errorf("%s: %s %s = %d, want %d", tt.user, tt.method, tt.path, got, tt.want)
			}
		}
	}
	for _, v := range instances {
		if got := askAs(t, v.addr, "", "GET", "/scheduler/jobs", "", forged...); got != 401 {
			t.Errorf("forged headers, not through HAProxy = %d, want 401", got)
		}
		if got := askAs(t, v.addr, "dora", "GET", "/scheduler/jobs", ""); got != 401 {
			t.Errorf("a user of HAProxy's, not through HAProxy = %d, want 401", got)
		}
		if log, err := os.ReadFile(v.log); err != nil || strings.Contains(string(log), secret) {
			t.Errorf("the log has the secret, or can't be read: %v", err)
		}
	}
}

// In local mode a secret is in the environment of the run, and not on the disk, in the log, or in a backup.
func TestLocalSecretsAreInTheRunOnly(t *testing.T) {
	t.Parallel()
	const secret = "t0p-s3cret-t0p-s3cret"
	secrets, data := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"index": "db-password:import-\n", "db-password": secret + "\n"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := newInstance(t, "secrets.log", "--data_dir", data, "--secrets_dir", secrets, "--log_level", "debug")
	v.start(t)
	v.serves(t)
	const env = `"environmentVariables":[{"name":"DB","secret":"db-password"}],"schedule":"R/2040-01-01T00:00:00Z/P1D","retries":0`
	v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"import-a","command":"printf %s \"$DB\" | sha256sum",`+env+`}`, http.StatusNoContent)
	v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"other","command":"true",`+env+`}`, http.StatusNoContent)
	v.mustCall(t, "PUT", "/scheduler/job/import-a", "", http.StatusNoContent)
	v.mustCall(t, "PUT", "/scheduler/job/other", "", http.StatusNoContent)
	if r := v.awaitEnd(t, "other", 1); r.State != "failed" || r.Reason != `variable "DB": secret "db-password" is not for jobs of this name, as the index of --secrets_dir says` {
		t.Errorf("a run that may not have the secret: %+v", r)
	}
	r := v.awaitEnd(t, "import-a", 1)
	got := v.mustCall(t, "GET", "/scheduler/run/"+url.PathEscape(r.ID)+"/stdout", "", http.StatusOK)
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(secret))); !strings.HasPrefix(got, want) {
		t.Errorf("the run %+v has a variable with the digest %s, want %s", r, got, want)
	}
	seen := map[string]string{"the backup": v.mustCall(t, "GET", "/scheduler/backup", "", http.StatusOK), "the listing": v.mustCall(t, "GET", "/scheduler/jobs", "", http.StatusOK)}
	v.terminate(t)
	seen["the log"] = v.lastLog()
	files := 0
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var text []byte
			text, err = os.ReadFile(path)
			seen[path] = string(text)
			files++
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files, %v", files, err)
	}
	for where, text := range seen {
		if strings.Contains(text, secret) {
			t.Errorf("%s has the secret", where)
		}
	}
}
