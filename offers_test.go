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
	m := newMarket("*")
	m.add(plain("O1", "a1", 4, 100, 100), time.Time{})
	m.setAside("a1", "big")
	small := needs(1, 1, 1)
	if _, ok := m.place(small); ok {
		t.Error("a task was placed on an agent that is kept for another")
	}
	if got := m.explain(small, 5); len(got) != 1 || got[0].Reason != "agent a1 is kept for big, which has waited longer" {
		t.Errorf("explain = %v", got)
	}
	big := needs(4, 1, 1)
	big.run = "big"
	if _, ok := m.place(big); !ok {
		t.Error("the task it is kept for was not placed")
	}
}

func TestRemovedOffersAreNotUsed(t *testing.T) {
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
	start := time.UnixMilli(0)
	m := newMarket("*")
	for i := range 4 {
		m.add(plain(fmt.Sprint("O", i), fmt.Sprint("a", i), 2, 100, 100), start.Add(time.Duration(i)*time.Second))
	}
	if got, want := m.surplus(needs(3, 10, 10).resources), []string{"O2", "O3"}; !slices.Equal(got, want) {
		t.Errorf("surplus = %v, want %v", got, want)
	}
	m.setAside("a3", "big")
	if got, want := m.surplus(resources{}), []string{"O0", "O1", "O2"}; !slices.Equal(got, want) {
		t.Errorf("surplus of nothing = %v, want all but what is set aside %v", got, want)
	}
	if got, want := m.expired(start.Add(1500*time.Millisecond)), []string{"O0", "O1"}; !slices.Equal(got, want) {
		t.Errorf("expired = %v, want %v", got, want)
	}
}

func TestMatchConstraint(t *testing.T) {
	set := mesos.Attribute{Name: "tags", Type: mesos.SET, Set: &mesos.Value_Set{Item: []string{"ssd", "gpu"}}}
	number := mesos.Attribute{Name: "gen", Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: 4}}
	span := mesos.Attribute{Name: "span", Type: mesos.RANGES, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 1, End: 2}}}}
	attributes := []mesos.Attribute{textAttribute("rack", "r1"), textAttribute("rack", "r2"), set, number, span}
	tests := []struct {
		attribute, operator, value string
		want                       bool
	}{
		{"rack", "EQUALS", "r1", true},
		{"rack", "EQUALS", "r2", true},
		{"rack", "EQUALS", "R1", false},
		{"gen", "EQUALS", "4.0", false},
		{"gen", "EQUALS", "", true},
		{"none", "EQUALS", "", false},
		{"rack", "LIKE", "r.", true},
		{"rack", "LIKE", "r2", false}, // only the first attribute counts
		{"rack", "LIKE", "r", false},  // the whole text must match
		{"rack", "LIKE", "x|r1", true},
		{"rack", "LIKE", "a)|(r1", false},
		{"gen", "LIKE", `4\.0`, true},
		{"tags", "LIKE", "gp.*", true},
		{"span", "LIKE", ".*", false},
		{"none", "LIKE", ".*", false},
		{"rack", "UNLIKE", "x.*", true},
		{"rack", "UNLIKE", "r.*", false},
		{"tags", "UNLIKE", "gp.*", false},
		{"tags", "UNLIKE", "x", true},
		{"span", "UNLIKE", "x", false},
		{"none", "UNLIKE", "x", false},
		{"hostname", "EQUALS", "h1", true},
		{"hostname", "LIKE", "h[0-9]", true},
		{"hostname", "UNLIKE", "h1", false},
		{"rack", "GROUP_BY", "x", true},
	}
	for _, tt := range tests {
		c := constraint(tt.attribute, tt.operator, tt.value)
		if got := newMarket("*").meets(&agentOffers{attributes: attributes, hostname: "h1"}, &c); got != verdictOf(tt.want) {
			t.Errorf("constraint %s %s %s: verdict %d, want %d", c.Attribute, c.Operator, c.Value, got, verdictOf(tt.want))
		}
	}
	own := []mesos.Attribute{textAttribute("hostname", "alias")}
	name := constraint("hostname", "EQUALS", "h1")
	if newMarket("*").meets(&agentOffers{attributes: own, hostname: "h1"}, &name) != verdictNo {
		t.Error("an attribute called hostname does not hide the host name")
	}
}

// TestComparisonsOfATurnAreBounded: thousands of patterns, each as large as may be, and many agents. Each
// turn takes so many steps, and after some turns everything has been compared, once.
func TestComparisonsOfATurnAreBounded(t *testing.T) {
	m := newMarket("*")
	for i := range 10 {
		m.add(plain(fmt.Sprint("O", i), fmt.Sprintf("agent-%040d", i), 1, 100, 100), time.Time{})
	}
	var waiting []need
	for i := range 20 {
		waiting = append(waiting, needs(1, 1, 1, constraint("hostname", "LIKE", fmt.Sprintf("(a?){1000}%d", i))))
	}
	const turns = 1000
	for turn := 1; ; turn++ {
		m.compared.begin()
		for _, n := range waiting {
			if _, ok := m.place(n); ok {
				t.Fatal("placed on an agent that does not match")
			}
		}
		if m.compared.left < -maxProgram*100 {
			t.Fatalf("a turn took %d steps more than %d", -m.compared.left, comparedPerTurn)
		}
		if !m.compared.short {
			break
		}
		if turn == turns {
			t.Fatalf("not everything is compared after %d turns", turn)
		}
	}
	if n := len(m.compared.known); n != 10*20 {
		t.Errorf("%d comparisons are known, want each of 20 patterns with each of 10 agents", n)
	}
	m.compared.begin()
	for _, n := range waiting {
		m.place(n)
	}
	if m.compared.left != comparedPerTurn {
		t.Error("what is known was compared again")
	}
}

// BenchmarkPlace matches 10,000 tasks of mixed sizes, a tenth of them with a
// constraint, with the offers of 200 agents that have room for half of them.
func BenchmarkPlace(b *testing.B) {
	racks := constraint("rack", "LIKE", "r[0-4]")
	for b.Loop() {
		m := newMarket("*")
		for i := range 200 {
			o := plain(fmt.Sprint("O", i), fmt.Sprint("a", i), 8, 1<<20, 1<<20)
			o.Attributes = []mesos.Attribute{textAttribute("rack", fmt.Sprint("r", i%10))}
			m.add(o, time.Time{})
		}
		placed := 0
		for i := range 10_000 {
			n := needs(0.1+float64(i%5)/10, 128, 256)
			if i%10 == 0 {
				n.constraints = []Constraint{racks}
			}
			if _, ok := m.place(n); ok {
				placed++
			}
		}
		b.ReportMetric(float64(placed), "placed/op")
	}
}

// constraint is a constraint as it is decoded.
func constraint(attribute, operator, value string) Constraint {
	all := []Constraint{{Attribute: attribute, Operator: operator, Value: value}}
	newPatterns().compile(all)
	return all[0]
}
