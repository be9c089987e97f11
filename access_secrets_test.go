package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// secretsDir makes a directory of secrets.
func secretsDir(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		putSecret(t, dir, name, text)
	}
	return dir
}

func putSecret(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func testVault(t testing.TB, dir string) *vault {
	t.Helper()
	v, err := openVault(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIndexOfSecrets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{ // want is the error, or "" for none
		"# nothing\n\n":                      "",
		"db-password:import-,export-\r\nb:*": "",
		"db-password":                        "line 1: want NAME:PREFIX[,PREFIX...], as in db-password:import-,export-",
		"a:x\n\nb:":                          "line 3: want NAME:PREFIX[,PREFIX...], as in db-password:import-,export-",
		"a:x,":                               `line 1: secret "a": "" is neither the beginning of a job's name nor *`,
		"a:x:y":                              `line 1: secret "a": "x:y" is neither the beginning of a job's name nor *`,
		"a/b:x":                              `line 1: "a/b" is no name of a secret: ` + secretNames,
		"index:x":                            `line 1: "index" is no name of a secret: ` + secretNames,
		"a:x\na:y":                           `line 2: secret "a" stands there twice`,
	} {
		_, err := parseIndex([]byte(text))
		if got := fmt.Sprint(err); got != want && !(err == nil && want == "") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	r, err := parseIndex([]byte("db:import-,export-\nany:*\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		secret, job string
		want        bool
	}{{"db", "import-a", true}, {"db", "export-", true}, {"db", "import", false}, {"db", "my-import-a", false}, {"any", "x", true}, {"other", "import-a", false}} {
		if err := r.allows(tt.secret, tt.job); (err == nil) != tt.want {
			t.Errorf("secret %s for job %s: %v", tt.secret, tt.job, err)
		}
	}
}

// A secret is read from a file that nobody else may have written, and from nowhere else.
func TestSecretsAreReadFromSafeFilesOnly(t *testing.T) {
	t.Parallel()
	outside := writeFile(t, "outside", "no secret of ours")
	for _, tt := range []struct {
		what, want string // want is the secret, or part of the error
		make       func(dir string) error
	}{
		{"a file", "s3cret", func(dir string) error { return os.WriteFile(filepath.Join(dir, "db"), []byte("s3cret\n"), 0o600) }},
		{"one of several lines", "a\nb", func(dir string) error { return os.WriteFile(filepath.Join(dir, "db"), []byte("a\nb\r\n"), 0o644) }},
		{"links as Kubernetes makes them", "s3cret", func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "..2030"), 0o755), os.WriteFile(filepath.Join(dir, "..2030", "db"), []byte("s3cret"), 0o644),
				os.Symlink("..2030", filepath.Join(dir, "..data")), os.Symlink("..data/db", filepath.Join(dir, "db")), os.Chmod(dir, 0o777|os.ModeSticky))
		}},
		{"no file", `secret "db": there is no file db in `, func(string) error { return nil }},
		{"a link that leads nowhere", `secret "db": there is no file db in `, func(dir string) error { return os.Symlink("gone", filepath.Join(dir, "db")) }},
		{"a link that leads out", "escapes", func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "db")) }},
		{"a link that leads out by parents", "escapes", func(dir string) error { return os.Symlink("../../outside", filepath.Join(dir, "db")) }},
		{"a file that others may write", "others than its owner may write to db", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "db"), []byte("x"), 0o600), os.Chmod(filepath.Join(dir, "db"), 0o602))
		}},
		{"a file that the group may write", "others than its owner may write to db", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "db"), []byte("x"), 0o600), os.Chmod(filepath.Join(dir, "db"), 0o660))
		}},
		{"a directory that others may write in", "others than its owner may write in ", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "db"), []byte("x"), 0o600), os.Chmod(dir, 0o777))
		}},
		{"a directory in its place", "is not a file", func(dir string) error { return os.Mkdir(filepath.Join(dir, "db"), 0o700) }},
		{"a pipe", "is not a file", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "db"), 0o600) }},
		{"an empty file", "is empty", func(dir string) error { return os.WriteFile(filepath.Join(dir, "db"), []byte("\n"), 0o600) }},
		{"bytes that are no text", "is no text", func(dir string) error { return os.WriteFile(filepath.Join(dir, "db"), []byte("\xff\xfe"), 0o600) }},
		{"a byte of 0", "is no text", func(dir string) error { return os.WriteFile(filepath.Join(dir, "db"), []byte("a\x00b"), 0o600) }},
		{"too much", "has more than 64 KiB", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "db"), make([]byte, maxSecret+1), 0o600)
		}},
	} {
		dir := secretsDir(t, map[string]string{secretIndex: "db:a"})
		v := testVault(t, dir)
		if err := tt.make(dir); err != nil {
			t.Fatal(err)
		}
		got, err := v.secret("db", "a")
		if err != nil {
			got = err.Error()
		}
		if (err == nil) != (got == tt.want) || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
	if os.Geteuid() == 0 {
		dir := secretsDir(t, map[string]string{secretIndex: "db:a", "db": "x"})
		v := testVault(t, dir)
		if err := os.Chown(filepath.Join(dir, "db"), 4242, 4242); err != nil {
			t.Fatal(err)
		}
		if _, err := v.secret("db", "a"); err == nil || !strings.Contains(err.Error(), "belongs to user 4242") {
			t.Errorf("another's file: %v", err)
		}
	}
}

