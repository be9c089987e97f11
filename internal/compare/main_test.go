package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// TestMain is the scheduler of the test as well, if it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		panic(http.ListenAndServe("127.0.0.1:"+os.Args[2], &fakeScheduler{}))
	}
	os.Exit(m.Run())
}

// A fakeScheduler takes jobs, lists them, and runs those that are due by half a minute from now; every second one of them late.
type fakeScheduler struct {
	mu   sync.Mutex
	jobs []fakeJob
}

type fakeJob struct {
	Command string
	Due     time.Time
}

func (f *fakeScheduler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == "GET" {
		_ = json.NewEncoder(w).Encode(f.jobs)
		return
	}
	var j fakeJob
	if err := json.NewDecoder(r.Body).Decode(&j); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.jobs = append(f.jobs, j)
	if delay := time.Until(j.Due); delay < 30*time.Second {
		time.AfterFunc(delay+time.Duration(len(f.jobs)%2)*time.Second, func() { _ = exec.Command("sh", "-c", j.Command).Run() })
	}
}

func TestMeasure(t *testing.T) {
	*held, *burst = 5, 4
	fake := peer{
		name:  "fake",
		serve: func(_, port string) []string { return []string{"serve", port} },
		ready: "/", list: "/",
		post: func(base string, j work) *http.Request { return request(base+"/", fakeJob{j.command, j.due}) },
	}
	r, err := measure(fake, os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if r.started != 4 || r.first < 0 || r.last-r.first < 500*time.Millisecond {
		t.Errorf("started = %d, first after %v, last after %v; want 4, half of them a second after the others", r.started, r.first, r.last)
	}
	if r.create50 <= 0 || r.create99 < r.create50 || r.list <= 0 || r.memory < 1<<20 {
		t.Errorf("result = %+v, want figures that can be", r)
	}
}

func TestMeasureSaysWhyNothingAnswers(t *testing.T) {
	fake := peers[0]
	fake.serve = func(_, _ string) []string { return []string{"-no-such-flag"} }
	if _, err := measure(fake, os.Args[0]); err == nil {
		t.Error("a program that ends at once was measured")
	} else if want := "it has ended; its log: "; len(err.Error()) <= len(want) || err.Error()[:len(want)] != want {
		t.Errorf("error = %v, want it to begin with %q and show the log", err, want)
	}
}
