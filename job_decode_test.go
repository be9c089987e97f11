package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Each key of a document: absent, null, and what is lenient about its values. The
// answer is the part of the stored form that it leads to.
func TestFieldsAbsentNullAndOdd(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{``, `{"name":"n","command":"c","shell":true,"epsilon":"PT60S","executor":"","executorFlags":"","taskInfoData":"",` +
			`"retries":2,"owner":"","ownerName":"","description":"","async":false,"successCount":0,"errorCount":0,` +
			`"lastSuccess":"","lastError":"","cpus":0.1,"disk":256.0,"mem":128.0,"disabled":false,"softError":false,` +
			`"dataProcessingJobType":false,"errorsSinceLastSuccess":0,"fetch":[],"uris":[],"environmentVariables":[],` +
			`"arguments":[],"highPriority":false,"runAsUser":"root","concurrent":false,"maxCompletionTime":0,` +
			`"constraints":[],"schedule":"R1//PT24H","scheduleTimeZone":""}`},
		{`"name":7`, `{"name":"7",`},
		{`"name":"a","name":"b"`, `{"name":"b",`},
		{`"command":[1]`, `"command":"",`},
		{`"command":12`, `"command":"12",`},
		{`"shell":null`, `"shell":true,`},
		{`"shell":"yes"`, `"shell":false,`},
		{`"shell":"true"`, `"shell":true,`},
		{`"epsilon":null`, `"epsilon":"PT60S",`},
		{`"epsilon":"PT0.5S"`, `"epsilon":"PT0.500S",`},
		{`"epsilon":"PT90S"`, `"epsilon":"PT90S",`},
		{`"epsilon":"P1D"`, `"epsilon":"P1D",`},
		{`"executor":null`, `"executor":"",`},
		{`"executor":"/bin/x"`, `"executor":"/bin/x",`},
		{`"executorFlags":null`, `"executorFlags":"",`},
		{`"executorFlags":true`, `"executorFlags":"true",`},
		{`"taskInfoData":null`, `"taskInfoData":"",`},
		{`"taskInfoData":1.50`, `"taskInfoData":"1.5",`},
		{`"retries":null`, `"retries":2,`},
		{`"retries":"5.9"`, `"retries":5,`},
		{`"retries":"x"`, `"retries":0,`},
		{`"retries":-3`, `"retries":-3,`},
		{`"retries":9999999999`, `"retries":1410065407,`},
		{`"owner":null`, `"owner":"",`},
		{`"owner":{"a":1}`, `"owner":"",`},
		{`"ownerName":null`, `"ownerName":"",`},
		{`"description":null`, `"description":"",`},
		{`"description":"é\u0001"`, `"description":"é\u0001",`},
		{`"async":null`, `"async":false,`},
		{`"async":1`, `"async":true,`},
		{`"disabled":null`, `"disabled":false,`},
		{`"disabled":1.0`, `"disabled":false,`},
		{`"disabled":true`, `"disabled":true,`},
		{`"concurrent":null`, `"concurrent":false,`},
		{`"concurrent":true`, `"concurrent":true,`}, // also without a schedule
		{`"softError":null`, `"softError":false,`},
		{`"softError":"TRUE"`, `"softError":false,`},
		{`"dataProcessingJobType":null`, `"dataProcessingJobType":false,`},
		{`"dataProcessingJobType":true`, `"dataProcessingJobType":true,`},
		{`"highPriority":null`, `"highPriority":false,`},
		{`"highPriority":-1`, `"highPriority":true,`},
		{`"successCount":null`, `"successCount":0,`},
		{`"successCount":"190"`, `"successCount":190,`},
		{`"errorCount":3.9`, `"errorCount":3,`},
		{`"errorsSinceLastSuccess":[]`, `"errorsSinceLastSuccess":0,`},
		{`"lastSuccess":null`, `"lastSuccess":"",`},
		{`"lastSuccess":"soon"`, `"lastSuccess":"soon",`},
		{`"lastError":5`, `"lastError":"5",`},
		{`"cpus":null`, `"cpus":0.1,`},
		{`"cpus":"0.5"`, `"cpus":0.5,`},
		{`"cpus":"zero"`, `"cpus":0.1,`},
		{`"cpus":-1`, `"cpus":-1.0,`},
		{`"mem":0`, `"mem":128.0,`},
		{`"mem":10000000`, `"mem":1.0E7,`},
		{`"disk":""`, `"disk":256.0,`},
		{`"disk":true`, `"disk":1.0,`},
		{`"maxCompletionTime":null`, `"maxCompletionTime":0,`},
		{`"maxCompletionTime":"300"`, `"maxCompletionTime":300,`},
		{`"maxCompletionTime":-5`, `"maxCompletionTime":-5,`},
		{`"uris":null`, `"uris":[],`},
		{`"uris":"http://a"`, `"uris":[],`},
		{`"uris":{"a":"x","b":2}`, `"uris":["x","2"],`},
		{`"arguments":["a",1,true,null,{},1e3]`, `"arguments":["a","1","true","","1000.0"],`},
		{`"fetch":null`, `"fetch":[],`},
		{`"fetch":"x"`, `"fetch":[],`},
		{`"fetch":[{}]`, `"fetch":[{"uri":"","executable":false,"cache":false,"extract":true}],`},
		{`"fetch":[{"uri":"u","extract":false,"cache":"true","output_file":"o"}]`,
			`"fetch":[{"uri":"u","executable":false,"cache":true,"extract":false,"output_file":"o"}],`},
		{`"environmentVariables":null`, `"environmentVariables":[],`},
		{`"environmentVariables":[{"name":"A","value":1,"x":2}]`, `"environmentVariables":[{"name":"A","value":"1"}],`},
		{`"environmentVariables":{"k":{"name":"A","value":""}}`, `"environmentVariables":[{"name":"A","value":""}],`},
		{`"runAsUser":null`, `"runAsUser":"root",`},
		{`"runAsUser":""`, `"runAsUser":"",`},
		{`"container":null`, `"maxCompletionTime":0,"constraints":`},
		{`"constraints":null`, `"constraints":[],`},
		{`"constraints":[["a","EQUALS",1,"surplus"]]`, `"constraints":[["a","EQUALS","1"]],`},
		{`"constraints":{"x":["a","LIKE","b"]}`, `"constraints":[["a","LIKE","b"]],`},
		{`"parents":null,"schedule":"R/2030-01-01T00:00:00Z/P1D"`, `"schedule":"R/2030-01-01T00:00:00Z/P1D","scheduleTimeZone":""}`},
		{`"parents":["a","b","a"],"schedule":"R//PT1H","scheduleTimeZone":"PST"`, `"constraints":[],"parents":["a","b"]}`},
		{`"parents":"a"`, `"parents":[]}`},
		{`"parents":["f","e","d","c","b","a"]`, `"parents":["f","e","d","c","b","a"]}`},
		{`"schedule":null`, `"schedule":"R1//PT24H",`},
		{`"schedule":5,"scheduleTimeZone":null`, `"schedule":"5","scheduleTimeZone":""}`},
		{`"schedule":"R//PT1H","scheduleTimeZone":"PST"`, `"schedule":"R//PT1H","scheduleTimeZone":"PST"}`},
		{`"tags":{ "a" : [1, 2] },"x":1,"tags":null`, `"scheduleTimeZone":"","tags":null,"x":1}`},
	}
	for _, tt := range tests {
		doc := `{"name":"n","command":"c"`
		if tt.in != "" {
			doc += "," + tt.in
		}
		j, err := decodeJob([]byte(doc+"}"), testDefaults(), dialect2, nil)
		if err != nil {
			t.Errorf("decodeJob(%s) = %v", tt.in, err)
			continue
		}
		if got := string(j.appendJSON(nil, dialectStored)); !strings.Contains(got, tt.want) {
			t.Errorf("decodeJob(%s) = %s, want %s in it", tt.in, got, tt.want)
		}
	}
}

