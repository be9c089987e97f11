package main

import (
	"encoding/json"
	"testing"
	"time"
)

func TestStatistics(t *testing.T) {
	t.Parallel()
	jv := &jobView{job: &Job{Name: "a"}}
	for _, ms := range []int64{400, 100, 1000, 200} {
		jv.history = append(jv.history, &Run{State: runFinished, Due: 5000, Ended: 5000 + ms})
	}
	jv.history = append(jv.history, &Run{State: runFailed, Due: 1, Ended: 100000}, &Run{State: runMissed})
	for key, want := range map[string]float64{"75thPercentile": 1000, "95thPercentile": 1000, "98thPercentile": 1000, "99thPercentile": 1000,
		"median": 400, "mean": 425, "count": 4} {
		if got, known := statistic(key, durations(jv)); !known || got != want {
			t.Errorf("statistic(%s) = %v, %v, want %v", key, got, known, want)
		}
	}
	if _, known := statistic("max", nil); known {
		t.Error("statistic(max) is known")
	}
}

func TestStatisticsOfNothing(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA, jobDep)
	want := `{"histogram":{"75thPercentile":0.0,"95thPercentile":0.0,"98thPercentile":0.0,"99thPercentile":0.0,"median":0.0,"mean":0.0,"count":0},"taskStatHistory":[]}`
	if got := bodyOf(t, do("GET /v1/scheduler/job/stat/a")); got != want {
		t.Errorf("job/stat = %s, want %s", got, want)
	}
	// Equal ones come in the reverse order of creation.
	want = `[{"jobNameLabel":"dep","time":0.0},{"jobNameLabel":"a","time":0.0}]`
	if got := bodyOf(t, do("GET /scheduler/stats/99thPercentile")); got != want {
		t.Errorf("stats = %s, want %s", got, want)
	}
	if got := bodyOf(t, do("GET /scheduler/stats/max")); got != "[]" {
		t.Errorf("stats of an unknown key = %s, want []", got)
	}
	if res := do("GET /scheduler/stats"); res.StatusCode != 404 {
		t.Errorf("stats without a key = %d, want 404", res.StatusCode)
	}
}

func TestTaskStats(t *testing.T) {
	t.Parallel()
	ms := func(s string) int64 {
		at, err := time.ParseInLocation("2006-01-02 15:04:05", s, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMilli()
	}
	start, end := ms("2015-01-09 22:49:41"), ms("2015-01-11 00:52:45")
	jv := &jobView{
		job: &Job{Name: "hist", DataProcessing: true},
		runs: []*Run{
			{ID: "ct:1:0:hist:", Job: "hist", State: runQueued},
			{ID: "ct:2:0:hist:", Job: "hist", State: runLaunching, Launched: start, AgentID: "s-3"},
			{ID: "ct:3:0:hist:", Job: "hist", State: runActive, Launched: start, Started: end, AgentID: "s-2"},
		},
		history: []*Run{
			{ID: "ct:4:0:hist:", Job: "hist", State: runFinished, Started: start, Ended: end, AgentID: "s-1", Elements: 12},
			{ID: "ct:5:0:hist:", Job: "hist", State: runKilled, Started: start - 1, Ended: start},
			{ID: "ct:6:0:hist:", Job: "hist", State: runMissed},
		},
	}
	want := `[{"taskId":"ct:3:0:hist:","jobName":"hist","slaveId":"s-2","startTime":"01/11/15 00:52:45","endTime":"N/A","status":"Running"},` +
		`{"taskId":"ct:4:0:hist:","jobName":"hist","slaveId":"s-1","startTime":"01/09/15 22:49:41","endTime":"01/11/15 00:52:45","duration":"26h3m4s","status":"Success","numElementsProcessed":12},` +
		`{"taskId":"ct:5:0:hist:","jobName":"hist","slaveId":null,"startTime":"01/09/15 22:49:40","endTime":"01/09/15 22:49:41","duration":"0s","status":"Fail"},` +
		`{"taskId":"ct:2:0:hist:","jobName":"hist","slaveId":"s-3","startTime":"N/A","endTime":"N/A","status":"Idle"}]`
	if got := string(encode(taskStats(jv, 0))); got != want {
		t.Errorf("taskStats = %s, want %s", got, want)
	}
	if got := taskStats(jv, 2); len(got) != 2 || got[0].TaskID != "ct:3:0:hist:" {
		t.Errorf("taskStats of at most 2 = %v", got)
	}
}

func TestShortDuration(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int]string{0: "0s", 59: "59s", 60: "1m0s", 3600: "1h0s", 3660: "1h1m0s", 86400: "24h0s", 93784: "26h3m4s"} {
		if got := shortDuration(time.Duration(seconds) * time.Second); got != want {
			t.Errorf("shortDuration(%d s) = %q, want %q", seconds, got, want)
		}
	}
}

func TestDoubles(t *testing.T) {
	t.Parallel()
	for f, want := range map[double]string{0: "0.0", 1.234: "1.234", 5: "5.0", 1e7: "1.0E7", 0.0001: "1.0E-4"} {
		if got := string(encode(f)); got != want || !json.Valid([]byte(got)) {
			t.Errorf("encode(%v) = %s, want %s", float64(f), got, want)
		}
	}
}
