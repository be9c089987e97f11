//go:build services

package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// An instance names those among the others that let everybody do everything, or have other options, in its log and in /health, for as
// long as they are there; and what it sends to a leader of that kind is for admins, and for readers without a scope.
func TestInstancesNameThoseWithoutRoles(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	data := t.TempDir()
	users := writeFile(t, "users", usersText(t, "root:admin\nrita:read\nsue:read:a\ned:edit"))
	args := []string{"--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", data}
	open := startDaemon(t, args...)
	awaitRole(t, open, roleLeader)
	guarded := startDaemon(t, append(args, "--http_users_file", users)...)
	awaitRole(t, guarded, roleFollower)
	other := startDaemon(t, append(args, "--http_users_file", users, "--instance_secret_file", writeFile(t, "secret", testInstanceSecret))...)
	awaitRole(t, other, roleFollower)
	health := func() string {
		_, body := guarded.ask(t, 0, "GET", "/health", "", asUser("root")...)
		return body
	}
	guarded.until(t, "it names both", func() bool {
		body := health()
		return strings.Contains(body, "may do everything at "+open.id) && strings.Contains(body, "other options are set at "+other.id)
	})
	if log := guarded.log.String(); !strings.Contains(log, "not all instances have the same options of access") {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
	if log := open.log.String(); strings.Contains(log, "options of access") {
		t.Errorf("an instance without options says something new:\n%s", log)
	}
	for _, tt := range []struct {
		user, method, path, body string
		want                     int
	}{
		{"rita", "GET", "/scheduler/jobs", "", 200},
		{"sue", "GET", "/scheduler/jobs", "", 503},
		{"ed", "POST", "/scheduler/iso8601", jobA, 503},
		{"root", "POST", "/scheduler/iso8601", jobA, 204},
	} {
		if res, body := guarded.ask(t, 0, tt.method, tt.path, tt.body, asUser(tt.user)...); res.StatusCode != tt.want {
			t.Errorf("%s: %s %s = %d %s, want %d", tt.user, tt.method, tt.path, res.StatusCode, body, tt.want)
		}
	}
	open.stop()
	other.stop()
	awaitRole(t, guarded, roleLeader)
	guarded.until(t, "nobody is named any more", func() bool { return !strings.Contains(health(), "options of access") })
	if res, body := guarded.ask(t, 0, "POST", "/scheduler/iso8601", jobA, asUser("ed")...); res.StatusCode != 204 {
		t.Errorf("ed, when it leads itself = %d %s, want 204", res.StatusCode, body)
	}
}

// As root, with jobs of another user, neither the users file nor the secrets nor the state can be read by a job; a file that can, and jobs that
// run as the program, are told of at the start and in /health.
func TestLocalJobsCannotReadWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test changes users: run it as root, as in `sudo go test`")
	}
	dir := publicDir(t)
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users", usersText(t, "root:admin"), 0o600)
	secret := write("secret", testInstanceSecret, 0o600)
	data, secrets := filepath.Join(dir, "data"), filepath.Join(dir, "secrets")
	if err := os.Mkdir(secrets, 0o755); err != nil {
		t.Fatal(err)
	}
	write("secrets/index", "db-password:import-\n", 0o644)
	password := write("secrets/db-password", "x", 0o600)
	d := startDaemon(t, "--data_dir", data, "--user", "nobody", "--http_users_file", users, "--instance_secret_file", secret, "--secrets_dir", secrets)
	awaitRole(t, d, roleLeader)
	ask := func(d *testDaemon, method, path, body string, want int) string {
		t.Helper()
		res, text := d.ask(t, 0, method, path, body, asUser("root")...)
		if res.StatusCode != want {
			t.Fatalf("%s %s = %d %s, want %d", method, path, res.StatusCode, text, want)
		}
		return text
	}
	if body := ask(d, "GET", "/health", "", 200); strings.Contains(body, "warnings") {
		t.Errorf("health has warnings: %s", body)
	}
	files := strings.Join([]string{users, secret, password, filepath.Join(data, "state.log")}, " ")
	ask(d, "POST", "/scheduler/iso8601", `{"name":"thief","retries":0,"schedule":"R/2090-01-01T00:00:00Z/P1D",`+
		`"command":"id -un; for f in `+files+`; do cat $f && echo READ; done; true"}`, 204)
	ask(d, "PUT", "/scheduler/job/thief", "", 204)
	var id string
	d.until(t, "the job has run", func() bool {
		v := d.seat.current().view().job("thief")
		if len(v.history) > 0 {
			id = v.history[0].ID
		}
		return id != ""
	})
	stdout := ask(d, "GET", "/scheduler/run/"+id+"/stdout", "", 200)
	stderr := ask(d, "GET", "/scheduler/run/"+id+"/stderr", "", 200)
	if !strings.HasPrefix(stdout, "nobody\n") || strings.Contains(stdout, "READ") || strings.Count(stderr, "Permission denied") < 4 {
		t.Errorf("the job has written %q and %q, want that nobody may read", stdout, stderr)
	}
	d.stop()

	write("secrets/db-password", "x", 0o644)
	readable := write("readable", usersText(t, "root:admin"), 0o644)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--user", "nobody", "--http_users_file", readable}, "who can read " + readable},
		{[]string{"--user", "nobody", "--http_users_file", users, "--secrets_dir", secrets}, "who can read " + password},
		{[]string{"--user", "root", "--http_users_file", users}, "jobs run as the same user as this program"},
	} {
		d := startDaemon(t, tt.args...)
		awaitRole(t, d, roleLeader)
		if body := ask(d, "GET", "/health", "", 200); !strings.Contains(body, tt.want) || !strings.Contains(d.log.String(), tt.want) {
			t.Errorf("%q: health and log do not both say %q: %s\n%s", tt.args, tt.want, body, d.log)
		}
		d.stop()
	}
}

