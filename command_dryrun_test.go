package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A dry run names the jobs of which JVM versions do not see something, and a leader that gives way to one does too.
func TestWhatJVMsDoNotSeeIsTold(t *testing.T) {
	t.Parallel()
	scenario(t, "by the dry run and at the end of a term", func(b *bench) {
		b.start()
		b.post(parked)
		b.post(`{"name":"keys","command":"x","schedule":"R/2000-01-02T00:00:00Z/PT1H","overlap":"skip","environmentVariables":[{"name":"DB","secret":"x"}]}`)
		b.post(`{"name":"paused","command":"x","schedule":"R/2000-01-02T00:00:00Z/PT1H"}`)
		b.do("pause", b.s.pauseJob(b.t.Context(), "paused", time.Now().Add(time.Hour)))
		b.wait(0)
		if _, log := b.handOver(time.Second); !strings.Contains(log, "jobs=2 ") || !strings.Contains(log, `keys (overlap, secrets)`) || !strings.Contains(log, "paused (a pause)") {
			b.t.Errorf("the log says %s", log)
		}
		b.end()
		records, err := b.store.load(b.t.Context())
		s := newScheduler(b.cfg, b.store, nil, slog.New(slog.DiscardHandler))
		if err == nil {
			err = s.load(b.t.Context())
		}
		if err != nil {
			b.t.Fatal(err)
		}
		want := []string{`job "keys" says what JVM versions do not see: overlap, secrets`, `job "paused" says what JVM versions do not see: a pause`}
		if got := differences(s, records); !slices.Equal(got, want) {
			b.t.Errorf("would be treated differently: %q, want %q", got, want)
		}
		b.s = nil
	})
}

// What a dry run lists is only what the version in service would have done otherwise.
func TestDryRunListsOnlyWhatDiffers(t *testing.T) {
	const (
		by24 = `{"name":"j","command":"true","epsilon":"PT1M","async":false,"schedule":"R/START/PERIOD"}`
		by30 = `{"name":"j","command":"true","concurrent":false,"schedule":"R/START/PERIOD"}`
	)
	stored := func(document, start, period string) string {
		return strings.NewReplacer("START", start, "PERIOD", period).Replace(document)
	}
	for _, tt := range []struct {
		name, job string
		tasks     []time.Duration // from now on
		want      []string
	}{
		{"2.4 keeps tasks ahead", stored(by24, "2000-01-01T00:02:00Z", "PT10S"), []time.Duration{10 * time.Second, 20 * time.Second, 50 * time.Second}, nil},
		{"and takes one that is due, if it is not too old", stored(by24, "2000-01-01T01:00:00Z", "PT1H"), []time.Duration{-10 * time.Second}, nil},
		{"and drops one that is", stored(by24, "2000-01-01T01:00:00Z", "PT1H"), []time.Duration{-2 * time.Minute}, nil},
		{"3.0 does not know them", stored(by30, "2000-01-01T00:02:00Z", "PT10S"), []time.Duration{10 * time.Second}, []string{
			`task "ct:946684810000:0:j:" waits and would be launched; 3.0 knows no tasks that 2.x has left waiting`,
		}},
		{"one that is due runs", stored(by24, "1999-12-31T23:59:30Z", "PT1H"), nil, nil},
		{"in 3.0 too", stored(by30, "1999-12-31T23:59:30Z", "PT1H"), nil, nil},
		{"2.4 runs all that are young", stored(by24, "1999-12-31T23:59:30Z", "PT10S"), nil, []string{
			`job "j" is due since 1999-12-31T23:59:30.000Z: the newest occurrence would run, of 2000-01-01T00:00:00.000Z; 2.x would run 4`,
		}},
		{"3.0 does not", stored(by30, "1999-12-31T23:59:30Z", "PT10S"), nil, nil},
		{"2.4 skips what is too old", stored(by24, "1999-12-31T20:00:00Z", "P1D"), nil, nil},
		{"3.0 does not do that either", stored(by30, "1999-12-31T20:00:00Z", "P1D"), nil, []string{
			`job "j" has missed its occurrence of 1999-12-31T20:00:00.000Z: 1 would be recorded as missed and not run (epsilon 1m0s); 3.0 would run the last`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newMemStore()
				st.records["J_j"] = []byte(tt.job)
				for _, ahead := range tt.tasks {
					st.records[waitKey(runID(time.Now().Add(ahead).UnixMilli(), 0, "j", ""))] = []byte(tt.job)
				}
				records, err := st.load(t.Context())
				s := newScheduler(testConfig(), st, nil, slog.New(slog.DiscardHandler))
				if err == nil {
					err = s.load(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := differences(s, records); !slices.Equal(got, tt.want) {
					t.Errorf("would be treated differently: %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// The states that JVM versions have written, looked at for Kubernetes: each job is either refused or what differs is said.
func TestDryRunOnKubernetes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemStore()
		for _, version := range []string{"2.4", "2.5", "3.0"} {
			names, err := filepath.Glob(filepath.Join("testdata", "state", version, "J_*"))
			if err != nil || len(names) == 0 {
				t.Fatalf("recordings of %s: %q, %v", version, names, err)
			}
			for _, name := range names {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				variable, err := decodeVariable(text)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				st.records[filepath.Base(name)] = variable.value
			}
		}
		st.records["J_plain"] = []byte(`{"name":"plain","command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D","runAsUser":"root"}`)
		st.records["J_hadoop"] = []byte(`{"name":"hadoop","command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D","runAsUser":"hadoop"}`)
		s := newScheduler(testConfig(), st, nil, slog.New(slog.DiscardHandler))
		if err := s.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(onKubernetes(s, &podOptions{image: "busybox", plainUser: "root"}), "\n")
		for _, want := range []string{
			`job "plain" on Kubernetes: has no image: it would run in busybox`,
			`job "plain" on Kubernetes: would run as its image's user, not as root`,
			`job "hadoop" would be refused on Kubernetes: user "hadoop" has no number`,
			`job "pull" `, `job "mesos-container" `, `job "report" `, `job "nightly" `,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("it does not say %s", want)
			}
		}
		t.Log(got)
	})
}
