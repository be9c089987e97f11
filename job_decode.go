package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A jobError says what is wrong with a job's document. The text names the place.
type jobError struct {
	field string // top-level key, or "" for the document as a whole
	text  string
}

func (e *jobError) Error() string { return e.text }

// decodeJob reads a posted document. base is the job of that name as it stands,
// or nil. Scalars are converted as the JVM versions did, but null is absent.
//
// An absent key gets its default and the counters 0, whatever base says: a post
// replaces the job. Only what the dialect of the post does not show (concurrent
// and maxCompletionTime without prefix, epsilon and async under /v1) comes from
// base, so that reading a job and posting it back loses nothing. Each of these keys
// is read on every path, but async under /v1 only where base has it.
//
// The error is a *jobError. What the document says is checked by check.
func decodeJob(data []byte, d jobDefaults, from dialect, base *Job) (*Job, error) {
	root, err := parseValue(data)
	if err != nil {
		return nil, &jobError{text: err.Error()}
	}
	doc := root.object()
	if doc == nil {
		return nil, &jobError{text: "the document is not a JSON object"}
	}
	dec := jobDecoder{defaults: d, from: from, base: base}
	j := dec.job(doc)
	if dec.err != nil {
		return nil, dec.err
	}
	return j, nil
}

// decodeStoredJob reads a job that 2.4, 2.5, 3.0 or this program stored. It is as
// lenient as possible: only malformed JSON and a missing name are errors.
func decodeStoredJob(data []byte, d jobDefaults) (*Job, error) {
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	j, err := decodeJob(data, d, dialectStored, nil)
	if err != nil {
		return nil, err
	}
	if j.Name == "" {
		return nil, &jobError{"name", "name: the key is missing"}
	}
	return j, nil
}

// A jobDecoder turns one document into a Job. It keeps the first error.
type jobDecoder struct {
	defaults jobDefaults
	from     dialect
	base     *Job
	err      *jobError
}

// fail records that something is wrong at a path like container.volumes[2]. Stored
// documents are never refused for that.
func (d *jobDecoder) fail(at docPath, format string, args ...any) {
	if d.err != nil || d.from == dialectStored {
		return
	}
	where := at.String()
	field, _, _ := strings.Cut(where, ".")
	field, _, _ = strings.Cut(field, "[")
	d.err = &jobError{field, where + ": " + fmt.Sprintf(format, args...)}
}

// A docPath leads to an object in the document, or an element of a list if index is not
// negative. It is turned into text only if something is wrong there.
type docPath struct {
	path  string
	index int
}

func (p docPath) String() string {
	if p.index < 0 {
		return p.path
	}
	return fmt.Sprintf("%s[%d]", p.path, p.index)
}

// need returns the value of a key that must be there.
func (d *jobDecoder) need(o object, key string, at docPath) value {
	v := o.get(key)
	if v == "" {
		d.fail(at, "key %q is missing", key)
	}
	return v
}

// job reads the whole document.
func (d *jobDecoder) job(doc object) *Job {
	j := d.hidden()
	if doc.get("name") == "" {
		d.fail(docPath{"name", -1}, "the key is missing")
	}
	j.Name = doc.get("name").text()
	d.command(j, doc)
	d.history(j, doc)
	d.resources(j, doc)
	var secrets []SecretVar
	j.Env, secrets = d.env(doc.get("environmentVariables"))
	j.Fetch = d.fetch(doc.get("fetch"))
	j.URIs = texts(doc.get("uris"))
	j.Arguments = texts(doc.get("arguments"))
	d.keepOwnForm(j, doc)
	j.Container = d.container(doc.get("container"))
	j.Constraints = d.constraints(doc.get("constraints"))
	d.trigger(j, doc)
	var inert object
	j.Policy, inert = d.policy(doc)
	j.Policy = d.withSecrets(j.Policy, secrets)
	d.settleOverlap(j, doc)
	j.Extra = extraFields(doc, inert)
	return j
}

