package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	agentTimeout = 15 * time.Second
	// filePage is the most that an agent returns at once: sixteen pages of memory.
	filePage = 64 << 10
	// knownSandboxes bounds the directories remembered; to find one, the
	// agent has to list everything it has run.
	knownSandboxes = 1000
)

// A login returns the current credentials. Without a secret none are sent.
type login func() (principal, secret string)

// agentFiles reads the sandboxes of tasks from their agents.
type agentFiles struct {
	http    *http.Client
	master  func() string // URL of the leading master, "" if unknown
	masters login
	agents  login

	mu   sync.Mutex
	dirs map[string]string // run id -> directory on its agent
}

// newAgentFiles returns a reader with the connection settings of m. Agents that ask for credentials get
// those of agents, or the framework's if that is nil.
func newAgentFiles(m *mesosCluster, agents login) *agentFiles {
	if agents == nil {
		agents = m.credentials
	}
	return &agentFiles{
		http: &http.Client{
			Timeout:   agentTimeout,
			Transport: &http.Transport{DialContext: m.dial, TLSClientConfig: m.tls, IdleConnTimeout: time.Minute},
		},
		master:  func() string { return m.status().Master },
		masters: m.credentials,
		agents:  agents,
		dirs:    make(map[string]string),
	}
}

// read returns up to limit bytes of stdout or stderr in the sandbox of a run,
// from offset, and the size of the file. A negative offset counts from
// the end. It returns errNotFound if the agent does not have such a run or file
// (any more).
func (f *agentFiles) read(ctx context.Context, r *Run, file string, offset, limit int64) (data []byte, size int64, err error) {
	if file != "stdout" && file != "stderr" {
		return nil, 0, fmt.Errorf("file %q of run %q: %w", file, r.ID, errNotFound)
	}
	base, err := f.agentBase(ctx, r)
	if err != nil {
		return nil, 0, fmt.Errorf("find agent %q of run %q: %w", r.AgentID, r.ID, err)
	}
	dir, err := f.directory(ctx, base, r.ID)
	if err != nil {
		return nil, 0, fmt.Errorf("find sandbox of run %q: %w", r.ID, err)
	}
	path := dir + "/" + file
	if _, size, err = f.page(ctx, base, path, -1, 0); err != nil {
		return nil, 0, fmt.Errorf("read %s of run %q: %w", file, r.ID, err)
	}
	if offset < 0 {
		offset = max(0, size+offset)
	}
	for end := min(size, offset+limit); offset < end; {
		page, _, err := f.page(ctx, base, path, offset, min(filePage, end-offset))
		if err != nil {
			return nil, 0, fmt.Errorf("read %s of run %q: %w", file, r.ID, err)
		}
		if len(page) == 0 {
			break // shorter than before: somebody rotated it
		}
		data = append(data, page...)
		offset += int64(len(page))
	}
	return data, size, nil
}

// agentBase returns the URL of a run's agent: from its sandbox, or else from the master.
func (f *agentFiles) agentBase(ctx context.Context, r *Run) (string, error) {
	if u, err := url.Parse(r.Sandbox); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host, nil
	}
	master := f.master()
	if master == "" {
		return "", fmt.Errorf("no Mesos master leads: %w", errNotFound)
	}
	var answer struct {
		Slaves []struct{ ID, PID, Hostname string }
	}
	if err := f.get(ctx, master+"/slaves", f.masters, &answer); err != nil {
		return "", err
	}
	for _, s := range answer.Slaves {
		if s.ID != r.AgentID {
			continue
		}
		address, err := pidAddress(s.PID)
		scheme, _, _ := strings.Cut(master, "://")
		if scheme == "https" {
			address = renamed(address, s.Hostname)
		}
		return scheme + "://" + address, err
	}
	return "", errNotFound
}

// agentState is what we read of an agent's /state.
type agentState struct {
	Frameworks          []agentFramework
	CompletedFrameworks []agentFramework `json:"completed_frameworks"`
}

