package main

import (
	"slices"
	"strconv"
)

// usualDocument is the space, in bytes, that is enough for most job documents.
const usualDocument = 1024

// appendJSON appends the job's document, compact and on one line. The order of
// the keys is that of the JVM versions:
//
//   - dialect2 is what 2.5 writes. What 2.5 could not express (a MESOS container,
//     networkName, networkInfos, external volumes, output_file) is written only
//     if it is in use, so that such a job survives being read and posted back.
//   - dialect3 is what 3.0's last state writes.
//   - dialectStored is dialect3 with epsilon after shell and async after
//     description. Every JVM version reads it.
//   - dialectWhole is dialectStored with the keys of ours.
//
// Keys of ours stand before the last, except in the store. Keys that this program does not know come last.
func (j *Job) appendJSON(dst []byte, d dialect) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, j.Name)
	dst = j.appendCommand(dst, d)
	dst = j.appendHistory(dst)
	dst = appendDouble(dst, "cpus", j.CPUs)
	dst = appendDouble(dst, "disk", j.Disk)
	dst = appendDouble(dst, "mem", j.Mem)
	dst = appendBool(dst, "disabled", j.Disabled)
	dst = appendBool(dst, "softError", j.SoftError)
	dst = appendBool(dst, "dataProcessingJobType", j.DataProcessing)
	dst = appendInt(dst, "errorsSinceLastSuccess", j.ErrorsSinceLastSuccess)
	dst = appendList(dst, "fetch", j.Fetch, appendFetch)
	dst = appendList(dst, "uris", j.URIs, appendString)
	dst = j.appendEnvironment(dst, d)
	dst = appendList(dst, "arguments", j.Arguments, appendString)
	dst = appendBool(dst, "highPriority", j.HighPriority)
	dst = appendText(dst, "runAsUser", j.RunAsUser)
	if d != dialect2 {
		dst = appendBool(dst, "concurrent", j.Concurrent)
		dst = appendInt(dst, "maxCompletionTime", j.MaxCompletionTime)
	}
	if j.Container != nil {
		dst = j.Container.appendJSON(appendKey(dst, "container"), d)
	}
	dst = appendList(dst, "constraints", j.Constraints, appendConstraint)
	if j.Dependent {
		dst = appendList(dst, "parents", j.Parents, appendString)
	} else {
		dst = appendText(dst, "schedule", j.Schedule)
		dst = appendText(dst, "scheduleTimeZone", j.ScheduleTimeZone)
	}
	if d != dialectStored {
		dst = j.Policy.appendMembers(dst)
	}
	for _, f := range j.Extra {
		dst = append(append(appendString(append(dst, ','), f.Key), ':'), f.Value...)
	}
	return append(dst, '}')
}

// appendCommand appends what the job runs and who owns it.
func (j *Job) appendCommand(dst []byte, d dialect) []byte {
	dst = appendText(dst, "command", j.Command)
	dst = appendBool(dst, "shell", j.Shell)
	if d != dialect3 {
		dst = appendText(dst, "epsilon", j.Epsilon.String())
	}
	dst = appendText(dst, "executor", j.Executor)
	dst = appendText(dst, "executorFlags", j.ExecutorFlags)
	dst = appendText(dst, "taskInfoData", j.TaskInfoData)
	dst = appendInt(dst, "retries", int64(j.Retries))
	dst = appendText(dst, "owner", j.Owner)
	dst = appendText(dst, "ownerName", j.OwnerName)
	dst = appendText(dst, "description", j.Description)
	if d != dialect3 {
		dst = appendBool(dst, "async", j.Async)
	}
	return dst
}

// appendHistory appends the counters, which are adjacent.
func (j *Job) appendHistory(dst []byte) []byte {
	dst = appendInt(dst, "successCount", j.SuccessCount)
	dst = appendInt(dst, "errorCount", j.ErrorCount)
	dst = appendText(dst, "lastSuccess", j.LastSuccess)
	return appendText(dst, "lastError", j.LastError)
}