// hidden returns a job with the values of absent keys that depend on base.
func (d *jobDecoder) hidden() *Job {
	j := &Job{Epsilon: d.defaults.Epsilon}
	switch {
	case d.base == nil:
	case d.from == dialect2:
		j.Concurrent, j.MaxCompletionTime = d.base.Concurrent && !d.base.saysAllow(), d.base.MaxCompletionTime
	case d.from == dialect3:
		j.Epsilon, j.Async = d.base.Epsilon, d.base.Async
	}
	return j
}

// command reads what the job runs, how, and who owns it.
func (d *jobDecoder) command(j *Job, doc object) {
	j.Command = doc.get("command").text()
	if d.from == dialect2 && doc.get("command") == "" {
		d.fail(docPath{"command", -1}, "the key is missing")
	}
	j.Shell = boolOr(doc.get("shell"), true)
	j.Executor = doc.get("executor").text()
	j.ExecutorFlags = doc.get("executorFlags").text()
	j.TaskInfoData = doc.get("taskInfoData").text()
	j.Retries = 2
	if v := doc.get("retries"); v != "" {
		j.Retries = int(v.int32())
	}
	if v := doc.get("epsilon"); v != "" {
		d.epsilon(j, v)
	}
	j.Owner = doc.get("owner").text()
	j.OwnerName = doc.get("ownerName").text()
	j.Description = doc.get("description").text()
	if d.from != dialect3 || j.Async {
		// 3.0 had no async jobs: with that key, a document meant for it would make a run wait forever.
		j.Async = boolOr(doc.get("async"), j.Async)
	}
	j.Disabled = doc.get("disabled").bool()
	j.Concurrent = boolOr(doc.get("concurrent"), j.Concurrent)
	j.SoftError = doc.get("softError").bool()
	j.DataProcessing = doc.get("dataProcessingJobType").bool()
	j.HighPriority = doc.get("highPriority").bool()
	j.RunAsUser = d.defaults.User
	if v := doc.get("runAsUser"); v != "" {
		j.RunAsUser = v.text()
	}
	if v := doc.get("maxCompletionTime"); v != "" {
		j.MaxCompletionTime = v.int64()
		if period, err := parsePeriod(v.text()); err == nil && v.isString() {
			j.MaxCompletionTime = int64(period.approx() / time.Second)
		}
	}
}

// epsilon reads a period. 3.0 ignores the key, so under /v1 an unusable text counts
// as absent.
func (d *jobDecoder) epsilon(j *Job, v value) {
	p, err := parsePeriod(v.text())
	switch {
	case err == nil:
		j.Epsilon = p
	case d.from == dialect2:
		d.fail(docPath{"epsilon", -1}, "%v", err)
	}
}

// history reads the counters exactly as the client gave them.
func (d *jobDecoder) history(j *Job, doc object) {
	j.SuccessCount = doc.get("successCount").int64()
	j.ErrorCount = doc.get("errorCount").int64()
	j.ErrorsSinceLastSuccess = doc.get("errorsSinceLastSuccess").int64()
	j.LastSuccess = doc.get("lastSuccess").text()
	j.LastError = doc.get("lastError").text()
}

// resources reads the sizes.
func (d *jobDecoder) resources(j *Job, doc object) {
	j.CPUs = d.size(doc.get("cpus"), d.defaults.CPUs)
	j.Mem = d.size(doc.get("mem"), d.defaults.Mem)
	j.Disk = d.size(doc.get("disk"), d.defaults.Disk)
	if d.defaults.KeepNamed && d.from != dialectStored { // where every size stands
		names := func(key string) bool { return d.size(doc.get(key), 0) > 0 }
		j.Named = namedSizes{CPUs: names("cpus"), Mem: names("mem")}
	}
}

// size reads one size. 0, and whatever converts to 0, is the default, and so is a
// "NaN" that an older version let into the store.
func (d *jobDecoder) size(v value, byDefault float64) float64 {
	f := v.double()
	unusable := math.IsNaN(f) || math.IsInf(f, 0)
	if f == 0 || unusable && d.from == dialectStored {
		return byDefault
	}
	return f
}