// The index is read again when it has changed, and at each launch. A broken one leaves the old in force, which is told.
func TestIndexOfSecretsIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := secretsDir(t, map[string]string{secretIndex: "db:a", "db": "s3cret"})
	v := testVault(t, dir)
	may := func(job string) bool { _, err := v.secret("db", job); return err == nil }
	if !may("a") || may("b") {
		t.Error("the index is not followed")
	}
	putSecret(t, dir, secretIndex, "db:b")
	if may("a") || !may("b") || v.problem() != "" {
		t.Errorf("a changed index is not followed; problem %q", v.problem())
	}
	putSecret(t, dir, secretIndex, "db;a")
	if may("a") || !may("b") || !strings.Contains(v.problem(), "line 1: want NAME:PREFIX") {
		t.Errorf("a broken index: problem %q, want the old one in force", v.problem())
	}
	putSecret(t, dir, secretIndex, "db:b")
	if !may("b") || v.problem() != "" {
		t.Errorf("an index that was mended: problem %q", v.problem())
	}
	if err := os.Remove(filepath.Join(dir, secretIndex)); err != nil {
		t.Fatal(err)
	}
	if !may("b") || v.problem() == "" {
		t.Errorf("an index that is gone: problem %q, want the old one in force", v.problem())
	}
	if _, err := openVault(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a start without an index")
	}
	var none *vault
	j := &Job{Name: "c", Policy: &Policy{Secrets: []SecretVar{{"DB", "db"}}}}
	for what, v := range map[string]*vault{"not for the job": v, "no directory": none} {
		if w := v.warnings(j); len(w) != 1 {
			t.Errorf("%s: warnings %v, want one", what, w)
		}
	}
}

// A secretiveCluster is a cluster whose tasks get secrets.
type secretiveCluster struct {
	testCluster
	vault *vault
	form  secretForm
}

func (c *secretiveCluster) client(log *slog.Logger) cluster {
	return &secretCluster{cluster: c.testCluster.client(log), vault: c.vault, form: c.form, log: log}
}

const secretJob = `{"name":"import-a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","retries":1,"environmentVariables":[{"name":"A","value":"1"},{"name":"DB","secret":"db-password"}]}`