func TestContainerForms(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`"image":"i"`, `{"type":"DOCKER","image":"i","network":"HOST","networkInfos":[],"volumes":[],"forcePullImage":false,"parameters":[]}`},
		{`"image":5,"type":"mesos"`, `{"type":"MESOS","image":"5",`},
		{`"image":"i","type":null,"network":null`, `{"type":"DOCKER","image":"i","network":"HOST",`},
		{`"image":"i","network":"USER","networkName":"n"`, `"network":"USER","networkName":"n",`},
		{`"image":"i","forcePullImage":"TRUE"`, `"forcePullImage":true,`},
		{`"image":"i","forcePullImage":1`, `"forcePullImage":false,`},
		{`"image":"i","volumes":[{"containerPath":"/a","mode":"rw"},{"containerPath":"/b","hostPath":"/h","mode":null}]`,
			`"volumes":[{"containerPath":"/a","mode":"RW"},{"hostPath":"/h","containerPath":"/b"}],`},
		{`"image":"i","networkInfos":[{"name":"n","portMappings":[{"hostPort":"80","containerPort":8080.5}]}]`,
			`"networkInfos":[{"name":"n","labels":[],"portMappings":[{"hostPort":"80","containerPort":"8080"}]}],`},
		{`"image":"i","networkInfos":[{"name":"n","ipam":{"x": 1}}],"volumes":[{"containerPath":"/a","source":[ ]}],"shm":null`,
			`"networkInfos":[{"name":"n","labels":[],"portMappings":[],"ipam":{"x":1}}],` +
				`"volumes":[{"containerPath":"/a","source":[]}],"forcePullImage":false,"parameters":[],"shm":null}`},
		{`"image":"i","parameters":{"x":{"key":"k","value":null,"value":"v"}}`, `"parameters":[{"key":"k","value":"v"}]}`},
	}
	for _, tt := range tests {
		doc := `{"name":"n","command":"c","container":{` + tt.in + `}}`
		j, err := decodeJob([]byte(doc), testDefaults(), dialect3, nil)
		if err != nil {
			t.Errorf("decodeJob(%s) = %v", tt.in, err)
			continue
		}
		if got := string(j.appendJSON(nil, dialect3)); !strings.Contains(got, tt.want) {
			t.Errorf("decodeJob(%s) = %s, want %s in it", tt.in, got, tt.want)
		}
	}
}

