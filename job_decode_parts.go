package main

import (
	"slices"
	"strings"
)

// objects hands each element of a list that must be objects to read.
func (d *jobDecoder) objects(list value, path string, read func(o object, at place)) {
	for i, e := range list.elements() {
		at := place{path, i}
		o := e.object()
		if o == nil {
			d.fail(at, "not an object")
			continue
		}
		read(o, at)
	}
}

func (d *jobDecoder) env(list value) []EnvVar {
	var vars []EnvVar
	d.objects(list, "environmentVariables", func(o object, at place) {
		vars = append(vars, EnvVar{d.need(o, "name", at).text(), d.need(o, "value", at).text()})
	})
	return vars
}

// fetch reads the list of fetches. An absent extract means true in every dialect:
// 2.5's false left archives packed that 2.4 had always unpacked (#766).
func (d *jobDecoder) fetch(list value) []Fetch {
	var fetches []Fetch
	d.objects(list, "fetch", func(o object, at place) {
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
			d.fail(place{"constraints", i}, "not a list of attribute, operator and value")
			continue
		}
		c := Constraint{parts[0].text(), parts[1].text(), parts[2].text()}
		if d.from == dialectStored && !slices.Contains(constraintOperators[:], c.Operator) {
			continue
		}
		all = append(all, c)
	}
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
			d.fail(place{path, -1}, `key "image" is missing`)
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
	d.objects(o.get("networkInfos"), path+".networkInfos", func(o object, at place) {
		c.NetworkInfos = append(c.NetworkInfos, d.networkInfo(o, at))
	})
	d.objects(o.get("volumes"), path+".volumes", func(o object, at place) {
		c.Volumes = append(c.Volumes, d.volume(o, at))
	})
	return c
}

// containerType reads DOCKER or MESOS in any case. 2.x did not look at the key.
func (d *jobDecoder) containerType(v value) string {
	switch kind := strings.ToUpper(v.text()); {
	case kind == "DOCKER", kind == "MESOS":
		return kind
	case v != "" && d.from == dialect3:
		d.fail(place{"container.type", -1}, "%q is not one of DOCKER, MESOS", v.text())
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
		d.fail(place{"container.network", -1}, "%q is not one of HOST, BRIDGE, USER", network)
	}
	return "HOST"
}

func (d *jobDecoder) networkInfo(o object, at place) NetworkInfo {
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
	d.objects(o.get("portMappings"), path+".portMappings", func(o object, at place) {
		n.PortMappings = append(n.PortMappings, PortMapping{
			HostPort:      int(d.need(o, "hostPort", at).int32()),
			ContainerPort: int(d.need(o, "containerPort", at).int32()),
			Protocol:      o.get("protocol").text(),
		})
	})
	return n
}

func (d *jobDecoder) volume(o object, at place) Volume {
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
		v.External = d.external(external, place{at.String() + ".external", -1})
	}
	return v
}

func (d *jobDecoder) external(v value, at place) *ExternalVolume {
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
	d.objects(list, path, func(o object, at place) {
		labels = append(labels, Label{d.need(o, "key", at).text(), d.need(o, "value", at).text()})
	})
	return labels
}
