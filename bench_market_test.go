package main

import (
	"fmt"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

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