type agentFramework struct {
	Executors          []agentExecutor
	CompletedExecutors []agentExecutor `json:"completed_executors"`
}

type agentExecutor struct {
	ID             string
	Directory      string
	Tasks          []agentTask
	QueuedTasks    []agentTask `json:"queued_tasks"`
	CompletedTasks []agentTask `json:"completed_tasks"`
}

type agentTask struct{ ID string }

// directory finds the sandbox of a task. Task ids are unique, so it does
// not matter under which framework id the task ran.
func (f *agentFiles) directory(ctx context.Context, base, taskID string) (string, error) {
	f.mu.Lock()
	dir := f.dirs[taskID]
	f.mu.Unlock()
	if dir != "" {
		return dir, nil
	}
	var state agentState
	if err := f.get(ctx, base+"/state", f.agents, &state); err != nil {
		return "", err
	}
	for _, framework := range append(state.Frameworks, state.CompletedFrameworks...) {
		for _, e := range append(framework.Executors, framework.CompletedExecutors...) {
			if !e.ran(taskID) {
				continue
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.dirs) >= knownSandboxes {
				clear(f.dirs)
			}
			f.dirs[taskID] = e.Directory
			return e.Directory, nil
		}
	}
	return "", errNotFound
}

func (e *agentExecutor) ran(taskID string) bool {
	if e.ID == taskID {
		return true
	}
	for _, tasks := range [][]agentTask{e.Tasks, e.QueuedTasks, e.CompletedTasks} {
		for _, t := range tasks {
			if t.ID == taskID {
				return true
			}
		}
	}
	return false
}

// page reads one page of a file. At offset -1 there is no data and at is the size.
func (f *agentFiles) page(ctx context.Context, base, path string, offset, length int64) (data []byte, at int64, err error) {
	query := url.Values{"path": {path}, "offset": {strconv.FormatInt(offset, 10)}}
	if length > 0 {
		query.Set("length", strconv.FormatInt(length, 10))
	}
	var answer struct {
		Data   json.RawMessage
		Offset int64
	}
	if err := f.get(ctx, base+"/files/read?"+query.Encode(), f.agents, &answer); err != nil {
		return nil, 0, err
	}
	return unquoteBytes(answer.Data), answer.Offset, nil
}

func (f *agentFiles) get(ctx context.Context, address string, as login, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if principal, secret := as(); secret != "" {
		req.SetBasicAuth(principal, secret)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(io.LimitReader(resp.Body, recordLimit)).Decode(into)
	case http.StatusNotFound:
		return errNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s refused our credentials (%d): see --mesos_agent_principal, or for masters --mesos_authentication_principal",
			req.URL.Host, resp.StatusCode)
	}
	return fmt.Errorf("%s answered %d: %s", req.URL.Host, resp.StatusCode, bodyText(resp))
}

// unquoteBytes undoes the quoting of a JSON string and keeps bytes that are not
// UTF-8: agents send files as they are, and cut them within characters.
func unquoteBytes(quoted []byte) []byte {
	if len(quoted) < 2 || quoted[0] != '"' {
		return nil // null, or absent
	}
	s := quoted[1 : len(quoted)-1]
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++ // the decoder has checked that something follows
		if s[i] != 'u' {
			out = append(out, unescaped(s[i]))
			continue
		}
		r := hexRune(s[i+1 : i+5])
		i += 4
		if utf16.IsSurrogate(r) && i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
			r = utf16.DecodeRune(r, hexRune(s[i+3:i+7]))
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func unescaped(b byte) byte {
	if i := strings.IndexByte("bfnrt", b); i >= 0 {
		return "\b\f\n\r\t"[i]
	}
	return b // quote, backslash and slash stand for themselves
}

func hexRune(digits []byte) rune {
	n, _ := strconv.ParseUint(string(digits), 16, 16) // the decoder has checked them
	return rune(n)
}
