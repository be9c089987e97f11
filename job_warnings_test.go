package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestWarningsSayWhatIsWrongWhatHappensAndWhatIsNearest(t *testing.T) {
	t.Parallel()
	const zone = `"schedule":"30 2 * * *","scheduleTimeZone":`
	for _, tt := range []struct{ in, want string }{
		{``, ""},
		{zone + `"Europe/Berlin"`, ""},
		{zone + `"PST"`, ""},
		{zone + `"GMT+02:00"`, ""},
		{zone + `"Europe/Berlim"`, "scheduleTimeZone: there is no time zone 'Europe/Berlim', so UTC is used instead, as in Java; the nearest is Europe/Berlin"},
		{zone + `"+02:00"`, "scheduleTimeZone: there is no time zone '+02:00', so UTC is used instead, as in Java; the nearest is GMT+02:00"},
		{zone + `"Europe/Berlin "`, "scheduleTimeZone: there is no time zone 'Europe/Berlin ', so UTC is used instead, as in Java; the nearest is Europe/Berlin"},
		{zone + `"Bree\n"`, "scheduleTimeZone: there is no time zone 'Bree?', so UTC is used instead, as in Java; names are those of the time zone database, like Europe/Berlin"},
		{`"scheduleTimezone":"Europe/Berlin"`, "scheduleTimezone: there is no such key, so it is kept but ignored; the nearest is scheduleTimeZone"},
		{`"tags":{"a":1}`, ""},

		{`"cpus":-1`, "cpus: -1.0 is below 0, so the default is used instead; write 0 for that"},
		{`"mem":-0.5`, "mem: -0.5 is below 0, so the default is used instead; write 0 for that"},
		{`"disk":"-1"`, "disk: -1.0 is below 0, so the default is used instead; write 0 for that"},
		{`"cpus":0,"mem":"512","disk":1e3`, ""},
		{`"cpus":"zero"`, "cpus: 'zero' is read as 0.1; write 0.1"},
		{`"mem":true`, "mem: 'true' is read as 1.0; write 1.0"},
		{`"disk":[]`, "disk: '[]' is read as 256.0; write 256.0"},

		{`"retries":1.5`, "retries: '1.5' is read as 1; write 1"},
		{`"retries":"5.9"`, "retries: '5.9' is read as 5; write 5"},
		{`"retries":2.0`, ""},
		{`"retries":"3"`, ""},
		{`"retries":"x"`, "retries: 'x' is read as 0; write 0"},
		{`"retries":9999999999`, "retries: '9999999999' is read as 1410065407; write 1410065407"},
		{`"retries":-3`, "retries: -3 is below 0, so a run that fails is not retried, as with 0; write 0"},
		{`"maxCompletionTime":-5`, "maxCompletionTime: -5 is below 0, so there is no limit, as with 0; write 0"},
		{`"maxCompletionTime":"1h"`, "maxCompletionTime: '1h' is read as 0; write 0"},
		{`"successCount":"190"`, ""},
		{`"errorCount":3.9`, "errorCount: '3.9' is read as 3; write 3"},

		{`"command":""`, "command: there is nothing to run without a command, a container image or an executor: a run fails on Mesos and does nothing in local mode; give a command"},
		{`"command":"","container":{"image":"x"}`, ""},
		{`"command":"","executor":"/bin/x"`, ""},
		{`"command":"","arguments":["echo"]`, ""},
		{`"command":"","arguments":["echo"],"shell":false`, "command: there is nothing to run without a command, a container image or an executor: a run fails on Mesos and does nothing in local mode; give a command"},
		{`"command":12`, ""},
		{`"owner":{"a":1}`, `owner: '{"a":1}' is read as ""; write ""`},

		{`"epsilon":"PT0S"`, "epsilon: PT0S is less than a second, which is used instead, so that an occurrence on time runs; write PT1S"},
		{`"epsilon":"PT-1H"`, "epsilon: PT-1H is less than a second, which is used instead, so that an occurrence on time runs; write PT1S"},
		{`"epsilon":"PT1.5S"`, ""},

		{`"disabled":"yes"`, "disabled: 'yes' is read as false; write false"},
		{`"softError":"TRUE"`, "softError: 'TRUE' is read as false; write false"},
		{`"shell":"true","async":1,"concurrent":0,"highPriority":null`, ""},
		{`"highPriority":-1`, "highPriority: '-1' is read as true; write true"},

		{`"arguments":"-v"`, "arguments: '-v' is read as []; write []"},
		{`"arguments":["a",1,true,null,1e3],"uris":""`, ""},
		{`"arguments":[["a"]]`, `arguments[0]: '["a"]' is read as ""; write ""`},
		{`"environmentVariables":"A=1"`, "environmentVariables: 'A=1' is read as []; write []"},
		{`"environmentVariables":[{"name":"A","value":1,"x":2}]`, "environmentVariables[0].x: '2' means nothing there and is dropped; leave it out"},
		{`"constraints":[["a","EQUALS",1,"surplus"]]`, `constraints[0]: '["a","EQUALS",1,"surplus"]' is read as ["a","EQUALS","1"]; write ["a","EQUALS","1"]`},
		{`"fetch":[{"uri":"u","extract":false,"mine":3}]`, ""},
		{`"fetch":[{"uri":"u","extract":"no"}]`, "fetch[0].extract: 'no' is read as false; write false"},
		{`"fetch":[{"uri":"u","executable":"yes"}]`, "fetch[0].executable: 'yes' is read as false; write false"},
		{`"container":{"image":"i","type":"rkt"}`, `container.type: 'rkt' is read as "DOCKER"; write "DOCKER"`},
		{`"container":{"image":"i","type":"mesos","forcePullImage":"True","volumes":[{"containerPath":"/a","mode":"rw"}]}`, ""},
		{`"container":{"image":"i","networkInfos":[{"name":"n","portMappings":[{"hostPort":80.7,"containerPort":"8080"}]}]}`,
			`container.networkInfos[0].portMappings[0].hostPort: '80.7' is read as "80"; write "80"`},
		{`"parents":["a","b","a"]`, ""},
		{`"parents":["a"],"schedule":"R//PT1H","scheduleTimeZone":"Nowhere"`, "schedule: the job has parents and runs after them instead; leave it out\n" +
			"scheduleTimeZone: the job has parents and runs after them instead; leave it out"},
		{`"parents":["a"],"schedule":"","scheduleTimeZone":""`, ""},
		{`"name":7,"runAsUser":null,"description":"\u0001"`, ""},
		{`"owner":"` + strings.Repeat("x", 5000) + `"`, ""},
		{`"cpus":"` + strings.Repeat("x", 5000) + `"`, "cpus: '" + strings.Repeat("x", 60) + "...' is read as 0.1; write 0.1"},
	} {
		doc := `{"name":"n","command":"c",` + tt.in + `}`
		doc = strings.Replace(doc, `,}`, `}`, 1)
		j, err := decodeJob([]byte(doc), testDefaults(), dialect2, nil)
		if err != nil {
			t.Errorf("decodeJob(%s) = %v", tt.in, err)
			continue
		}
		before := string(j.appendJSON(nil, dialectStored))
		j.Misread = j.misread([]byte(doc))
		var got []string
		for _, w := range j.warnings() {
			got = append(got, w.String())
		}
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("warnings of %s = %q\nwant %q", tt.in, got, tt.want)
		}
		if after := string(j.appendJSON(nil, dialectStored)); after != before {
			t.Errorf("the document of %s is changed from %s to %s", tt.in, before, after)
		}
	}
}