// A secret is in the task that is sent and nowhere else.
func TestSecretsReachTheTaskAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]secretForm{"plain": plainSecret, "of Mesos": mesosSecret} {
		scenario(t, name, func(b *bench) {
			dir := secretsDir(b.t, map[string]string{secretIndex: "db-password:import-", "db-password": "t0p-s3cret\n"})
			b.cluster = &secretiveCluster{b.cluster, testVault(b.t, dir), form}
			var seen []string
			b.cluster.behave(func(task mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
				for _, v := range task.Command.Environment.Variables {
					if v.Name == "DB" {
						seen = append(seen, v.GetType().String()+" "+v.GetValue()+string(v.Secret.GetValue().GetData()))
					}
				}
				return 0, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
			})
			b.start()
			b.post(secretJob)
			b.restart()
			b.runNow("import-a")
			b.wait(time.Minute)
			want := map[secretForm]string{plainSecret: "VALUE t0p-s3cret", mesosSecret: "SECRET t0p-s3cret"}[form]
			if len(seen) != 1 || seen[0] != want {
				b.t.Errorf("the task has %q, want %s", seen, want)
			}
			for _, key := range b.store.allKeys() {
				value := b.store.value(key)
				if strings.Contains(value, "t0p-s3cret") {
					b.t.Errorf("record %s has the secret: %s", key, value)
				}
				if strings.Contains(value, "db-password") && key != policyPrefix+"import-a" && !strings.HasPrefix(key, activityPrefix) {
					b.t.Errorf("record %s names the secret: %s", key, value)
				}
			}
		})
	}
}

// A cluster that has the secrets itself is sent their names, of those that the index allows the job.
func TestSecretsThatTheClusterHas(t *testing.T) {
	t.Parallel()
	dir := secretsDir(t, map[string]string{secretIndex: "db-password:import-"})
	c := &secretCluster{vault: testVault(t, dir), form: referredSecret}
	for name, allowed := range map[string]bool{"import-a": true, "export-a": false} {
		j, err := decodeJob([]byte(strings.Replace(secretJob, "import-a", name, 1)), jobDefaults{}, dialect2, nil)
		if err != nil {
			t.Fatal(err)
		}
		task := taskInfo(j, &Run{ID: runID(0, 0, name, ""), Job: name}, placement{})
		err = c.give(task)
		if vars := secretVariables(task); (err == nil) != allowed || vars[0].Value != nil || vars[0].Secret.GetReference().GetName() != "db-password" {
			t.Errorf("%s: %v, variables %v", name, err, vars)
		}
	}
}

// An attempt that can't have its secret fails, with the name and the reason, and the next one tries again.
func TestAttemptWithoutItsSecretFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"missing":         {map[string]string{secretIndex: "db-password:import-"}, `variable "DB": secret "db-password": there is no file db-password in `},
		"not for the job": {map[string]string{secretIndex: "db-password:export-", "db-password": "x"}, `variable "DB": secret "db-password" is not for jobs of this name, as the index of --secrets_dir says`},
		"no directory":    {nil, `variable "DB" names the secret "db-password": this server has no --secrets_dir`},
	} {
		scenario(t, name, func(b *bench) {
			c := &secretiveCluster{testCluster: b.cluster}
			var dir string
			if tt.files != nil {
				dir = secretsDir(b.t, tt.files)
				c.vault = testVault(b.t, dir)
			}
			b.cluster = c
			b.start()
			b.post(secretJob)
			b.post(`{"name":"other","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`)
			b.runNow("import-a")
			b.runNow("other") // which may go with the same launch
			b.wait(time.Second)
			h := b.s.view().job("import-a").history
			if len(h) != 1 || h[0].State != runFailed || !strings.HasPrefix(h[0].Reason, tt.want) {
				b.t.Fatalf("history %+v, want a failed attempt: %s", h, tt.want)
			}
			if got := b.history("other"); len(got) != 1 || got[0] != "manual finished 00:00:00" {
				b.t.Errorf("the other job's history is %q", got)
			}
			if dir == "" {
				return
			}
			putSecret(b.t, dir, "db-password", "x")
			putSecret(b.t, dir, secretIndex, "db-password:import-")
			b.wait(2 * time.Minute)
			if got := b.history("import-a"); len(got) != 2 || got[1] != "retry finished attempt 1 00:01:00" {
				b.t.Errorf("history %q, want a second attempt that succeeds", got)
			}
		})
	}
}

