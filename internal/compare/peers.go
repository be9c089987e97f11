package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// A peer is a scheduler that can be compared: how it is started, and how it is given a job.
type peer struct {
	name  string // of its program
	serve func(dir, port string) []string
	ready string // a path that is answered with 200 once it takes jobs
	list  string // the path of all jobs
	post  func(base string, j work) *http.Request
	file  func(dir string, j work) error // instead of post: jobs are files in a directory
	// whole reports that it knows no instants finer than a minute.
	whole bool
}

// A work is a job of the comparison: one run at an instant.
type work struct {
	name, command string
	due           time.Time
}

// peers are those that are known, this program first.
var peers = []peer{{
	name: "chronos",
	serve: func(dir, port string) []string {
		return []string{"--http_port", port, "--data_dir", filepath.Join(dir, "state")}
	},
	ready: "/scheduler/jobs",
	list:  "/scheduler/jobs",
	post: func(base string, j work) *http.Request {
		return request(base+"/scheduler/iso8601", map[string]any{"name": j.name, "command": j.command, "owner": "", "retries": 0,
			"schedule": "R1/" + j.due.UTC().Format(time.RFC3339) + "/PT1H", "epsilon": "PT10M"})
	},
}, {
	name: "dkron",
	serve: func(dir, port string) []string {
		return []string{"agent", "--server", "--bootstrap-expect=1", "--data-dir", filepath.Join(dir, "state"), "--node-name", "one",
			"--http-addr", "127.0.0.1:" + port, "--bind-addr", "127.0.0.1", "--log-level", "error"}
	},
	ready: "/v1/leader",
	list:  "/v1/jobs?_end=1000000",
	post: func(base string, j work) *http.Request {
		return request(base+"/v1/jobs", map[string]any{"name": j.name, "schedule": "@at " + j.due.UTC().Format(time.RFC3339),
			"executor": "shell", "executor_config": map[string]string{"shell": "true", "command": j.command}})
	},
}, {
	name: "kala",
	serve: func(dir, port string) []string {
		return []string{"serve", "--port", port, "--interface", "127.0.0.1", "--jobdb", "boltdb", "--bolt-path", dir}
	},
	ready: "/api/v1/job/",
	list:  "/api/v1/job/",
	post: func(base string, j work) *http.Request {
		return request(base+"/api/v1/job/", map[string]any{"name": j.name, "command": "sh -c '" + j.command + "'",
			"schedule": "R0/" + j.due.UTC().Format(time.RFC3339) + "/PT1H"})
	},
}, {
	name: "dagu",
	serve: func(dir, port string) []string {
		return []string{"start-all", "--host", "127.0.0.1", "--port", port, "--dags", filepath.Join(dir, "dags")}
	},
	ready: "/",
	list:  "/api/v1/dags?limit=1000000",
	whole: true,
	file: func(dir string, j work) error {
		due := j.due.Local()
		schedule := fmt.Sprintf("%d %d %d %d *", due.Minute(), due.Hour(), due.Day(), int(due.Month()))
		text := fmt.Sprintf("schedule: %q\nsteps:\n  - name: run\n    command: sh\n    script: %q\n", schedule, j.command)
		return os.WriteFile(filepath.Join(dir, "dags", j.name+".yaml"), []byte(text), 0o644)
	},
}}

func request(url string, document any) *http.Request {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // it is one of the above
	}
	r, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}
