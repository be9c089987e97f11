package main

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendJSON appends the job's document, compact and on one line. The order of
// the keys is that of the JVM versions:
//
//   - dialect2 is what 2.5 writes. What 2.5 could not express (a MESOS container,
//     networkName, networkInfos, external volumes, output_file) shows only where
//     it is in use, so that such a job survives being read and posted back.
//   - dialect3 is what 3.0's last state writes.
//   - dialectStored is dialect3 with epsilon after shell and async after
//     description. Every JVM version reads it.
//
// Keys that this program does not know come last.
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
	dst = appendList(dst, "environmentVariables", j.Env, appendEnvVar)
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
	for _, f := range j.Extra {
		dst = append(append(appendString(append(dst, ','), f.Key), ':'), f.Value...)
	}
	return append(dst, '}')
}

// appendCommand appends what the job runs and whose it is.
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

// appendHistory appends the counters that stand together.
func (j *Job) appendHistory(dst []byte) []byte {
	dst = appendInt(dst, "successCount", j.SuccessCount)
	dst = appendInt(dst, "errorCount", j.ErrorCount)
	dst = appendText(dst, "lastSuccess", j.LastSuccess)
	return appendText(dst, "lastError", j.LastError)
}

// appendListJSON appends the job as GET jobs shows it: uris and fetch, the old
// and the new way to say the same, each stand in for the other.
func (j *Job) appendListJSON(dst []byte, d dialect) []byte {
	shown := *j
	switch {
	case len(j.Fetch) > 0:
		shown.URIs = make([]string, len(j.Fetch))
		for i, f := range j.Fetch {
			shown.URIs[i] = f.URI
		}
	case len(j.URIs) > 0:
		shown.Fetch = make([]Fetch, len(j.URIs))
		for i, uri := range j.URIs {
			shown.Fetch[i] = Fetch{URI: uri, Extract: d != dialect2}
		}
	}
	return shown.appendJSON(dst, d)
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

// appendKey appends a comma and a key that needs no escapes.
func appendKey(dst []byte, key string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendText(dst []byte, key, s string) []byte {
	return appendString(appendKey(dst, key), s)
}

func appendTextIfAny(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return appendText(dst, key, s)
}

func appendBool(dst []byte, key string, b bool) []byte {
	return strconv.AppendBool(appendKey(dst, key), b)
}

func appendInt(dst []byte, key string, n int64) []byte {
	return strconv.AppendInt(appendKey(dst, key), n, 10)
}

// appendDouble appends f as Jackson writes it: what JSON has no number for is
// a string.
func appendDouble(dst []byte, key string, f float64) []byte {
	dst = appendKey(dst, key)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendString(dst, javaDouble(f))
	}
	return appendJavaDouble(dst, f)
}

func appendList[T any](dst []byte, key string, items []T, item func([]byte, T) []byte) []byte {
	dst = append(appendKey(dst, key), '[')
	for i, it := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item(dst, it)
	}
	return append(dst, ']')
}

// appendString appends s as Jackson writes a string: escapes for the quote, the
// backslash and control characters only. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// javaDouble returns f as Java's Double.toString prints it: 128.0, 1.0E7, 9.9E-4.
func javaDouble(f float64) string { return string(appendJavaDouble(nil, f)) }

func appendJavaDouble(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case abs == 0 || abs >= 1e-3 && abs < 1e7:
		start := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		return appendFraction(dst, start)
	}
	var buf [32]byte
	digits, exponent, _ := strings.Cut(string(strconv.AppendFloat(buf[:0], f, 'e', -1, 64)), "e")
	start := len(dst)
	dst = appendFraction(append(dst, digits...), start)
	n, _ := strconv.Atoi(exponent) // strconv's own output
	return strconv.AppendInt(append(dst, 'E'), int64(n), 10)
}

// appendFraction appends .0 if the number from start on has no fraction.
func appendFraction(dst []byte, start int) []byte {
	for _, c := range dst[start:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, '.', '0')
}