// trigger reads when the job runs: after its parents, on its schedule, or, if neither
// is given, once and now.
func (d *jobDecoder) trigger(j *Job, doc object) {
	parents, schedule := doc.get("parents"), doc.get("schedule")
	switch {
	case parents != "":
		j.Dependent = true
		j.Parents = uniqueTexts(texts(parents))
	case schedule != "":
		j.Schedule = schedule.text()
		j.ScheduleTimeZone = doc.get("scheduleTimeZone").text()
	case d.from == dialect3 && !d.defaults.Now.IsZero():
		j.Schedule = "R1/" + instant(d.defaults.Now) + "/PT24H"
	default:
		j.Schedule = "R1//PT24H"
	}
}

// keepOwnForm undoes what only GET jobs does to a document: it repeats uris as fetch and
// fetch as uris. A client that posts what it read there means one list, and would otherwise be
// refused, or what it removed from uris would still be fetched.
func (d *jobDecoder) keepOwnForm(j *Job, doc object) {
	if d.from == dialectStored || len(j.Fetch) == 0 || doc.get("uris") == "" {
		return // if uris is absent, fetch is meant
	}
	base := d.base
	if base == nil {
		base = &Job{}
	}
	derived := !ownFetch(doc.get("fetch"))
	switch {
	case derived && len(base.Fetch) == 0 && len(base.URIs) > 0 && slices.EqualFunc(j.Fetch, base.URIs, isEcho):
		j.Fetch = nil // uris may have been changed, or emptied
	case len(base.Fetch) > 0 && slices.EqualFunc(base.Fetch, j.URIs, hasURI):
		j.URIs = base.URIs // which the listing does not show
	case len(j.URIs) == 0 || !slices.EqualFunc(j.Fetch, j.URIs, hasURI):
	case derived && slices.EqualFunc(j.Fetch, echoOf(j.URIs, d.listedIn(doc)), sameFetch):
		j.Fetch = nil
	case !slices.Equal(base.URIs, j.URIs):
		j.URIs = nil
	}
}

// listedIn returns the dialect of the listing that a document was read from: only one of them
// shows epsilon, and only the other concurrent. If the document has neither, it is the dialect of the post.
func (d *jobDecoder) listedIn(doc object) dialect {
	switch two, three := doc.get("epsilon") != "", doc.get("concurrent") != ""; {
	case two && !three:
		return dialect2
	case three && !two:
		return dialect3
	}
	return d.from
}

// ownFetch reports whether a list of fetches carries the mark of one that is not derived from uris.
func ownFetch(list value) bool {
	return slices.ContainsFunc(list.elements(), func(v value) bool { return v.object().get("output_file") != "" })
}

func hasURI(f Fetch, uri string) bool { return f.URI == uri }

func sameFetch(a, b Fetch) bool { return a == b }

// isEcho reports whether f is what some dialect's listing makes of uri.
func isEcho(f Fetch, uri string) bool {
	return f == Fetch{URI: uri, Extract: true} || f == Fetch{URI: uri}
}

// boolOr converts v, or returns absent if v is absent.
func boolOr(v value, absent bool) bool {
	if v == "" {
		return absent
	}
	return v.bool()
}

// texts converts a list of scalars, leaving out nulls.
func texts(v value) []string {
	var list []string
	for _, e := range v.elements() {
		if e != "null" {
			list = append(list, e.text())
		}
	}
	return list
}

// uniqueTexts removes duplicates in place, keeping the first of each.
func uniqueTexts(list []string) []string {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}

// extraFields returns the members whose keys are not those of a job, in order, including our own keys if they are inert.
func extraFields(doc, inert object) []RawField {
	var unknown object
	for _, m := range doc {
		ours := policyKeyOf(m.key) != nil && !slices.ContainsFunc(inert, func(i member) bool { return i.key == m.key })
		if !isJobKey(m.key) && !ours {
			unknown = append(unknown, m)
		}
	}
	var extra []RawField
	for _, m := range unknown.unique() {
		extra = append(extra, RawField{strings.Clone(m.key), compact(m.value)})
	}
	return extra
}

