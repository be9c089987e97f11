package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// launchOne subscribes and launches one task, which runs until it is told otherwise.
func launchOne(t *testing.T, m *master) *connection {
	k := connect(t, m.config(testFramework(), nil), "")
	k.reactWith(k.acknowledgeAll)
	synctest.Wait()
	if err := k.outcome(k.launchCall("T")); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return k
}

func TestDoubleUpdateFaults(t *testing.T) {
	tests := []struct {
		name         string
		fault        updateFault
		early, later string // updates after one second, after a minute
	}{
		{"lost ones come again", updateFault{Lose: true}, "", "STARTING RUNNING"},
		{"duplicates", updateFault{Duplicate: true}, "STARTING STARTING RUNNING", "STARTING STARTING RUNNING"},
		{"late ones", updateFault{Delay: 5 * time.Second}, "", "STARTING RUNNING"},
		{"overtaken by their repetition and the next", updateFault{Delay: 15 * time.Second}, "", "STARTING RUNNING STARTING"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := oneAgent(t, masterOptions{})
				once := true
				m.setFaults(masterFaults{update: func(*mesos.TaskStatus) updateFault {
					if !once {
						return updateFault{}
					}
					once = false
					return tt.fault
				}})
				k := launchOne(t, m)
				time.Sleep(time.Second)
				synctest.Wait()
				if got := k.states("T"); got != tt.early {
					t.Errorf("updates at first = %q, want %q", got, tt.early)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := k.states("T"); got != tt.later {
					t.Errorf("updates in the end = %q, want %q", got, tt.later)
				}
			})
		})
	}
}

func TestDoubleAgentLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, masterOptions{})
		k := launchOne(t, m)
		m.cutOff(m.agents[0].id)
		m.finish("T", mesos.TASK_FINISHED, "")
		time.Sleep(2 * time.Minute)
		m.restore(m.agents[0].id)
		synctest.Wait()
		if got, want := k.states("T"), "STARTING RUNNING UNREACHABLE FINISHED FINISHED"; got != want {
			t.Errorf("updates = %s, want %s", got, want)
		}
		if n := len(k.seen(sched.Event_FAILURE)); n != 1 {
			t.Errorf("%d FAILURE events, want 1", n)
		}
	})
}

func TestDoubleLaunchThatNeverReachesItsAgent(t *testing.T) {
	for _, away := range []time.Duration{10 * time.Second, 3 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := oneAgent(t, masterOptions{})
				m.setFaults(masterFaults{accept: func(*sched.Call_Accept) acceptFault { return acceptAgentLost }})
				k := launchOne(t, m)
				agent := m.agents[0].id
				time.Sleep(away)
				m.restore(agent)
				if err := k.outcome(calls.Reconcile(calls.ReconcileTasks(map[string]string{"T": agent}))); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				want := "DROPPED GONE"
				if away > m.opt.AgentTimeout {
					want = "UNREACHABLE GONE"
				}
				if got := k.states("T"); got != want || m.launches("T") != 0 {
					t.Errorf("updates = %s, %d launches, want %s and none", got, m.launches("T"), want)
				}
			})
		})
	}
}

func TestDoubleOffersRolesAndReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t, masterOptions{Pipe: true})
		cpus := func(n float64, reservations ...mesos.Resource_ReservationInfo) mesos.Resource {
			return mesos.Resource{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: n}, Reservations: reservations}
		}
		m.addAgent(agentSpec{Host: "a1", Attributes: []mesos.Attribute{textAttribute("rack", "r1")}, Resources: []mesos.Resource{
			cpus(4),
			cpus(2, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: new("jobs")}),
			cpus(1, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: new("jobs"), Principal: new("p")}),
			cpus(8, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: new("others")}),
		}})
		info := testFramework()
		info.Role = new("jobs")
		k := connect(t, m.config(info, nil), "")
		synctest.Wait()
		o := k.seen(sched.Event_OFFERS)[0].Offers.Offers[0]
		if got, want := strings.Join(shown(o.Resources), " "), "cpus(*):4 cpus(jobs):2 cpus(jobs):1"; got != want {
			t.Errorf("offered %s, want %s", got, want)
		}
		if o.Resources[1].Reservation != nil || o.Resources[2].Reservation.GetPrincipal() != "p" {
			t.Errorf("reservations = %v, %v, want the dynamic one's only", o.Resources[1].Reservation, o.Resources[2].Reservation)
		}
		market := newMarket("jobs")
		market.add(&o, time.Time{})
		p, ok := market.place(needs(6.5, 0, 0))
		if !ok {
			t.Fatal("no room for what is offered in three parts")
		}
		task := taskInfo(&Job{Name: "T", Command: "true", Shell: true}, &Run{ID: "T"}, p)
		if err := k.outcome(calls.Accept(calls.OfferOperations{calls.OpLaunch(*task)}.WithOffers(o.ID))); err != nil || m.launches("T") != 1 {
			t.Errorf("a task in all three parts: %v, %d launches, want it taken", err, m.launches("T"))
		}
		if o.Hostname != "a1" || len(o.Attributes) != 1 {
			t.Errorf("offer of %s with %v", o.Hostname, o.Attributes)
		}
	})
}

func TestDoubleSharesAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t, masterOptions{Pipe: true})
		for i := range 3 {
			m.addAgent(agentSpec{Host: fmt.Sprint("a", i), CPUs: 1, Mem: 100, Disk: 100})
		}
		k := launchOne(t, m)
		offers := k.seen(sched.Event_OFFERS)[0].Offers.Offers
		var hosts []string
		for _, o := range offers {
			hosts = append(hosts, o.Hostname)
		}
		if want := []string{"a0", "a1", "a2"}; !slices.Equal(hosts, want) {
			t.Errorf("offers of %v, want %v in one event", hosts, want)
		}
		if got, want := m.running(), []string{"T"}; !slices.Equal(got, want) {
			t.Errorf("running = %v, want %v", got, want)
		}
		if err := k.outcome(calls.Kill("T", "")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := k.states("T"), "STARTING RUNNING KILLING KILLED"; got != want {
			t.Errorf("updates = %s, want %s", got, want)
		}
	})
}

func TestDoubleOverTCP(t *testing.T) {
	m := newMaster(t, masterOptions{Allocation: 10 * time.Millisecond})
	m.addAgent(agentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	m.autoFinish(time.Millisecond)
	k := connect(t, m.config(testFramework(), nil), "")
	offered := make(chan struct{}, 100)
	k.reactWith(func(e *sched.Event) {
		k.acknowledgeAll(e)
		if e.Type == sched.Event_OFFERS {
			offered <- struct{}{}
		}
	})
	if len(k.seen(sched.Event_OFFERS)) == 0 { // else it came before we looked
		<-offered
	}
	if err := k.outcome(k.launchCall("T")); err != nil {
		t.Fatal(err)
	}
	m.await("three acknowledgements", func() bool { return len(m.receivedLocked(sched.Call_ACKNOWLEDGE)) == 3 })
	if got, want := k.states("T"), "STARTING RUNNING FINISHED"; got != want {
		t.Errorf("updates = %s, want %s", got, want)
	}
}