// recordedCalls is a cluster that notes what it is sent.
type recordedCalls struct {
	cluster
	calls chan string
}

func (c *recordedCalls) send(call *sched.Call, done func(error)) {
	c.calls <- call.GetType().String()
}

// A call does not overtake a launch that waits for its secrets.
func TestCallsKeepTheirOrderBehindSecrets(t *testing.T) {
	t.Parallel()
	dir := secretsDir(t, map[string]string{secretIndex: "db-password:*", "db-password": "x"})
	inner := &recordedCalls{calls: make(chan string, 10)}
	c := &secretCluster{cluster: inner, vault: testVault(t, dir), log: slog.New(slog.DiscardHandler), handle: func(*sched.Event) {}}
	j, err := decodeJob([]byte(secretJob), jobDefaults{}, dialect2, nil)
	if err != nil {
		t.Fatal(err)
	}
	task := taskInfo(j, &Run{ID: runID(0, 0, j.Name, ""), Job: j.Name}, placement{})
	launch := &sched.Call{Type: sched.Call_ACCEPT, Accept: &sched.Call_Accept{Operations: []mesos.Offer_Operation{{Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{*task}}}}}}
	c.send(killCall("x", ""), nil)
	c.vault.mu.Lock() // so that no secret is read for the time being
	c.send(launch, nil)
	c.send(killCall("x", ""), nil)
	c.send(&sched.Call{Type: sched.Call_ACKNOWLEDGE}, nil)
	got := []string{<-inner.calls, <-inner.calls}
	c.vault.mu.Unlock()
	c.send(&sched.Call{Type: sched.Call_REVIVE}, nil)
	for range 3 {
		got = append(got, <-inner.calls)
	}
	if want := "KILL ACKNOWLEDGE ACCEPT KILL REVIVE"; strings.Join(got, " ") != want {
		t.Errorf("sent %q, want %s", got, want)
	}
}

// A name under a prefix that the index names needs a right to that prefix: an owner could otherwise have any secret.
func TestNamesThatSecretsAreForNeedTheirPrefix(t *testing.T) {
	t.Parallel()
	dir := secretsDir(t, map[string]string{secretIndex: "db-password:import-"})
	o := leading(testScheduler(t))
	o.access = testAccess(t, "alice:edit:owner=alice\nbob:edit:import-\ncarol:edit\ndave:edit:import-a")
	v := testVault(t, dir)
	o.access.guards = v.guards
	s := newAPI(o)
	create := func(user, name string) int {
		res := send(t, s, "POST /scheduler/iso8601"+as(user)+asJSON+`{"name":"`+name+`","owner":"alice","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","environmentVariables":[{"name":"DB","secret":"db-password"}]}`)
		bodyOf(t, res)
		return res.StatusCode
	}
	for _, tt := range []struct {
		user, name string
		want       int
	}{{"alice", "import-x", 403}, {"alice", "mine", 204}, {"bob", "import-x", 204}, {"carol", "import-y", 204}, {"dave", "import-ab", 204}, {"alice", "export-x", 204}} {
		if got := create(tt.user, tt.name); got != tt.want {
			t.Errorf("%s makes %s: %d, want %d", tt.user, tt.name, got, tt.want)
		}
	}
	putSecret(t, dir, secretIndex, "db-password:import-,export-")
	v.look()
	if got := create("alice", "export-y"); got != 403 {
		t.Errorf("a prefix that is new in the index is not guarded: %d", got)
	}
}
