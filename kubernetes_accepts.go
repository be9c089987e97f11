package main

import (
	"errors"
	"fmt"
	"strings"
)

// accepts returns why runs of a job can't start on Kubernetes, whatever is free, nil if they can.
func (k *kubeCluster) accepts(j *Job) error { return k.pods.accepts(j) }

func (o *podOptions) accepts(j *Job) error {
	if j.Executor != "" {
		return &jobError{"executor", errNoPodExecutors.Error()}
	}
	if c := j.Container; c != nil {
		if why := unknownToPods(c); why != "" {
			return &jobError{"container", why}
		}
	}
	task := taskInfo(j, &Run{ID: runID(0, 0, j.Name, ""), Job: j.Name}, placement{})
	_, err := o.podFor("", task, podExtra{})
	var user *userError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &user):
		return &jobError{"runAsUser", err.Error()}
	case errors.Is(err, errNoFetchImage):
		return &jobError{"uris", err.Error()}
	}
	return &jobError{"container", err.Error()}
}

// unknownToPods says what of a container pods can't have, "" for nothing.
func unknownToPods(c *Container) string {
	for _, n := range c.NetworkInfos {
		if len(n.PortMappings) > 0 {
			return "Kubernetes publishes no ports of a pod on its node: make a Service, or use the network HOST, and leave portMappings out"
		}
	}
	if c.Network == "USER" || c.NetworkName != "" || len(c.NetworkInfos) > 0 {
		return "Kubernetes knows no named networks: a pod is in the cluster's network, or in its node's with the network HOST"
	}
	if len(c.Parameters) > 0 {
		return fmt.Sprintf("Kubernetes knows no parameters of docker (%s): what they say belongs into --kubernetes_pod_template", c.Parameters[0].Key)
	}
	for _, v := range c.Volumes {
		if v.External != nil && len(v.External.Options) > 0 {
			return fmt.Sprintf("volume %q: a claim has no options; it names a PersistentVolumeClaim that exists", v.External.Name)
		}
	}
	return ""
}

// differences lists what of a job would be done in another way than on Mesos.
func (o *podOptions) differences(j *Job) (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if j.Container == nil {
		add("has no image: it would run in %s", o.image)
	} else {
		for _, v := range j.Container.Volumes {
			if v.External != nil {
				add("its volume %q would be the PersistentVolumeClaim of that name", v.External.Name)
			} else if strings.HasPrefix(v.HostPath, "/") {
				add("its volume %s would be of the node that it gets (hostPath)", v.HostPath)
			}
		}
		if j.Container.Type != "MESOS" && (j.Container.Network == "" || j.Container.Network == "HOST") {
			add("would share its node's network (hostNetwork)")
		}
	}
	if j.RunAsUser != "" && j.RunAsUser == o.plainUser {
		add("would run as its image's user, not as %s", j.RunAsUser)
	}
	for _, c := range j.Constraints {
		if c.Operator == "EQUALS" || c.Operator == "LIKE" || c.Operator == "UNLIKE" {
			add("its constraint %s %s would be about the label %s of nodes", c.Attribute, c.Operator, nodeLabelOf(c.Attribute))
		}
	}
	if len(j.URIs)+len(j.Fetch) > 0 {
		add("would have its files fetched by a container before it (--kubernetes_fetch_image)")
	}
	return found
}

// A userError is a user whom Kubernetes does not know.
type userError struct{ name string }

func (e *userError) Error() string {
	return fmt.Sprintf("user %q has no number that Kubernetes would know: give runAsUser as a number", e.name)
}
