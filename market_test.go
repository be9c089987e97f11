package main

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// offer is an offer of agent, which is host name and id at once.
func offer(id, agent string, rs ...mesos.Resource) *mesos.Offer {
	return &mesos.Offer{
		ID: mesos.OfferID{Value: id}, AgentID: mesos.AgentID{Value: agent}, Hostname: agent, Resources: rs,
	}
}

// plain is an offer of unreserved resources.
func plain(id, agent string, cpus, mem, disk float64) *mesos.Offer {
	return offer(id, agent, scalar("cpus", cpus, "*"), scalar("mem", mem, "*"), scalar("disk", disk, "*"))
}

func textAttribute(name, value string) mesos.Attribute {
	return mesos.Attribute{Name: name, Type: mesos.TEXT, Text: &mesos.Value_Text{Value: value}}
}

func needs(cpus, mem, disk float64, cs ...Constraint) need {
	return need{resources: resources{thousandths(cpus), thousandths(mem), thousandths(disk)}, constraints: cs}
}

// shown writes placed resources as name(role):amount.
func shown(rs []mesos.Resource) []string {
	var out []string
	for i := range rs {
		out = append(out, fmt.Sprintf("%s(%s):%v", rs[i].Name, resourceRole(&rs[i]), rs[i].Scalar.Value))
	}
	return out
}

func TestPlaceTakesReservedResourcesFirst(t *testing.T) {
	t.Parallel()
	reserved := mesos.Resource{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 0.5},
		Reservations: []mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: new("jobs")}},
		ProviderID:   &mesos.ResourceProviderID{Value: "p"}}
	disk := scalar("disk", 1000, "*")
	disk.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{ID: "vol"}}
	revocable := scalar("cpus", 100, "*")
	revocable.Revocable = &mesos.Resource_RevocableInfo{}
	m := newMarket("jobs")
	m.add(offer("O1", "a1", disk, revocable, scalar("cpus", 4, "*"), reserved, scalar("mem", 100, "jobs"), scalar("cpus", 9, "other"),
		scalar("mem", 1000, "*"), scalar("disk", 50, "*")), time.Time{})

	first, ok := m.place(needs(0.7, 150, 10))
	if want := []string{"cpus(jobs):0.5", "cpus(*):0.2", "mem(jobs):100", "mem(*):50", "disk(*):10"}; !ok || !reflect.DeepEqual(shown(first.resources), want) {
		t.Fatalf("place = %v, %v, want %v", shown(first.resources), ok, want)
	}
	if got := first.resources[0]; got.GetProviderID().GetValue() != "p" || len(got.Reservations) != 1 {
		t.Errorf("reservation was not copied as offered: %v", got)
	}
	second, _ := m.place(needs(3.8, 1, 1))
	if want := []string{"cpus(*):3.8", "mem(*):1", "disk(*):1"}; !reflect.DeepEqual(shown(second.resources), want) {
		t.Errorf("second place = %v, want %v", shown(second.resources), want)
	}
	if p, ok := m.place(needs(0.001, 1, 1)); ok {
		t.Errorf("place on used up cpus = %v, want a refusal", shown(p.resources))
	}
}

func TestPlaceCountsInThousandths(t *testing.T) {
	t.Parallel()
	m := newMarket("*")
	m.add(plain("O1", "a1", 1, 1000, 1000), time.Time{})
	for i := range 10 {
		if _, ok := m.place(needs(0.1, 1, 1)); !ok {
			t.Fatalf("task %d of ten with 0.1 cpus does not fit one cpu", i+1)
		}
	}
	if _, ok := m.place(needs(0.1, 1, 1)); ok {
		t.Error("an eleventh task of 0.1 cpus fits one cpu")
	}
}

func TestPlaceJoinsOffersOfOneAgent(t *testing.T) {
	t.Parallel()
	m := newMarket("*")
	m.add(plain("O1", "a1", 1, 100, 100), time.Time{})
	m.add(plain("O2", "a2", 1, 100, 100), time.Time{})
	m.add(plain("O3", "a1", 1, 100, 100), time.Time{})
	p, ok := m.place(needs(1.5, 100, 100))
	if !ok || p.agentID != "a1" || !slices.Equal(p.offerIDs, []string{"O1", "O3"}) {
		t.Errorf("place = %v on %v, %v, want O1 and O3 of a1", p.offerIDs, p.agentID, ok)
	}
	p, ok = m.place(needs(0.5, 50, 50))
	if !ok || !slices.Equal(p.offerIDs, []string{"O3"}) {
		t.Errorf("place = %v, %v, want the rest of O3", p.offerIDs, ok)
	}
}

func TestPlaceSkipsWhatIsSetAside(t *testing.T) {
	t.Parallel()
	m := newMarket("*")
	m.add(plain("O1", "a1", 4, 100, 100), time.Time{})
	m.kept = &keeping{agent: "a1", run: "big", why: "run big of job b"}
	small := needs(1, 1, 1)
	if _, ok := m.place(small); ok {
		t.Error("a task was placed on an agent that is kept for another")
	}
	if got := m.explain(small, 5); len(got) != 1 || got[0].Reason != "agent a1 is kept for run big of job b" {
		t.Errorf("explain = %v", got)
	}
	big := needs(4, 1, 1)
	big.run = "big"
	if _, ok := m.place(big); !ok {
		t.Error("the task it is kept for was not placed")
	}
}

