package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What chronos user add and chronos token write is what the server reads.
func TestUsersAndTokensAreWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users")
	do := func(stdin string, args ...string) string {
		t.Helper()
		var out, complaint strings.Builder
		if err := run(t.Context(), args, strings.NewReader(stdin), &out, &complaint); err != nil {
			t.Fatalf("chronos %q: %v %s%s", args, err, &out, &complaint)
		}
		return out.String()
	}
	if got := do("hidden\n", "user", "add", "dev", "read", "--file", file); got != "" {
		t.Errorf("user add into a file says %q", got)
	}
	token, _, _ := strings.Cut(do("", "token", "--file", file, "deploy", "edit", "web-"), "\n")
	do("hidden too\n", "user", "add", "--file", file, "dev", "run")
	line := do("third\n", "user", "add", "boss", "admin")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has %v, %v; want 0600", info.Mode(), err)
	}
	if strings.Contains(string(text), token) || strings.Contains(string(text), "hidden") || strings.Count(string(text), "\n") != 2 {
		t.Errorf("the file is\n%s", text)
	}
	a := testAccess(t, "x:read")
	a.change(t, string(text)+line)
	o := leading(testScheduler(t))
	o.access = a
	s := newAPI(o)
	for request, want := range map[string]int{
		"GET /scheduler/jobs" + basic("dev:hidden"):                                 401,
		"PUT /scheduler/job/success/x" + basic("dev:hidden too"):                    200,
		"DELETE /scheduler/job/x" + basic("dev:hidden too"):                         403,
		"DELETE /scheduler/task/all" + basic("boss:third"):                          204,
		"POST /scheduler/iso8601\nAuthorization: Bearer " + token + asJSON + jobA:   403,
		"POST /scheduler/iso8601\nAuthorization: Bearer " + token + asJSON + webJob: 204,
		"GET /scheduler/jobs\nAuthorization: Bearer " + token[:len(token)-1]:        401,
	} {
		if res := send(t, s, request); res.StatusCode != want {
			t.Errorf("%q = %d, want %d", request, res.StatusCode, want)
		}
	}
}

const webJob = `{"name":"web-1","command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D"}`

func TestUserCommandsRefuseWhatTheServerWould(t *testing.T) {
	t.Parallel()
	broken := writeFile(t, "users", "nonsense\n")
	for _, tt := range []struct {
		stdin, want string
		args        []string
	}{
		{"x\n", "not one of read, run, edit, admin", []string{"user", "add", "dev", "boss"}},
		{"x\n", `scope "a*"`, []string{"user", "add", "dev", "read", "a*"}},
		{"\n", "give a password", []string{"user", "add", "dev", "read"}},
		{strings.Repeat("x", 73), "another password", []string{"user", "add", "dev", "read"}},
		{"x", "colon", []string{"user", "add", "a:b", "read"}},
		{"x", "would be broken", []string{"user", "add", "--file", broken, "dev", "read"}},
		{"", "Usage: chronos user", []string{"user", "remove", "dev"}},
		{"", "Usage: chronos token", []string{"token"}},
		{"", "Usage: chronos token", []string{"token", "--help"}},
	} {
		var out strings.Builder
		err := run(t.Context(), tt.args, strings.NewReader(tt.stdin), &out, &out)
		if err == nil || !strings.Contains(out.String(), tt.want) {
			t.Errorf("chronos %q = %v, %s; want %s", tt.args, err, &out, tt.want)
		}
	}
	if got, err := os.ReadFile(broken); err != nil || string(got) != "nonsense\n" {
		t.Errorf("the file that would be broken is %q, %v", got, err)
	}
}