// appendListJSON appends the job as GET jobs shows it: uris and fetch, the old
// and the new way to say the same thing, each repeat the other.
func (j *Job) appendListJSON(dst []byte, d dialect) []byte {
	shown := *j
	switch {
	case len(j.Fetch) > 0:
		shown.URIs = make([]string, len(j.Fetch))
		for i, f := range j.Fetch {
			shown.URIs[i] = f.URI
		}
		if d == dialect2 && slices.EqualFunc(j.Fetch, echoOf(shown.URIs, d), sameFetch) {
			// Posted back, it would be taken for uris, and those are extracted. ownFetch recognizes this mark.
			shown.Fetch = slices.Clone(j.Fetch)
			shown.Fetch[0].Extra = `,"output_file":""`
		}
	case len(j.URIs) > 0:
		shown.Fetch = echoOf(j.URIs, d)
	}
	return shown.appendJSON(dst, d)
}

// echoOf is the fetch that a listing makes of uris. 2.5 showed extract as false, though uris were extracted.
func echoOf(uris []string, d dialect) []Fetch {
	fetches := make([]Fetch, len(uris))
	for i, uri := range uris {
		fetches[i] = Fetch{URI: uri, Extract: d != dialect2}
	}
	return fetches
}

func (c *Container) appendJSON(dst []byte, d dialect) []byte {
	kind := c.Type
	if d == dialect2 && kind == "DOCKER" {
		kind = "docker"
	}
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, kind)
	dst = appendText(dst, "image", c.Image)
	dst = appendText(dst, "network", c.Network)
	dst = appendTextIfAny(dst, "networkName", c.NetworkName)
	if d != dialect2 || len(c.NetworkInfos) > 0 {
		dst = appendList(dst, "networkInfos", c.NetworkInfos, appendNetworkInfo)
	}
	dst = appendList(dst, "volumes", c.Volumes, appendVolume)
	dst = appendBool(dst, "forcePullImage", c.ForcePullImage)
	dst = appendList(dst, "parameters", c.Parameters, appendLabel)
	return append(append(dst, c.Extra...), '}')
}

func appendFetch(dst []byte, f Fetch) []byte {
	dst = append(dst, `{"uri":`...)
	dst = appendString(dst, f.URI)
	dst = appendBool(dst, "executable", f.Executable)
	dst = appendBool(dst, "cache", f.Cache)
	dst = appendBool(dst, "extract", f.Extract)
	dst = appendTextIfAny(dst, "output_file", f.OutputFile)
	return append(append(dst, f.Extra...), '}')
}

func appendEnvVar(dst []byte, e EnvVar) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, e.Name)
	return append(appendText(dst, "value", e.Value), '}')
}

func appendConstraint(dst []byte, c Constraint) []byte {
	dst = appendString(append(dst, '['), c.Attribute)
	dst = appendString(append(dst, ','), c.Operator)
	dst = appendString(append(dst, ','), c.Value)
	return append(dst, ']')
}

func appendLabel(dst []byte, l Label) []byte {
	dst = append(dst, `{"key":`...)
	dst = appendString(dst, l.Key)
	return append(appendText(dst, "value", l.Value), '}')
}

func appendNetworkInfo(dst []byte, n NetworkInfo) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, n.Name)
	dst = appendTextIfAny(dst, "protocol", n.Protocol)
	dst = appendList(dst, "labels", n.Labels, appendLabel)
	dst = appendList(dst, "portMappings", n.PortMappings, appendPortMapping)
	return append(append(dst, n.Extra...), '}')
}

// appendPortMapping writes the ports as strings, as 3.0 does.
func appendPortMapping(dst []byte, p PortMapping) []byte {
	dst = append(dst, `{"hostPort":"`...)
	dst = strconv.AppendInt(dst, int64(p.HostPort), 10)
	dst = append(dst, `","containerPort":"`...)
	dst = strconv.AppendInt(dst, int64(p.ContainerPort), 10)
	dst = append(dst, '"')
	return append(appendTextIfAny(dst, "protocol", p.Protocol), '}')
}

func appendVolume(dst []byte, v Volume) []byte {
	dst = append(dst, '{')
	if v.HostPath != "" {
		dst = append(appendString(append(dst, `"hostPath":`...), v.HostPath), ',')
	}
	dst = appendString(append(dst, `"containerPath":`...), v.ContainerPath)
	dst = appendTextIfAny(dst, "mode", v.Mode)
	if e := v.External; e != nil {
		dst = appendString(append(dst, `,"external":{"name":`...), e.Name)
		dst = appendText(dst, "provider", e.Provider)
		dst = append(appendList(dst, "options", e.Options, appendLabel), '}')
	}
	return append(append(dst, v.Extra...), '}')
}
