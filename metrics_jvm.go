package main

import (
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

// addJVM adds the gauges of memory, threads and garbage collection that 3.0 reports about its JVM: a
// collector that finds the first of them missing ignores the rest of the report. They describe the Go
// runtime. Its threads are goroutines, of which all but the first are daemons, and it has one collector, which
// marks and sweeps and has no young generation.
func (m *metrics) addJVM() {
	for name, ask := range map[string]func() float64{
		"memory.heap.init":          nothing,
		"memory.heap.used":          func() float64 { return runtimeSum(heapUsed) },
		"memory.heap.committed":     func() float64 { return runtimeSum(heapUsed, heapIdle) },
		"memory.heap.max":           memoryLimit,
		"memory.heap.usage":         func() float64 { return usage(heapUsed, heapIdle, memoryLimit()) },
		"memory.non-heap.init":      nothing,
		"memory.non-heap.used":      func() float64 { return runtimeSum(otherUsed) },
		"memory.non-heap.committed": func() float64 { return runtimeSum(otherUsed, otherIdle) },
		"memory.non-heap.max":       unlimited,
		"memory.non-heap.usage":     func() float64 { return usage(otherUsed, otherIdle, unlimited()) },
		"memory.total.init":         nothing,
		"memory.total.used":         func() float64 { return runtimeSum(heapUsed, otherUsed) },
		"memory.total.committed":    func() float64 { return runtimeSum(heapUsed, heapIdle, otherUsed, otherIdle) },
		"memory.total.max":          memoryLimit,
		"threads.count":             goroutines,
		"threads.daemon.count":      func() float64 { return goroutines() - 1 },
		"threads.deadlock.count":    nothing, // the runtime ends the process
		"threads.new.count":         nothing,
		"threads.runnable.count": func() float64 {
			return runtimeSum([]string{"/sched/goroutines/runnable:goroutines", "/sched/goroutines/running:goroutines"})
		},
		"threads.blocked.count":       func() float64 { return runtimeSum([]string{"/sched/goroutines/not-in-go:goroutines"}) },
		"threads.waiting.count":       func() float64 { return runtimeSum([]string{"/sched/goroutines/waiting:goroutines"}) },
		"threads.timed_waiting.count": nothing, // counted as waiting
		"threads.terminated.count":    nothing,
		"gc.PS-MarkSweep.count":       func() float64 { return runtimeSum([]string{"/gc/cycles/total:gc-cycles"}) },
		"gc.PS-MarkSweep.time":        gcPauses,
		"gc.PS-Scavenge.count":        nothing,
		"gc.PS-Scavenge.time":         nothing,
	} {
		g := &gauge{}
		g.from(ask)
		m.add("", "jvm."+name, "", g)
	}
}

// What the runtime has mapped, by use: the heap (live objects and those not yet swept), and everything
// else, such as stacks.
var (
	heapUsed  = []string{"/memory/classes/heap/objects:bytes"}
	heapIdle  = []string{"/memory/classes/heap/unused:bytes", "/memory/classes/heap/free:bytes"}
	otherUsed = []string{
		"/memory/classes/heap/stacks:bytes", "/memory/classes/os-stacks:bytes", "/memory/classes/other:bytes",
		"/memory/classes/metadata/mcache/inuse:bytes", "/memory/classes/metadata/mspan/inuse:bytes",
		"/memory/classes/metadata/other:bytes", "/memory/classes/profiling/buckets:bytes",
	}
	otherIdle = []string{"/memory/classes/metadata/mcache/free:bytes", "/memory/classes/metadata/mspan/free:bytes"}
)

// runtimeSum adds up integer metrics of the runtime. Unknown ones count as 0.
func runtimeSum(groups ...[]string) float64 {
	var samples []runtimemetrics.Sample
	for _, names := range groups {
		for _, name := range names {
			samples = append(samples, runtimemetrics.Sample{Name: name})
		}
	}
	runtimemetrics.Read(samples)
	sum := uint64(0)
	for _, s := range samples {
		if s.Value.Kind() == runtimemetrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	return float64(sum)
}

func nothing() float64    { return 0 }
func unlimited() float64  { return -1 } // as in the JVM
func goroutines() float64 { return runtimeSum([]string{"/sched/goroutines:goroutines"}) }

// memoryLimit is the limit that the runtime tries to stay below.
func memoryLimit() float64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return float64(limit)
	}
	return unlimited()
}

// usage is how full a part is relative to its limit, or, without one, to what is mapped for it.
func usage(used, idle []string, limit float64) float64 {
	n := runtimeSum(used)
	if limit <= 0 {
		limit = n + runtimeSum(idle)
	}
	return n / limit
}

// gcPauses is how long collections have stopped the world, in ms.
func gcPauses() float64 {
	var s debug.GCStats
	debug.ReadGCStats(&s)
	return float64(s.PauseTotal.Milliseconds())
}
