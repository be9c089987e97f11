package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// An amounts is resources as people read them: cores, and megabytes.
type amounts struct {
	CPUs float64 `json:"cpus"`
	Mem  float64 `json:"mem"`
	Disk float64 `json:"disk"`
}

func amountsOf(a resources) *amounts {
	return &amounts{fromThousandths(a.cpus), fromThousandths(a.mem), fromThousandths(a.disk)}
}

// An agentDocument is an agent as our additions show it.
type agentDocument struct {
	ID         string            `json:"id"`
	Host       string            `json:"host"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Offered    *amounts          `json:"offered,omitempty"` // in its last offers
	OfferedAt  string            `json:"offeredAt,omitempty"`
	Held       bool              `json:"held"`               // the offers are held
	Capacity   map[string]string `json:"capacity,omitempty"` // of a node, in Kubernetes' words
	Used       *amounts          `json:"used,omitempty"`     // by the runs, as their jobs are now
	Count      int               `json:"runs"`               // under way there
	Runs       []agentRun        `json:"newest,omitempty"`   // some of them
	Silent     string            `json:"silentSince,omitempty"`
	Kept       string            `json:"keptFor,omitempty"`
	Away       bool              `json:"away,omitempty"`

	used resources
}

type agentRun struct {
	Job     string `json:"job"`
	Run     string `json:"run"`
	Started string `json:"started,omitempty"`
}

const (
	runsOfAgent      = 8  // that an answer names
	attributesOfNode = 40 // that an answer has
)

// listAgents answers with the agents that are known, what they offer, and what of ours runs there.
func (a *api) listAgents(c *call) error {
	seen, more, err := c.scheduler.seenAgents(c.r.Context())
	if err != nil {
		return err
	}
	s, agents := c.sight(), map[string]*agentDocument{}
	for _, x := range seen {
		d := &agentDocument{ID: x.id, Host: x.host, Offered: amountsOf(x.offered), OfferedAt: msText(x.at), Held: x.held, Silent: msText(x.silent)}
		if s.whole() {
			d.Kept = x.kept
		}
		for i := range x.attributes {
			if d.Attributes == nil {
				d.Attributes = map[string]string{}
			}
			if len(d.Attributes) < attributesOfNode {
				d.Attributes[x.attributes[i].Name] = attributeText(&x.attributes[i])
			}
		}
		agents[x.id] = d
	}
	if a.options.nodes != nil {
		agents = a.agentsOfNodes()
	}
	unplaced := a.addRuns(c, s, agents)
	list := make([]*agentDocument, 0, len(agents))
	for _, d := range agents {
		if d.Used = amountsOf(d.used); len(list) < maxAgents || d.Count > 0 {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b *agentDocument) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID))
	})
	if len(list) > maxAgents {
		list, more = list[:maxAgents], true
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(struct {
		Agents   []*agentDocument `json:"agents"`
		More     bool             `json:"more"`     // there are more agents
		Unplaced int              `json:"unplaced"` // runs under way that are on no known agent
	}{list, more || len(agents) > len(list), unplaced})
}

// agentsOfNodes are the nodes of a cluster that places runs itself.
func (a *api) agentsOfNodes() map[string]*agentDocument {
	agents := map[string]*agentDocument{}
	for _, n := range a.options.nodes() {
		d := &agentDocument{ID: n.Name, Host: n.Name, Attributes: map[string]string{}, Capacity: n.Offers, Away: n.Away}
		for _, label := range slices.Sorted(maps.Keys(n.Labels)) {
			if len(d.Attributes) < attributesOfNode {
				d.Attributes[label] = n.Labels[label]
			}
		}
		agents[n.Name] = d
	}
	return agents
}

// addRuns adds to agents the runs that are under way there, and returns how many are on none.
func (a *api) addRuns(c *call, s sight, agents map[string]*agentDocument) (unplaced int) {
	for jv := range s.all() {
		for _, r := range jv.runs {
			if r.State != runLaunching && r.State != runActive {
				continue
			}
			id := r.AgentID
			if a.options.nodes != nil {
				if id = r.Agent; id == kubeAgent {
					id = "" // Kubernetes has not said where yet
				}
			}
			if id == "" {
				unplaced++
				continue
			}
			d := agents[id]
			if d == nil {
				d = &agentDocument{ID: id, Host: cmp.Or(r.Agent, id)}
				agents[id] = d
			}
			d.used = d.used.plus(c.scheduler.needOf(jv.job))
			if d.Count++; len(d.Runs) < runsOfAgent {
				d.Runs = append(d.Runs, agentRun{r.Job, r.ID, msText(r.Started)})
			}
		}
	}
	return unplaced
}

// showLeaderHealth answers with how the leader is doing, whatever instance is asked.
func (a *api) showLeaderHealth(c *call) error {
	if a.options.health == nil {
		return missing("health of", a.id)
	}
	return c.json(a.options.health())
}

const maxInstances = 16 // that are asked how they are doing

// An instanceDocument is an instance as the leader sees it.
type instanceDocument struct {
	Instance string          `json:"instance"`
	Leads    bool            `json:"leads"`
	Health   json.RawMessage `json:"health,omitempty"` // what its GET /health says
	Error    string          `json:"error,omitempty"`  // why that is not known
}

// listInstances answers with how each instance is doing, in its own words, in the order in which they will lead.
func (a *api) listInstances(c *call) error {
	if a.options.health == nil {
		return missing("health of", a.id)
	}
	ids := a.memberIDs()
	if len(ids) == 0 {
		ids = []string{a.id}
	}
	list := make([]instanceDocument, min(len(ids), maxInstances))
	var asking sync.WaitGroup
	for i, id := range ids[:len(list)] {
		d := &list[i]
		if *d = (instanceDocument{Instance: id, Leads: id == a.id}); d.Leads {
			d.Health = encode(a.options.health())
			continue
		}
		begin(&asking, c.server.log, "look at an instance", func(err error) { d.Error = err.Error() }, func() {
			text, err := c.server.healthOf(c, id)
			if d.Health = text; err != nil {
				d.Error = err.Error()
			}
		})
	}
	asking.Wait()
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(struct {
		Instances []instanceDocument `json:"instances"`
		More      int                `json:"more,omitempty"` // that were not asked
	}{list, len(ids) - len(list)})
}

// listNotices answers with the channels over which the leader tells people about their jobs.
func (a *api) listNotices(c *call) error {
	list := []notifyStatus{}
	if a.options.notifier != nil {
		list = a.options.notifier.status()
	}
	return c.json(map[string]any{"channels": list})
}

// testNotice sends a test over one channel and answers how that went.
func (a *api) testNotice(c *call) error {
	client := c.params[0]
	doc, err := c.document("to")
	if err != nil {
		return err
	}
	if a.options.notifier == nil {
		return missing("channel", client)
	}
	to := doc.get("to").text()
	if client == clientReceivers && to != "" {
		if _, err := readReceiver(value(encode(map[string]string{"to": to}))); err != nil {
			return refuse("to: %v", err)
		}
	}
	start := time.Now()
	err = a.options.notifier.test(c.r.Context(), client, to, c.asker())
	switch {
	case errors.Is(err, errNoChannel):
		return missing("channel", client)
	case errors.Is(err, errNoTo):
		return refuse("to: %v", err)
	case errors.Is(err, errTesting):
		return &httpError{status: http.StatusConflict, text: err.Error()}
	case errors.Is(err, context.Canceled) && c.r.Context().Err() != nil:
		return err
	}
	answer := struct {
		Channel   string `json:"channel"`
		Delivered bool   `json:"delivered"`
		Error     string `json:"error,omitempty"`
		Took      int64  `json:"tookMs"`
	}{Channel: client, Delivered: err == nil, Took: time.Since(start).Milliseconds()}
	if err != nil {
		answer.Error = strings.TrimSpace(err.Error())
	}
	return c.json(answer)
}