// extraMembers returns the members of o whose key is not among known.
func extraMembers(o object, known ...string) rawMembers {
	var unknown object
	for _, m := range o {
		if !slices.Contains(known, m.key) {
			unknown = append(unknown, m)
		}
	}
	var extra []byte
	for _, m := range unknown.unique() {
		extra = append(appendString(append(extra, ','), m.key), ':')
		extra = append(extra, compact(m.value)...)
	}
	return rawMembers(extra)
}

// compact returns v without blanks between its tokens, since a listing of jobs is
// one line to its readers.
func compact(v value) []byte {
	var b bytes.Buffer
	b.Grow(len(v))
	if err := json.Compact(&b, []byte(v)); err != nil {
		return []byte("null") // impossible: the document is well formed
	}
	return bytes.Clone(b.Bytes())
}

// jobKeys are the keys at the top of a job that some version knows.
var jobKeys = map[string]bool{
	"name": true, "command": true, "shell": true, "epsilon": true, "executor": true, "executorFlags": true,
	"taskInfoData": true, "retries": true, "owner": true, "ownerName": true, "description": true, "async": true,
	"successCount": true, "errorCount": true, "lastSuccess": true, "lastError": true, "cpus": true,
	"disk": true, "mem": true, "disabled": true, "softError": true, "dataProcessingJobType": true,
	"errorsSinceLastSuccess": true, "fetch": true, "uris": true, "environmentVariables": true,
	"arguments": true, "highPriority": true, "runAsUser": true, "concurrent": true, "maxCompletionTime": true,
	"container": true, "constraints": true, "parents": true, "schedule": true, "scheduleTimeZone": true,
}

func isJobKey(key string) bool { return jobKeys[key] }

// objects passes each element of a list, which must be an object, to read.
func (d *jobDecoder) objects(list value, path string, read func(o object, at docPath)) {
	for i, e := range list.elements() {
		at := docPath{path, i}
		o := e.object()
		if o == nil {
			d.fail(at, "not an object")
			continue
		}
		read(o, at)
	}
}

// env reads the variables: those with a value, and those whose value is a secret.
func (d *jobDecoder) env(list value) (vars []EnvVar, secrets []SecretVar) {
	d.objects(list, "environmentVariables", func(o object, at docPath) {
		if v, ok := d.secretVar(o, at); ok {
			secrets = append(secrets, v)
			return
		}
		vars = append(vars, EnvVar{d.need(o, "name", at).text(), d.need(o, "value", at).text()})
	})
	return vars, secrets
}

// fetch reads the list of fetches. An absent extract means true in every dialect:
// 2.5's false left archives packed that 2.4 had always unpacked (#766).
func (d *jobDecoder) fetch(list value) []Fetch {
	var fetches []Fetch
	d.objects(list, "fetch", func(o object, at docPath) {
		fetches = append(fetches, Fetch{
			URI:        o.get("uri").text(),
			Executable: o.get("executable").bool(),
			Cache:      o.get("cache").bool(),
			Extract:    boolOr(o.get("extract"), true),
			OutputFile: o.get("output_file").text(),
			Extra:      extraMembers(o, "uri", "executable", "cache", "extract", "output_file"),
		})
	})
	return fetches
}

// constraints reads a list of [attribute, operator, value]. Operators are left to
// check, except that unknown ones in the store are dropped as every version does.
func (d *jobDecoder) constraints(list value) []Constraint {
	var all []Constraint
	for i, e := range list.elements() {
		parts := e.elements()
		if !strings.HasPrefix(string(e), "[") || len(parts) < 3 {
			d.fail(docPath{"constraints", i}, "not a list of attribute, operator and value")
			continue
		}
		c := Constraint{Attribute: parts[0].text(), Operator: parts[1].text(), Value: parts[2].text()}
		if d.from == dialectStored && !slices.Contains(constraintOperators[:], c.Operator) {
			continue
		}
		all = append(all, c)
	}
	d.defaults.patterns.compile(all)
	return all
}