func TestRefusalsSayWhatAndWhere(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, field, text string }{
		{`{"command":"c"}`, "name", `name: the key is missing`},
		{`{"name":null,"command":"c"}`, "name", `name: the key is missing`},
		{`{"name":"n"}`, "command", `command: the key is missing`},
		{`{"name":"n","command":null}`, "command", `command: the key is missing`},
		{``, "", `malformed JSON at line 1, column 1: unexpected end of JSON input`},
		{`{"name":}`, "", `malformed JSON at line 1, column 9: invalid character '}' looking for beginning of value`},
		{`null`, "", `the document is not a JSON object`},
		{`[{}]`, "", `the document is not a JSON object`},
		{`"epsilon":""`, "epsilon", `epsilon: parse period "": `},
		{`"epsilon":60`, "epsilon", `epsilon: parse period "60": `},
		{`"environmentVariables":[{"name":"a","value":"b"},{"name":"a"}]`, "environmentVariables", `environmentVariables[1]: key "value" is missing`},
		{`"environmentVariables":[{"value":"a"}]`, "environmentVariables", `environmentVariables[0]: key "name" is missing`},
		{`"environmentVariables":{"A":"1"}`, "environmentVariables", `environmentVariables[0]: not an object`},
		{`"fetch":["http://a"]`, "fetch", `fetch[0]: not an object`},
		{`"constraints":[["a","EQUALS"]]`, "constraints", `constraints[0]: not a list of attribute, operator and value`},
		{`"constraints":["a"]`, "constraints", `constraints[0]: not a list of attribute, operator and value`},
		{`"container":{}`, "container", `container: key "image" is missing`},
		{`"container":"x"`, "container", `container: key "image" is missing`},
		{`"container":{"image":"i","network":"bridge"}`, "container", `container.network: "bridge" is not one of HOST, BRIDGE, USER`},
		{`"container":{"image":"i","volumes":[{"mode":"RW"}]}`, "container", `container.volumes[0]: key "containerPath" is missing`},
		{`"container":{"image":"i","volumes":[{"containerPath":"/","mode":"x"}]}`, "container", `container.volumes[0]: mode "x" is not one of RW, RO`},
		{`"container":{"image":"i","volumes":[{"containerPath":"/","external":{"name":"x"}}]}`, "container", `container.volumes[0].external: key "provider" is missing`},
		{`"container":{"image":"i","volumes":[{"containerPath":"/","external":1}]}`, "container", `container.volumes[0].external: not an object`},
		{`"container":{"image":"i","parameters":[{"key":"k"}]}`, "container", `container.parameters[0]: key "value" is missing`},
		{`"container":{"image":"i","networkInfos":[{"name":"n","protocol":"ipv4"}]}`, "container", `container.networkInfos[0]: protocol "ipv4" is not one of IPv4, IPv6`},
		{`"container":{"image":"i","networkInfos":[{"name":"n","portMappings":[{"hostPort":1}]}]}`, "container", `container.networkInfos[0].portMappings[0]: key "containerPort" is missing`},
	}
	for _, tt := range tests {
		doc := tt.in
		if strings.HasPrefix(doc, `"`) {
			doc = `{"name":"n","command":"c",` + doc + `}`
		}
		_, err := decodeJob([]byte(doc), testDefaults(), dialect2, nil)
		e, ok := errors.AsType[*jobError](err)
		if !ok || e.field != tt.field || !strings.HasPrefix(e.Error(), tt.text) {
			t.Errorf("decodeJob(%s) = %v, want %s", tt.in, err, tt.text)
		}
	}
}