func TestRemovedOffersAreNotUsed(t *testing.T) {
	t.Parallel()
	m := newMarket("*")
	m.add(plain("O1", "a1", 1, 100, 100), time.Time{})
	m.add(plain("O2", "a1", 1, 100, 100), time.Time{})
	if !m.remove("O1") || m.remove("O1") || m.remove("unknown") {
		t.Error("remove does not report what was held")
	}
	if _, ok := m.place(needs(1.5, 1, 1)); ok {
		t.Error("a removed offer was used")
	}
	m.remove("O2")
	if _, ok := m.place(needs(0.1, 1, 1)); ok || m.held() != 0 {
		t.Error("the market is not empty")
	}
	if got, want := m.explain(needs(2, 1, 1), 5), []refusal{{"a1", "needs 2 cpus, agent a1 offers 1"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("explain = %v, want %v for the agent seen last", got, want)
	}
	m.add(plain("O3", "a1", 3, 100, 100), time.Time{})
	if _, ok := m.place(needs(2, 1, 1)); !ok {
		t.Error("a new offer does not end the memory of a full market")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	o := plain("O1", "a1", 1.5, 256, 1000)
	o.Attributes = []mesos.Attribute{textAttribute("rack", "r2")}
	tests := []struct {
		need need
		want string
	}{
		{needs(4, 1, 1), "needs 4 cpus, agent a1 offers 1.5"},
		{needs(1, 512, 1), "needs 512 mem, agent a1 offers 256"},
		{needs(1, 1, 1, constraint("rack", "EQUALS", "r1")), "constraint rack EQUALS r1: agent a1 has rack=r2"},
		{needs(1, 1, 1, constraint("zone", "LIKE", "x.*")), "constraint zone LIKE x.*: agent a1 has no attribute zone"},
		{needs(1, 1, 1, constraint("rack", "LIKE", "(")), "constraint rack LIKE (: the pattern is not a regular expression in RE2 syntax: error parsing regexp: missing closing ): `(`"},
		{needs(1, 1, 1), ""},
	}
	for _, tt := range tests {
		m := newMarket("*")
		m.add(o, time.Time{})
		var got string
		if r := m.explain(tt.need, 1); len(r) > 0 {
			got = r[0].Reason
		}
		if got != tt.want {
			t.Errorf("explain(%v) = %q, want %q", tt.need, got, tt.want)
		}
		if _, ok := m.place(tt.need); ok != (tt.want == "") {
			t.Errorf("place(%v) = %v, but explain says %q", tt.need, ok, tt.want)
		}
	}
}

func TestSurplusAndExpired(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(0)
	m := newMarket("*")
	for i := range 4 {
		m.add(plain(fmt.Sprint("O", i), fmt.Sprint("a", i), 2, 100, 100), start.Add(time.Duration(i)*time.Second))
	}
	if got, want := m.surplus(needs(3, 10, 10).resources), []string{"O2", "O3"}; !slices.Equal(got, want) {
		t.Errorf("surplus = %v, want %v", got, want)
	}
	m.kept = &keeping{agent: "a3", run: "big"}
	if got, want := m.surplus(resources{}), []string{"O0", "O1", "O2"}; !slices.Equal(got, want) {
		t.Errorf("surplus of nothing = %v, want all but what is set aside %v", got, want)
	}
	if got, want := m.expired(start.Add(1500*time.Millisecond)), []string{"O0", "O1"}; !slices.Equal(got, want) {
		t.Errorf("expired = %v, want %v", got, want)
	}
}

func TestRoomIsForetold(t *testing.T) {
	t.Parallel()
	cpus := func(n int64) resources { return resources{cpus: n * 1000} }
	on := func(n, until int64) occupant { return occupant{cpus(n), until} }
	tests := []struct {
		name   string
		needed int64
		on     []occupant
		at     int64 // 100 is now
		spare  int64
	}{
		{"nothing is there", 8, nil, 100, 0},
		{"there is room beside", 3, []occupant{on(4, endless)}, 100, 1},
		{"the first to end is not enough", 6, []occupant{on(4, 300), on(2, 200)}, 300, 2},
		{"in the order of their ends", 4, []occupant{on(2, 300), on(4, 200), on(1, 250)}, 200, 1},
		{"all have to end", 8, []occupant{on(1, 300), on(1, 200), on(6, 250)}, 300, 0},
		{"an endless one is in the way", 8, []occupant{on(1, endless), on(7, 200)}, endless, 0},
		{"one that should have ended may never do", 8, []occupant{on(1, 100), on(7, 200)}, endless, 0},
		{"and is not needed to", 7, []occupant{on(1, 50), on(7, 200)}, 200, 0},
		{"the agent is too small", 9, nil, endless, 0},
	}
	for _, tt := range tests {
		at, spare := roomFor(cpus(8), cpus(tt.needed), tt.on, 100)
		if at != tt.at || spare != cpus(tt.spare) {
			t.Errorf("%s: room at %d with %d to spare, want %d, %d", tt.name, at, spare.cpus, tt.at, tt.spare*1000)
		}
	}
}