// asUser is as for ask.
func asUser(name string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+passwordOf(name)))}
}

// How all instances are doing is known whichever is asked, also where each wants to know who asks: by his password, and by the
// word of a proxy, for which the leader vouches.
func TestEachInstanceSaysHowItIsDoing(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	users, proxy := writeFile(t, "users", usersText(t, "rita:read\nsue:read:a\n@group:*:read")), writeFile(t, "proxy", testProxySecret)
	args := []string{"--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", t.TempDir(), "--http_users_file", users,
		"--http_trusted_proxy", "127.0.0.1", "--http_trusted_proxy_secret_file", proxy, "--instance_secret_file", writeFile(t, "secret", testInstanceSecret)}
	leader := startDaemon(t, args...)
	awaitRole(t, leader, roleLeader)
	follower := startDaemon(t, args...)
	awaitRole(t, follower, roleFollower)
	proxied := []string{proxySecretHeader, testProxySecret, proxyUserHeader, "rita"}
	for name, header := range map[string][]string{"password": asUser("rita"), "proxy": proxied} {
		for _, asked := range []*testDaemon{leader, follower} {
			asked.until(t, "both say how they are, by "+name, func() bool {
				_, body := asked.ask(t, 0, "GET", "/scheduler/instances", "", header...)
				var doc struct {
					Instances []struct {
						Instance string
						Leads    bool
						Health   healthReport
					}
				}
				if err := json.Unmarshal([]byte(body), &doc); err != nil || len(doc.Instances) != 2 {
					return false
				}
				l, f := doc.Instances[0], doc.Instances[1]
				return l.Instance == leader.id && l.Leads && l.Health.Role == roleLeader && f.Instance == follower.id && !f.Leads && f.Health.Role == roleFollower && f.Health.Leader == leader.id
			})
		}
	}
	if res, body := follower.ask(t, 0, "GET", "/scheduler/leader/health", "", asUser("rita")...); res.StatusCode != 200 || !strings.Contains(body, `"instance":"`+leader.id+`"`) {
		t.Errorf("the leader's health, asked of the follower: %d %s", res.StatusCode, body)
	}
	if res, _ := follower.ask(t, 0, "GET", "/scheduler/instances", "", asUser("sue")...); res.StatusCode != 403 {
		t.Errorf("with a scope: %d, want 403", res.StatusCode)
	}
}