// What 3.0 forgives and 2.x does not, and the other way round.
func TestDialectsForgiveDifferentThings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		from  dialect
		want  string // part of the stored form
		error string
	}{
		{`"container":{"network":"HOST"}`, dialect3, `"maxCompletionTime":0,"constraints":`, ""},
		{`"container":"x"`, dialect3, `"maxCompletionTime":0,"constraints":`, ""},
		{`"container":{"image":"i","type":"rkt"}`, dialect2, `"type":"DOCKER"`, ""},
		{`"container":{"image":"i","type":"rkt"}`, dialect3, "", `container.type: "rkt" is not one of DOCKER, MESOS`},
		{`"epsilon":"soon"`, dialect3, `"epsilon":"PT60S"`, ""},
		{`"epsilon":"PT5M","async":true`, dialect3, `"epsilon":"PT5M"`, ""},
		{`"x":1`, dialect3, `"command":"",`, ""},
		{`"x":1`, dialect3, `"schedule":"R1/2026-11-22T08:41:57.707Z/PT24H"`, ""},
		{`"command":"c"`, dialect2, `"schedule":"R1//PT24H"`, ""},
	}
	for _, tt := range tests {
		doc := `{"name":"n",` + tt.in + `}`
		if tt.from == dialect2 {
			doc = `{"name":"n","command":"c",` + tt.in + `}`
		}
		j, err := decodeJob([]byte(doc), testDefaults(), tt.from, nil)
		if tt.error != "" {
			if err == nil || err.Error() != tt.error {
				t.Errorf("decodeJob(%s) = %v, want %s", tt.in, err, tt.error)
			}
			continue
		}
		if err != nil {
			t.Errorf("decodeJob(%s) = %v", tt.in, err)
			continue
		}
		if got := string(j.appendJSON(nil, dialectStored)); !strings.Contains(got, tt.want) {
			t.Errorf("decodeJob(%s) = %s, want %s in it", tt.in, got, tt.want)
		}
	}
}

// 2.5 alone took an absent extract for false (#766).
func TestFetchExtractsUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	for _, from := range []dialect{dialect2, dialect3, dialectStored} {
		j, err := decodeJob([]byte(`{"name":"n","command":"c","fetch":[{"uri":"a.tgz"}]}`), testDefaults(), from, nil)
		if err != nil || !j.Fetch[0].Extract {
			t.Errorf("decodeJob(fetch without extract, %d) = %v, %v, want extract", from, j.Fetch, err)
		}
	}
}

