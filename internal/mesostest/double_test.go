package mesostest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// launchOne subscribes and launches one task, which runs until it is told otherwise.
func launchOne(t *testing.T, m *Master) *client {
	t.Helper()
	k := subscribe(t, m, testFramework())
	synctest.Wait()
	k.launch("T")
	synctest.Wait()
	return k
}

func TestDoubleUpdateFaults(t *testing.T) {
	tests := []struct {
		name         string
		fault        UpdateFault
		early, later string // updates after one second, after a minute
	}{
		{"lost ones come again", UpdateFault{Lose: true}, "", "STARTING RUNNING"},
		{"duplicates", UpdateFault{Duplicate: true}, "STARTING STARTING RUNNING", "STARTING STARTING RUNNING"},
		{"late ones", UpdateFault{Delay: 5 * time.Second}, "", "STARTING RUNNING"},
		{"overtaken by their repetition and the next", UpdateFault{Delay: 15 * time.Second}, "", "STARTING RUNNING STARTING"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := oneAgent(t, Options{})
				once := true
				m.SetFaults(Faults{Update: func(*mesos.TaskStatus) UpdateFault {
					if !once {
						return UpdateFault{}
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
		m := oneAgent(t, Options{})
		k := launchOne(t, m)
		m.agents[0].CutOff()
		m.Finish("T", mesos.TASK_FINISHED, "")
		time.Sleep(2 * time.Minute)
		m.agents[0].Restore()
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
				m := oneAgent(t, Options{})
				m.SetFaults(Faults{Accept: func(*sched.Call_Accept) CallFault { return AgentLost }})
				k := launchOne(t, m)
				time.Sleep(away)
				m.agents[0].Restore()
				k.must(calls.Reconcile(calls.ReconcileTasks(map[string]string{"T": m.agents[0].id})))
				synctest.Wait()
				want := "DROPPED GONE"
				if away > m.opt.AgentTimeout {
					want = "UNREACHABLE GONE"
				}
				if got := k.states("T"); got != want || m.Launches("T") != 0 {
					t.Errorf("updates = %s, %d launches, want %s and none", got, m.Launches("T"), want)
				}
			})
		})
	}
}

func TestDoubleOffersRolesAndReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMaster(t, Options{Pipe: true})
		cpus := func(n float64, reservations ...mesos.Resource_ReservationInfo) mesos.Resource {
			return mesos.Resource{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: n}, Reservations: reservations}
		}
		m.AddAgent(AgentSpec{Host: "a1", Attributes: []mesos.Attribute{{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "r1"}}}, Resources: []mesos.Resource{
			cpus(4),
			cpus(2, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: new("jobs")}),
			cpus(1, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: new("jobs"), Principal: new("p")}),
			cpus(8, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: new("others")}),
		}})
		info := testFramework()
		info.Role = new("jobs")
		k := subscribe(t, m, info)
		synctest.Wait()
		o := k.seen(sched.Event_OFFERS)[0].Offers.Offers[0]
		var shown []string
		for _, r := range o.Resources {
			shown = append(shown, fmt.Sprintf("%s(%s):%v", r.Name, resourceRole(&r), r.Scalar.Value))
		}
		if got, want := strings.Join(shown, " "), "cpus(*):4 cpus(jobs):2 cpus(jobs):1"; got != want {
			t.Errorf("offered %s, want %s", got, want)
		}
		if o.Resources[1].Reservation != nil || o.Resources[2].Reservation.GetPrincipal() != "p" {
			t.Errorf("reservations = %v, %v, want the dynamic one's only", o.Resources[1].Reservation, o.Resources[2].Reservation)
		}
		part := func(i int, n float64) mesos.Resource {
			r := o.Resources[i]
			r.Scalar = &mesos.Value_Scalar{Value: n}
			return r
		}
		task := testTask("T", o, part(1, 2), part(2, 1), part(0, 3.5))
		if status, text := k.call(calls.Accept(calls.OfferOperations{calls.OpLaunch(task)}.WithOffers(o.ID))); status != 202 || m.Launches("T") != 1 {
			t.Errorf("a task in all three parts: %d %s, %d launches, want it taken", status, text, m.Launches("T"))
		}
		if o.Hostname != "a1" || len(o.Attributes) != 1 {
			t.Errorf("offer of %s with %v", o.Hostname, o.Attributes)
		}
	})
}

func TestDoubleSharesAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMaster(t, Options{Pipe: true})
		for i := range 3 {
			m.AddAgent(AgentSpec{Host: fmt.Sprint("a", i), CPUs: 1, Mem: 100, Disk: 100})
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
		if got, want := m.Running(), []string{"T"}; !slices.Equal(got, want) {
			t.Errorf("running = %v, want %v", got, want)
		}
		k.must(calls.Kill("T", ""))
		synctest.Wait()
		if got, want := k.states("T"), "STARTING RUNNING KILLING KILLED"; got != want {
			t.Errorf("updates = %s, want %s", got, want)
		}
	})
}

func TestDoubleOverTCP(t *testing.T) {
	m := NewMaster(t, Options{Allocation: 10 * time.Millisecond})
	m.AddAgent(AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	m.AutoFinish(time.Millisecond)
	k := subscribe(t, m, testFramework())
	<-k.offered
	k.launch("T")
	m.Await("three acknowledgements", func() bool { return len(m.Received(sched.Call_ACKNOWLEDGE)) == 3 })
	if got, want := k.states("T"), "STARTING RUNNING FINISHED"; got != want {
		t.Errorf("updates = %s, want %s", got, want)
	}
}