// What 3.0's paths forgive is told as well.
func TestWarningsOfTheOtherDialect(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"epsilon":"soon"`:          `epsilon: 'soon' is read as "PT60S"; write "PT60S"`,
		`"container":{"type":"x"}`:  `container: '{"type":"x"}' means nothing there and is dropped; leave it out`,
		`"container":{}`:            "",
		`"async":true`:              "async: 'true' is read as false; write false", // 3.0 had no async jobs
		`"maxCompletionTime":"300"`: "",
	} {
		doc := []byte(`{"name":"n","command":"c",` + in + `}`)
		j, err := decodeJob(doc, testDefaults(), dialect3, nil)
		if err != nil {
			t.Errorf("decodeJob(%s) = %v", in, err)
			continue
		}
		var got []string
		for _, w := range j.misread(doc) {
			got = append(got, w.String())
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("misread of %s = %q, want %q", in, got, want)
		}
	}
}

// Nobody is warned of what we list ourselves.
func TestListedJobsAreReadAsTheySay(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	for range inForm(300, 20_000) {
		j := randomJob(r)
		for _, d := range []dialect{dialect2, dialect3} {
			for _, doc := range [][]byte{j.appendJSON(nil, d), j.appendListJSON(nil, d)} {
				posted, err := decodeJob(doc, testDefaults(), d, nil)
				if err != nil {
					continue // no more than any other document that is refused
				}
				if got := posted.misread(doc); len(got) > 0 {
					t.Fatalf("misread is %q, of %s", got, doc)
				}
			}
		}
	}
}

func FuzzMisread(f *testing.F) {
	for _, doc := range []string{
		`{"name":"n","command":"c","retries":1.5,"disabled":"yes","uris":"x","fetch":[{"uri":1}],"container":{"image":"i","volumes":[{"containerPath":"/a","mode":"RX"}]}}`,
		`{"name":"n","parents":{"a":"b"},"environmentVariables":{"k":{"name":"A","value":""}},"constraints":[["a","LIKE",{}]]}`,
		`{"name":1e400,"cpus":"1d","mem":"-Infinity","disk":"0x10","epsilon":[]}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, d := range []dialect{dialect2, dialect3} {
			j, err := decodeJob(doc, testDefaults(), d, nil)
			if err != nil {
				continue
			}
			j.Misread = j.misread(doc)
			if slices.ContainsFunc(j.warnings(), func(w Warning) bool { return len(w.String()) > 2000 || strings.ContainsAny(w.Text, "\n\r") }) {
				t.Errorf("warnings of %q are %q", doc, j.warnings())
			}
			stored := j.appendJSON(nil, dialectStored)
			again, err := decodeJob(stored, testDefaults(), dialect2, nil)
			if err != nil {
				continue
			}
			if got := again.misread(stored); len(got) > 0 {
				t.Errorf("stored as %s, which is misread: %q", stored, got)
			}
		}
	})
}