func TestAbsentKeysResetAnUpdatedJob(t *testing.T) {
	t.Parallel()
	base := &Job{Name: "n", Command: "old", SuccessCount: 5, LastError: "x", Owner: "o", Retries: 9,
		Extra: []RawField{{"x", []byte("1")}}}
	j, err := decodeJob([]byte(`{"name":"n","command":"c"}`), testDefaults(), dialect2, base)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := decodeJob([]byte(`{"name":"n","command":"c"}`), testDefaults(), dialect2, nil)
	if !reflect.DeepEqual(j, want) {
		t.Errorf("decodeJob with a base = %+v, want %+v", j, want)
	}
}

// What GET jobs derives comes back from clients that read, change and post.
func TestListedJobPostedBackKeepsItsOwnForm(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		base Job
	}{
		{"uris", Job{URIs: []string{"http://a", "http://b.tgz"}}},
		{"fetch", Job{Fetch: []Fetch{{URI: "http://a", Cache: true}, {URI: "http://b", OutputFile: "o"}}}},
		{"both", Job{URIs: []string{"http://a"}, Fetch: []Fetch{{URI: "http://b"}}}},
	}
	for _, tt := range tests {
		for _, d := range []dialect{dialect2, dialect3} {
			base := tt.base
			base.Name = "n"
			j, err := decodeJob(base.appendListJSON(nil, d), testDefaults(), d, &base)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(j.URIs, base.URIs) || !reflect.DeepEqual(j.Fetch, base.Fetch) {
				t.Errorf("%s: got back %v %v, want %v %v", tt.name, j.URIs, j.Fetch, base.URIs, base.Fetch)
			}
		}
	}
}

func TestListedJobPostedBackWithChanges(t *testing.T) {
	t.Parallel()
	base := &Job{Name: "n", URIs: []string{"http://a"}}
	tests := []struct{ in, uris, fetch string }{
		// uris changed, the derived fetch left as it was
		{`"uris":["http://a","http://b"],"fetch":[{"uri":"http://a","extract":false}]`, `["http://a","http://b"]`, `[]`},
		// uris taken out on purpose
		{`"fetch":[{"uri":"http://a"}]`, `[]`, `[{"uri":"http://a","executable":false,"cache":false,"extract":true}]`},
		// fetch changed on purpose
		{`"uris":["http://a"],"fetch":[{"uri":"http://a","cache":true}]`, `["http://a"]`, `[{"uri":"http://a","executable":false,"cache":true,"extract":true}]`},
		// uris emptied, the derived fetch left as it was, in either dialect
		{`"uris":[],"fetch":[{"uri":"http://a","extract":false}]`, `[]`, `[]`},
		{`"uris":[],"fetch":[{"uri":"http://a","extract":true}]`, `[]`, `[]`},
		// both replaced by another job's list
		{`"uris":["http://b"],"fetch":[{"uri":"http://b","extract":false}],"epsilon":"PT60S"`, `["http://b"]`, `[]`},
		{`"uris":["http://b"],"fetch":[{"uri":"http://b","cache":true}]`, `[]`, `[{"uri":"http://b","executable":false,"cache":true,"extract":true}]`},
		// fetch in place of uris
		{`"uris":[],"fetch":[{"uri":"http://b"}]`, `[]`, `[{"uri":"http://b","executable":false,"cache":false,"extract":true}]`},
	}
	for _, tt := range tests {
		j, err := decodeJob([]byte(`{"name":"n","command":"c",`+tt.in+`}`), testDefaults(), dialect2, base)
		if err != nil {
			t.Fatal(err)
		}
		want := `"fetch":` + tt.fetch + `,"uris":` + tt.uris + `,`
		if got := string(j.appendJSON(nil, dialect2)); !strings.Contains(got, want) {
			t.Errorf("decodeJob(%s) = %s, want %s", tt.in, got, want)
		}
	}
}

