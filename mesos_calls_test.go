package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/chronos-go/chronos/internal/mesostest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestRecordReader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
		err            string
	}{
		{"nothing", "", "", "EOF"},
		{"records", "5\nhello3\nfoo", "hello|foo", "EOF"},
		{"an empty record", "0\n1\nx", "|x", "EOF"},
		{"leading zeros", "05\nhello", "hello", "EOF"},
		{"cut within a record", "5\nhel", "", "read record of 5 bytes: unexpected EOF"},
		{"cut before a record", "5\n", "", "read record of 5 bytes: unexpected EOF"},
		{"cut within a length", "12", "", "unexpected EOF"},
		{"no length", "\nhello", "", `read record length: '\n' is not a digit`},
		{"a sign", "-1\nx", "", `read record length: '-' is not a digit`},
		{"no number", "HTTP/1.1 400", "", `read record length: 'H' is not a digit`},
		{"the greatest 64-bit number", "18446744073709551615\n", "", "read record length: more than 67108864 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
				got, err := allRecords(r)
				if strings.Join(got, "|") != tt.want || err.Error() != tt.err {
					t.Errorf("records of %q = %q, %v, want %q, %s", tt.in, got, err, tt.want, tt.err)
				}
			}
		})
	}
}

func TestRecordReaderTakesLargeRecords(t *testing.T) {
	t.Parallel()
	const size = 9 << 20 // beyond what mesos-go's own reader takes
	in := io.MultiReader(strings.NewReader(fmt.Sprintf("%d\n", size)), strings.NewReader(strings.Repeat("x", size)))
	record, err := newRecordReader(in).next()
	if err != nil || len(record) != size {
		t.Errorf("record of %d bytes, %v, want %d", len(record), err, size)
	}
}

// TestRecordedStreams reads raw bytes that a master has sent.
func TestRecordedStreams(t *testing.T) {
	t.Parallel()
	raw := mesostest.ReadFile(t, "raw-protobuf/subscribe-response.bin")
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var kinds []string
	r := newRecordReader(resp.Body)
	for {
		record, err := r.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // the recording stops somewhere
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e := &sched.Event{}
		if err := e.Unmarshal(record); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.Type.String())
	}
	if got, want := strings.Join(kinds, " "), "SUBSCRIBED HEARTBEAT"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
}

func allRecords(r io.Reader) (records []string, err error) {
	reader := newRecordReader(r)
	for {
		record, err := reader.next()
		if err != nil {
			return records, err
		}
		records = append(records, string(record))
	}
}

// A task takes what is offered in several parts: to anybody, to its role for good, to its role for now.
func TestTaskTakesAllPartsOfAnOffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := mesostest.NewMaster(t, mesostest.Options{Pipe: true})
		cpus := func(n float64, reservations ...mesos.Resource_ReservationInfo) mesos.Resource {
			return mesos.Resource{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: n}, Reservations: reservations}
		}
		m.AddAgent(mesostest.AgentSpec{Resources: []mesos.Resource{
			cpus(4),
			cpus(2, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: new("jobs")}),
			cpus(1, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: new("jobs"), Principal: new("p")}),
			cpus(8, mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: new("others")}),
		}})
		info := testFramework()
		info.Role = new("jobs")
		k := connect(t, configFor(m, info, nil), "")
		synctest.Wait()
		o := k.seen(sched.Event_OFFERS)[0].Offers.Offers[0]
		market := newMarket("jobs")
		market.add(&o, time.Time{})
		p, ok := market.place(needs(6.5, 0, 0))
		if !ok {
			t.Fatal("no room for what is offered in three parts")
		}
		task := taskInfo(&Job{Name: "T", Command: "true", Shell: true}, &Run{ID: "T"}, p)
		if err := k.outcome(calls.Accept(calls.OfferOperations{calls.OpLaunch(*task)}.WithOffers(o.ID))); err != nil || m.Launches("T") != 1 {
			t.Errorf("a task in all three parts: %v, %d launches, want it taken", err, m.Launches("T"))
		}
	})
}

// Whatever the bytes and however they arrive, records are those of the stream, whole and in order, or the stream is at fault.
func FuzzRecordIO(f *testing.F) {
	for _, seed := range []string{"", "5\nhello", "5\nhello0\n3\nabc", "5\nhel", "x", "\n", "05\nhello", "99999999999999999999\nx", "67108865\n", "3", "-1\nx"} {
		f.Add([]byte(seed))
	}
	read := func(r io.Reader) (records []string, err error) {
		for reader := newRecordReader(r); ; {
			b, err := reader.next()
			if err != nil {
				return records, err
			}
			records = append(records, string(b))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := read(bytes.NewReader(stream))
		pieces, err2 := read(iotest.OneByteReader(bytes.NewReader(stream)))
		if !slices.Equal(whole, pieces) || err.Error() != err2.Error() {
			t.Fatalf("at once %q, %v; byte by byte %q, %v", whole, err, pieces, err2)
		}
		var again bytes.Buffer
		for _, r := range whole {
			fmt.Fprintf(&again, "%d\n%s", len(r), r)
		}
		if back, err := read(&again); err != io.EOF || !slices.Equal(back, whole) {
			t.Errorf("written again %q, %v, want %q", back, err, whole)
		}
		if err == io.EOF && len(stream) > 0 && len(whole) == 0 {
			t.Errorf("%q ends between records and has none", stream)
		}
	})
}
