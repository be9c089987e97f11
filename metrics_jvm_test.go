package main

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"
)

// TestDropwizardJSONHasTheGaugesOfAJVM: a collector asks 3.0 for them first, and takes nothing else
// if one is missing or is not a number.
func TestDropwizardJSONHasTheGaugesOfAJVM(t *testing.T) {
	t.Parallel()
	var doc struct {
		Gauges map[string]struct{ Value *float64 }
	}
	report := func() {
		if err := json.Unmarshal(newMetrics("test").dropwizardJSON(time.Now()), &doc); err != nil {
			t.Fatal(err)
		}
	}
	report()
	value := func(name string) float64 {
		t.Helper()
		v := doc.Gauges["jvm."+name].Value
		if v == nil {
			t.Fatalf("jvm.%s is missing", name)
		}
		return *v
	}
	for _, part := range []string{"heap", "non-heap", "total"} {
		used, committed := value("memory."+part+".used"), value("memory."+part+".committed")
		if !(0 < used && used <= 1.5*committed) { // one is read a little before the other
			t.Errorf("%s: %v bytes used of %v", part, used, committed)
		}
		if limit := value("memory." + part + ".max"); limit != -1 && limit < committed {
			t.Errorf("%s: max = %v, less than the %v in hand", part, limit, committed)
		}
		value("memory." + part + ".init")
	}
	for _, part := range []string{"heap", "non-heap"} {
		if usage := value("memory." + part + ".usage"); !(0 < usage && usage <= 1) {
			t.Errorf("%s: usage = %v, want a share", part, usage)
		}
	}
	if count, daemons := value("threads.count"), value("threads.daemon.count"); count < 1 || daemons < 0 { // other tests start some between the two
		t.Errorf("threads = %v, daemons = %v", count, daemons)
	}
	states := 0.0
	for _, state := range []string{"new", "runnable", "blocked", "waiting", "timed_waiting", "terminated"} {
		states += value("threads." + state + ".count")
	}
	if states < 1 {
		t.Error("no thread is in any state")
	}
	for _, name := range []string{"PS-MarkSweep", "PS-Scavenge"} {
		value("gc." + name + ".count")
		value("gc." + name + ".time")
	}
	before := value("gc.PS-MarkSweep.count")
	runtime.GC()
	report()
	if after := value("gc.PS-MarkSweep.count"); after <= before {
		t.Errorf("%v collections after one more than %v", after, before)
	}
}