// madeAgain checks that a job as each dialect lists it can be posted through each where there is none
// of its name: it is then equal in every key that both show, and has the same brought into its sandbox.
func madeAgain(t *testing.T, j *Job) {
	t.Helper()
	d := testDefaults()
	for _, listed := range []dialect{dialect2, dialect3} {
		before := j.appendListJSON(nil, listed)
		for _, posted := range []dialect{dialect2, dialect3} {
			back, err := decodeJob(before, d, posted, nil)
			if err == nil {
				err = back.check(true, d.Now)
			}
			if err != nil {
				t.Errorf("listed as %s, posted through %d: %v", before, posted, err)
				continue
			}
			after := back.appendListJSON(nil, listed)
			if want, got := shared(before, listed, posted), shared(after, listed, posted); want != got {
				t.Errorf("listed through %d, posted through %d\n got %s\nwant %s", listed, posted, got, want)
			}
			if len(j.URIs) > 0 && len(j.Fetch) > 0 {
				continue // no list shows both
			}
			if got, want := taskURIs(back), taskURIs(j); !reflect.DeepEqual(got, want) {
				t.Errorf("listed as %s, posted through %d: fetches %v, want %v", before, posted, got, want)
			}
		}
	}
}

// shared returns what of a document each of two dialects shows.
func shared(document []byte, a, b dialect) string {
	if a == b {
		return string(document)
	}
	var kept strings.Builder
	for _, m := range value(document).object() {
		switch m.key {
		case "epsilon", "async", "concurrent", "maxCompletionTime":
		default:
			fmt.Fprintf(&kept, "%q:%s,", m.key, m.value)
		}
	}
	return kept.String()
}

func TestListedJobCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	fetch := func(change func(*Fetch)) Fetch {
		f := Fetch{URI: "http://a", Extract: true}
		change(&f)
		return f
	}
	plain := fetch(func(*Fetch) {})
	packed := fetch(func(f *Fetch) { f.Extract = false })
	lists := map[string]Job{
		"nothing":           {},
		"uris":              {URIs: []string{"http://a", "http://b.tgz"}},
		"fetch as uris":     {Fetch: []Fetch{plain}},
		"fetch, packed":     {Fetch: []Fetch{packed, packed}},
		"fetch, mixed":      {Fetch: []Fetch{packed, plain}},
		"fetch, cached":     {Fetch: []Fetch{fetch(func(f *Fetch) { f.Cache = true })}},
		"fetch, executable": {Fetch: []Fetch{fetch(func(f *Fetch) { f.Executable = true }), plain}},
		"fetch, renamed":    {Fetch: []Fetch{fetch(func(f *Fetch) { f.OutputFile = "o" })}},
		"fetch, unknown":    {Fetch: []Fetch{fetch(func(f *Fetch) { f.Extra = `,"x":1` })}},
		"both":              {URIs: []string{"http://b"}, Fetch: []Fetch{packed}},
		"both, the same":    {URIs: []string{"http://a"}, Fetch: []Fetch{plain}},
	}
	for name, list := range lists {
		t.Run(name, func(t *testing.T) {
			for _, more := range []string{`"schedule":"R5/2030-01-01T00:00:00Z/P1D"`, `"parents":["p"],"async":true,"concurrent":true`} {
				j, err := decodeJob([]byte(`{"name":"n","command":"c","later":[1],`+more+`}`), testDefaults(), dialect2, nil)
				if err != nil {
					t.Fatal(err)
				}
				j.URIs, j.Fetch = list.URIs, list.Fetch
				madeAgain(t, j)
			}
		})
	}
	files, err := filepath.Glob("testdata/job/stored/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stored jobs in testdata: %v", err)
	}
	for _, file := range files {
		j, err := decodeStoredJob(readTestdata(t, "stored/"+filepath.Base(file)), testDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if j.check(true, testDefaults().Now) == nil {
			t.Run(filepath.Base(file), func(t *testing.T) { madeAgain(t, j) })
		}
	}
}