// container reads the container. Without an image 2.4 and 2.5 refuse the job, and
// 3.0 runs it without a container.
func (d *jobDecoder) container(v value) *Container {
	const path = "container"
	if v == "" {
		return nil
	}
	o := v.object()
	if o.get("image") == "" {
		if d.from == dialect2 {
			d.fail(docPath{path, -1}, `key "image" is missing`)
		}
		return nil
	}
	c := &Container{
		Type:           d.containerType(o.get("type")),
		Image:          o.get("image").text(),
		Network:        d.network(o.get("network")),
		NetworkName:    o.get("networkName").text(),
		ForcePullImage: strings.EqualFold(o.get("forcePullImage").text(), "true"),
		Parameters:     d.labels(o.get("parameters"), path+".parameters"),
		Extra: extraMembers(o, "type", "image", "network", "networkName", "networkInfos",
			"volumes", "forcePullImage", "parameters"),
	}
	d.objects(o.get("networkInfos"), path+".networkInfos", func(o object, at docPath) {
		c.NetworkInfos = append(c.NetworkInfos, d.networkInfo(o, at))
	})
	d.objects(o.get("volumes"), path+".volumes", func(o object, at docPath) {
		c.Volumes = append(c.Volumes, d.volume(o, at))
	})
	return c
}

// containerType reads DOCKER or MESOS in either case. 2.x ignored the key.
func (d *jobDecoder) containerType(v value) string {
	switch kind := strings.ToUpper(v.text()); {
	case kind == "DOCKER", kind == "MESOS":
		return kind
	case v != "" && d.from == dialect3:
		d.fail(docPath{"container.type", -1}, "%q is not one of DOCKER, MESOS", v.text())
	}
	return "DOCKER"
}

func (d *jobDecoder) network(v value) string {
	if v == "" {
		return "HOST"
	}
	switch network := v.text(); network {
	case "HOST", "BRIDGE", "USER":
		return network
	default:
		d.fail(docPath{"container.network", -1}, "%q is not one of HOST, BRIDGE, USER", network)
	}
	return "HOST"
}

func (d *jobDecoder) networkInfo(o object, at docPath) NetworkInfo {
	path := at.String()
	n := NetworkInfo{
		Name:     d.need(o, "name", at).text(),
		Protocol: o.get("protocol").text(),
		Labels:   d.labels(o.get("labels"), path+".labels"),
		Extra:    extraMembers(o, "name", "protocol", "labels", "portMappings"),
	}
	if v := o.get("protocol"); v != "" && n.Protocol != "IPv4" && n.Protocol != "IPv6" {
		d.fail(at, "protocol %q is not one of IPv4, IPv6", n.Protocol)
		n.Protocol = ""
	}
	d.objects(o.get("portMappings"), path+".portMappings", func(o object, at docPath) {
		n.PortMappings = append(n.PortMappings, PortMapping{
			HostPort:      int(d.need(o, "hostPort", at).int32()),
			ContainerPort: int(d.need(o, "containerPort", at).int32()),
			Protocol:      o.get("protocol").text(),
		})
	})
	return n
}

func (d *jobDecoder) volume(o object, at docPath) Volume {
	v := Volume{
		HostPath:      o.get("hostPath").text(),
		ContainerPath: d.need(o, "containerPath", at).text(),
		Mode:          strings.ToUpper(o.get("mode").text()),
		Extra:         extraMembers(o, "hostPath", "containerPath", "mode", "external"),
	}
	if mode := o.get("mode"); mode != "" && v.Mode != "RW" && v.Mode != "RO" {
		d.fail(at, "mode %q is not one of RW, RO", mode.text())
		v.Mode = ""
	}
	if external := o.get("external"); external != "" {
		v.External = d.external(external, docPath{at.String() + ".external", -1})
	}
	return v
}

func (d *jobDecoder) external(v value, at docPath) *ExternalVolume {
	o := v.object()
	if o == nil {
		d.fail(at, "not an object")
		return nil
	}
	return &ExternalVolume{
		Name:     d.need(o, "name", at).text(),
		Provider: d.need(o, "provider", at).text(),
		Options:  d.labels(o.get("options"), at.String()+".options"),
	}
}

func (d *jobDecoder) labels(list value, path string) []Label {
	var labels []Label
	d.objects(list, path, func(o object, at docPath) {
		labels = append(labels, Label{d.need(o, "key", at).text(), d.need(o, "value", at).text()})
	})
	return labels
}
