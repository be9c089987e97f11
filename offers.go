package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// resources is an amount of what agents have, in thousandths of a core and of
// a megabyte: Mesos, too, keeps three decimals.
type resources struct{ cpus, mem, disk int64 }

func (a resources) plus(b resources) resources {
	return resources{a.cpus + b.cpus, a.mem + b.mem, a.disk + b.disk}
}

func (a resources) minus(b resources) resources {
	return resources{a.cpus - b.cpus, a.mem - b.mem, a.disk - b.disk}
}

// covers reports whether a has at least as much as b of everything.
func (a resources) covers(b resources) bool {
	return a.cpus >= b.cpus && a.mem >= b.mem && a.disk >= b.disk
}

// most returns the larger of the two for each kind.
func (a resources) most(b resources) resources {
	return resources{max(a.cpus, b.cpus), max(a.mem, b.mem), max(a.disk, b.disk)}
}

// amount returns the amount of one kind, to be changed in place; nil for an unknown kind.
func (a *resources) amount(kind string) *int64 {
	switch kind {
	case "cpus":
		return &a.cpus
	case "mem":
		return &a.mem
	case "disk":
		return &a.disk
	}
	return nil
}

// resourceKinds are in the order in which a task lists them.
func resourceKinds() [3]string { return [3]string{"cpus", "mem", "disk"} }

// mostOffered is more cores or megabytes than any agent has, and leaves room for the sum of a million needs.
const mostOffered = 1_000_000_000

// thousandths rounds as Mesos does, except that a positive amount stays positive.
func thousandths(f float64) int64 {
	switch {
	case !(f > 0):
		return 0
	case f >= mostOffered:
		return mostOffered * 1000
	}
	return max(1, int64(math.Round(f*1000)))
}

func fromThousandths(n int64) float64 { return float64(n/1000) + float64(n%1000)/1000 }

// taskConfig is what a task takes of each kind if its job does not say.
type taskConfig struct {
	CPUs, Mem, Disk float64
	PlacedByCluster bool // the cluster itself sees to constraints
}

// need is what the market looks for on behalf of a run.
type need struct {
	resources
	constraints []Constraint
	run         string // id of the run, to find the agent that is kept for it
}

// taskNeed is the need of run id of job j.
func taskNeed(j *Job, id string, cfg taskConfig) need {
	orDefault := func(own, otherwise float64) int64 {
		if own > 0 {
			return thousandths(own)
		}
		return thousandths(otherwise)
	}
	n := need{
		resources: resources{
			cpus: orDefault(j.CPUs, cfg.CPUs),
			mem:  orDefault(j.Mem, cfg.Mem),
			disk: orDefault(j.Disk, cfg.Disk),
		},
		run: id,
	}
	if !cfg.PlacedByCluster {
		n.constraints = j.Constraints
	}
	return n
}

// taskAmounts is what a task takes.
func taskAmounts(task *mesos.TaskInfo) resources {
	var sum resources
	for _, r := range task.Resources {
		n := thousandths(r.GetScalar().GetValue())
		switch r.Name {
		case "cpus":
			sum.cpus += n
		case "mem":
			sum.mem += n
		case "disk":
			sum.disk += n
		}
	}
	return sum
}

// scalarsOf are resources as an offer lists them.
func scalarsOf(a resources) []mesos.Resource {
	scalar := func(name string, n int64) mesos.Resource {
		role := "*"
		return mesos.Resource{
			Name: name, Type: mesos.SCALAR.Enum(), Role: &role,
			Scalar: &mesos.Value_Scalar{Value: float64(n) / 1000},
		}
	}
	return []mesos.Resource{scalar("cpus", a.cpus), scalar("mem", a.mem), scalar("disk", a.disk)}
}

// placement is where a task goes, and what it takes there. All placements on
// one agent can go into one ACCEPT that names all their offers.
type placement struct {
	offerIDs  []string
	agentID   string
	hostname  string
	agentURL  string // of the agent itself, http://10.0.0.7:5051; "" if the offer has none
	resources []mesos.Resource
	token     string // that the task gets for its callback, "" for none
}

// A clusterNode is a machine of a cluster that places runs itself, in the cluster's own words.
type clusterNode struct {
	Name   string
	Labels map[string]string
	Offers map[string]string // what it has for runs: kind to amount
	Away   bool              // it has not been heard of for some time
}