// 3.0 had no async jobs, but its documentation shows the key.
func TestAsyncThroughV1(t *testing.T) {
	t.Parallel()
	tests := []struct {
		base *Job
		in   string
		want bool
	}{
		{nil, `,"async":true`, false},
		{&Job{}, `,"async":true`, false},
		{&Job{Async: true}, `,"async":true`, true},
		{&Job{Async: true}, ``, true},
		{&Job{Async: true}, `,"async":false`, false},
	}
	for _, tt := range tests {
		j, err := decodeJob([]byte(`{"name":"n"`+tt.in+`}`), testDefaults(), dialect3, tt.base)
		if err != nil || j.Async != tt.want {
			t.Errorf("decodeJob(%s) over %+v: async = %v, %v, want %v", tt.in, tt.base, j.Async, err, tt.want)
		}
	}
}

// Documents as 2.4, 2.5 and 3.0 have written them show again, byte for byte, in
// the dialect of the version; and what we make of them is stable.
func TestStoredJobsOfAllVersions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/job/stored/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stored jobs in testdata: %v", err)
	}
	only24 := strings.NewReplacer(`"taskInfoData":"",`, ``, `"fetch":[],`, ``, `,"parameters":[]`, ``)
	only302 := strings.NewReplacer(`"maxCompletionTime":0,`, ``)
	for _, file := range files {
		data := readTestdata(t, "stored/"+filepath.Base(file))
		j, err := decodeStoredJob(data, testDefaults())
		if err != nil {
			t.Errorf("decodeStoredJob(%s) = %v", file, err)
			continue
		}
		var got string
		switch version, _, _ := strings.Cut(filepath.Base(file), "-"); version {
		case "2.4":
			got = only24.Replace(string(j.appendJSON(nil, dialect2)))
		case "2.5":
			got = string(j.appendJSON(nil, dialect2))
		case "3.0.2":
			got = only302.Replace(string(j.appendJSON(nil, dialect3)))
		case "3.0":
			got = string(j.appendJSON(nil, dialect3))
		default:
			t.Errorf("%s: unknown version %q", file, version)
		}
		if got != string(data) {
			t.Errorf("%s\n got %s\nwant %s", file, got, data)
		}
		again, err := decodeStoredJob(j.appendJSON(nil, dialectStored), testDefaults())
		if err != nil || !reflect.DeepEqual(again, j) {
			t.Errorf("%s stored again = %+v, %v, want %+v", file, again, err, j)
		}
	}
}

// A job is never lost for what is in it: only its name is needed.
func TestStoredJobsAreReadLeniently(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`{"name":"n"}`, `"command":""`},
		{`{"name":"n","container":{"image":"i","network":"USER"}}`, `"network":"USER"`},
		{`{"name":"n","container":{"image":"i","network":"NONE","type":"rkt"}}`, `{"type":"DOCKER","image":"i","network":"HOST"`},
		{`{"name":"n","container":{"image":"i","volumes":[7,{"mode":"x"}]}}`, `"volumes":[{"containerPath":""}]`},
		{`{"name":"n","container":{"network":"HOST"}}`, `"maxCompletionTime":0,"constraints"`},
		{`{"name":"n","constraints":[["a","CLUSTER","b"],["a","like","b"],["a"],"x",["a","LIKE","("]]}`, `"constraints":[["a","LIKE","("]]`},
		{`{"name":"n","environmentVariables":[{"name":"A"},null,"x"]}`, `"environmentVariables":[{"name":"A","value":""}]`},
		{`{"name":"n","epsilon":"soon"}`, `"epsilon":"PT60S"`},
		{`{"name":"n","cpus":"NaN","mem":"Infinity"}`, `"cpus":0.1,"disk":256.0,"mem":128.0`},
		{`{"name":"n","schedule":"whenever","scheduleTimeZone":"Bogus"}`, `"schedule":"whenever","scheduleTimeZone":"Bogus"`},
		{`{"name":"n","parents":[]}`, `"parents":[]`},
		{`{"name":"n","owner":null,"mailOnError":true}`, `"mailOnError":true}`},
		{`{"name":"` + "\xff" + `"}`, "{\"name\":\"\ufffd\""},
		{"\ufeff{\"name\":\"n\"}\n", `{"name":"n"`},
	}
	for _, tt := range tests {
		j, err := decodeStoredJob([]byte(tt.in), testDefaults())
		if err != nil {
			t.Errorf("decodeStoredJob(%s) = %v", tt.in, err)
			continue
		}
		if got := string(j.appendJSON(nil, dialectStored)); !strings.Contains(got, tt.want) {
			t.Errorf("decodeStoredJob(%s) = %s, want %s in it", tt.in, got, tt.want)
		}
	}
	for _, in := range []string{``, `{`, `[]`, `{}`, `{"name":""}`, `{"name":{}}`} {
		if j, err := decodeStoredJob([]byte(in), testDefaults()); err == nil {
			t.Errorf("decodeStoredJob(%s) = %v, want an error", in, j)
		}
	}
}

