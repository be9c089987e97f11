package main

import (
	"fmt"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// constraint is a constraint as it is decoded.
func constraint(attribute, operator, value string) Constraint {
	all := []Constraint{{Attribute: attribute, Operator: operator, Value: value}}
	newPatterns().compile(all)
	return all[0]
}

func TestMatchConstraint(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