// refusal says, in words for a person, why a task does not fit an agent's offers.
type refusal struct {
	Agent  string `json:"agent"` // host name
	Reason string `json:"reason"`
}

// pool is what is left of one resource of an offer. Pools differ in kind, role
// or reservation; one need may be taken from several.
type pool struct {
	left     int64
	resource mesos.Resource // as offered
}

// heldOffer is an offer that has been neither used nor declined.
type heldOffer struct {
	id    string
	since time.Time
	pools []pool // reserved ones before those of role *
	free  resources
}

// poolsOf picks the resources that a task may use: scalars of role or of *
// that have no volume and are neither revocable nor shared.
func poolsOf(offered []mesos.Resource, role string) []pool {
	var pools []pool
	for _, r := range offered {
		var kinds resources
		if r.Scalar == nil || kinds.amount(r.Name) == nil || r.Disk != nil || r.Revocable != nil || r.Shared != nil {
			continue
		}
		if its := resourceRole(&r); its != "*" && its != role {
			continue
		}
		if n := int64(math.Round(r.Scalar.Value * 1000)); n > 0 {
			pools = append(pools, pool{left: n, resource: r})
		}
	}
	slices.SortStableFunc(pools, func(a, b pool) int {
		return cmp.Compare(roleRank(&a.resource), roleRank(&b.resource))
	})
	return pools
}

// resourceRole reads both formats: role, and the last of reservations.
func resourceRole(r *mesos.Resource) string {
	if n := len(r.Reservations); n > 0 {
		return r.Reservations[n-1].GetRole()
	}
	return r.GetRole()
}

func roleRank(r *mesos.Resource) int {
	if resourceRole(r) == "*" {
		return 1
	}
	return 0
}

// take moves up to want of one kind out of the offer's pools.
func (o *heldOffer) take(kind string, want int64) (taken []mesos.Resource, got int64) {
	for i := range o.pools {
		p := &o.pools[i]
		n := min(p.left, want-got)
		if n <= 0 || p.resource.Name != kind {
			continue
		}
		p.left -= n
		*o.free.amount(kind) -= n
		got += n
		r := p.resource
		r.Scalar = &mesos.Value_Scalar{Value: fromThousandths(n)}
		taken = append(taken, r)
	}
	return taken, got
}

// agentOffers is everything that is held of one agent.
type agentOffers struct {
	id, hostname, url string
	attributes        []mesos.Attribute
	offers            []*heldOffer
	free              resources // of all offers together
}

// draw takes what n needs, from the first single offer that has it all, or else
// from several. The agent must have enough.
func (a *agentOffers) draw(n resources) placement {
	p := placement{agentID: a.id, hostname: a.hostname, agentURL: a.url}
	from := a.offers
	for i, o := range a.offers {
		if o.free.covers(n) {
			from = a.offers[i : i+1]
			break
		}
	}
	used := make([]bool, len(from))
	for _, kind := range resourceKinds() {
		want := *n.amount(kind)
		for i, o := range from {
			taken, got := o.take(kind, want)
			p.resources = append(p.resources, taken...)
			want -= got
			used[i] = used[i] || got > 0
		}
	}
	for i, o := range from {
		if used[i] {
			p.offerIDs = append(p.offerIDs, o.id)
		}
	}
	a.free = a.free.minus(n)
	return p
}

// shortage returns why n does not fit into what is free, or "".
func (a *agentOffers) shortage(n resources) string {
	for _, kind := range resourceKinds() {
		if want, have := *n.amount(kind), *a.free.amount(kind); want > have {
			return fmt.Sprintf("needs %s %s, agent %s offers %s",
				decimal(want), kind, a.hostname, decimal(have))
		}
	}
	return ""
}

func decimal(thousandths int64) string {
	return strconv.FormatFloat(fromThousandths(thousandths), 'f', -1, 64)
}

// agentURL returns the address at which an agent answers, according to its offer. With TLS it
// is a name, if the offer has one, since certificates are issued to names.
func agentURL(u *mesos.URL) string {
	if u == nil {
		return ""
	}
	host := cmp.Or(u.Address.GetIP(), u.Address.GetHostname())
	if u.Scheme == "https" {
		host = cmp.Or(u.Address.GetHostname(), host)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + ":" + strconv.Itoa(int(u.Address.Port))
}