// No input makes decoding panic, and what was accepted is stable once written.
func FuzzDecodeJob(f *testing.F) {
	for _, pattern := range []string{"testdata/job/examples/*.json", "testdata/job/stored/*.json"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, int(dialect2))
			f.Add(data, int(dialect3))
		}
	}
	d := testDefaults()
	f.Fuzz(func(t *testing.T, data []byte, from int) {
		j, err := decodeJob(data, d, dialect(from&1), nil)
		if err != nil {
			if _, ok := errors.AsType[*jobError](err); !ok {
				t.Errorf("decodeJob(%q) = %v, want a *jobError", data, err)
			}
			return
		}
		if err := j.check(true, d.Now); err != nil {
			return
		}
		stored := j.appendJSON(nil, dialectStored)
		if !json.Valid(stored) || bytes.ContainsAny(stored, "\r\n") {
			t.Fatalf("appendJSON = %q, want one line of JSON", stored)
		}
		again, err := decodeStoredJob(stored, d)
		if err != nil {
			t.Fatalf("decodeStoredJob(%q) = %v", stored, err)
		}
		if !reflect.DeepEqual(again, j) {
			t.Errorf("decodeStoredJob(%q) = %+v, want %+v", stored, again, j)
		}
		for _, through := range []dialect{dialect2, dialect3} {
			back, err := decodeJob(j.appendJSON(nil, through), d, through, j)
			if err != nil || !reflect.DeepEqual(back, j) {
				t.Errorf("read and posted back through %d: %+v, %v, want %+v", through, back, err, j)
			}
		}
		madeAgain(t, j)
	})
}

// The table of the original's keys in docs/jobs.md has each key that the decoder knows, with an example that says something.
func TestKeysOfTheOriginalAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| name | type | default | since | example | what |\n| --- | --- | --- | --- | --- | --- |\n")
	if !found {
		t.Fatal("docs/jobs.md has no table of the original's keys")
	}
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 6 {
			t.Fatalf("%d cells in %s", len(cells), line)
		}
		key, example := strings.Trim(strings.TrimSpace(cells[0]), "`"), strings.Trim(cells[4], "`")
		documented[key] = true
		if !isJobKey(key) {
			t.Errorf("key %q is documented, and there is none", key)
		}
		if since := cells[3]; since != "2.4" && since != "2.5" && since != "3.0" {
			t.Errorf("key %q is of version %q", key, since)
		}
		doc := "{" + example
		for _, other := range []string{`"name":"a"`, `"command":"x"`, `"schedule":"R1//PT1H"`} {
			if otherKey, _, _ := strings.Cut(other, ":"); !strings.HasPrefix(example, otherKey) && (key != "parents" || otherKey != `"schedule"`) {
				doc += "," + other
			}
		}
		listed := ""
		for _, d := range []dialect{dialect2, dialect3} {
			j, err := decodeJob([]byte(doc+"}"), jobDefaults{}, d, nil)
			if err != nil {
				t.Errorf("the example %s: %v", example, err)
				continue
			}
			listed += string(j.appendListJSON(nil, d))
		}
		if !strings.Contains(listed, strings.TrimSuffix(example, "}")) {
			t.Errorf("the example %s is listed as %s", example, listed)
		}
	}
	for key := range jobKeys {
		if !documented[key] {
			t.Errorf("key %q is not in the table of docs/jobs.md", key)
		}
	}
}
