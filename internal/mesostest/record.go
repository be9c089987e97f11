package mesostest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	schedulerPath = "/api/v1/scheduler"
	mediaProtobuf = "application/x-protobuf"
	streamHeader  = "Mesos-Stream-Id"
)

// Record writes an event as it stands in a stream of protobuf.
func Record(e *sched.Event) []byte { return encode(e, false) }

// encode writes an event as a record of a stream.
func encode(e *sched.Event, asJSON bool) []byte {
	var body []byte
	var err error
	if asJSON {
		body, err = JSON(e)
		body = withoutNulls(body)
	} else {
		body, err = e.Marshal()
	}
	if err != nil {
		panic(err) // events of the double itself
	}
	return append(fmt.Appendf(nil, "%d\n", len(body)), body...)
}

// withoutNulls leaves out what Mesos does not write: nulls and empty lists.
func withoutNulls(body []byte) []byte {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return body
	}
	body, _ = json.Marshal(pruned(v)) // it has just been decoded
	return body
}

func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if list, ok := e.([]any); e == nil || ok && len(list) == 0 {
				delete(v, k)
				continue
			}
			v[k] = pruned(e)
		}
	case []any:
		for i, e := range v {
			v[i] = pruned(e)
		}
	}
	return v
}

func splitAddress(address string) (host string, port int) {
	host, p, _ := net.SplitHostPort(address)
	port, _ = strconv.Atoi(p)
	return host, port
}

func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r) // what came before the error will do
	return b
}
