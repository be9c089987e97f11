package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestKubernetesManifests holds what is to be applied against this program: its options are known, what kustomizations name is
// there, and the role has the rights that the code uses, and no others.
func TestKubernetesManifests(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("deploy/kubernetes/*/*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatalf("manifests: %q, %v", files, err)
	}
	var kinds []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			value, err := parseYAML(document)
			o, ok := value.(jsonObject)
			if err != nil || !ok {
				t.Fatalf("%s: %v", file, err)
			}
			kinds = append(kinds, textAt(o, "kind"))
			switch textAt(o, "kind") {
			case "Kustomization":
				for _, resource := range o["resources"].([]any) {
					if _, err := os.Stat(filepath.Join(filepath.Dir(file), resource.(string))); err != nil {
						t.Errorf("%s: %v", file, err)
					}
				}
			case "StatefulSet", "Deployment":
				template := objectAt(objectAt(o, "spec"), "template")
				spec := objectAt(template, "spec")
				container := spec["containers"].([]any)[0].(jsonObject)
				var args []string
				for _, a := range container["args"].([]any) {
					args = append(args, a.(string))
				}
				f := mustParseFlags(t, strings.Join(args, " "))
				if f.master != "k8s" || f.fileStore() != (textAt(o, "kind") == "StatefulSet") {
					t.Errorf("%s: --master %s, state in a file %t", file, f.master, f.fileStore())
				}
				if spec["enableServiceLinks"] != false {
					t.Errorf("%s: the Service chronos gives it variables like CHRONOS_PORT", file)
				}
				if spec["serviceAccountName"] != "chronos" {
					t.Errorf("%s: it runs as %v, to whom no rights are given", file, spec["serviceAccountName"])
				}
			case "Role":
				if got := string(mustJSON(o["rules"])); got != `[{"apiGroups":[""],"resources":["pods"],"verbs":["create","get","list","watch","patch","delete"]},{"apiGroups":[""],"resources":["pods/log"],"verbs":["get"]}]` {
					t.Errorf("the role's rules are %s", got)
				}
			case "ClusterRole":
				if got := string(mustJSON(o["rules"])); got != `[{"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}]` {
					t.Errorf("the cluster role's rules are %s", got)
				}
			}
		}
	}
	for _, want := range []string{"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "StatefulSet", "Deployment", "PodDisruptionBudget", "Service"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// kubectl apply -f of a whole directory would take a kustomization for an object, and fail.
func TestManifestsAreAppliedByFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	applied := regexp.MustCompile(`-([fk]) (deploy/\S+)`).FindAllStringSubmatch(string(text), -1)
	if len(applied) < 3 {
		t.Fatalf("docs/kubernetes.md applies %q", applied)
	}
	for _, a := range applied {
		info, err := os.Stat(a[2])
		if err != nil {
			t.Error(err)
		} else if info.IsDir() != (a[1] == "k") {
			t.Errorf("docs/kubernetes.md applies -%s %s", a[1], a[2])
		}
	}
}

// Every key of jobs that tasks are made of is in the table of docs/kubernetes.md, and every option of Kubernetes.
func TestKubernetesIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range defaultFlags().kubernetesOptions() {
		if !strings.Contains(string(text), "`--"+o.name+"`") {
			t.Errorf("--%s is not in docs/kubernetes.md", o.name)
		}
	}
	keys := regexp.MustCompile("`([a-zA-Z.]+)`").FindAllStringSubmatch(string(text), -1)
	for _, want := range []string{"schedule", "command", "arguments", "cpus", "mem", "disk", "environmentVariables", "container.image", "container.network", "container.volumes", "container.parameters",
		"uris", "fetch", "runAsUser", "constraints", "highPriority", "maxCompletionTime", "killGrace", "executor", "secrets"} {
		if !slices.ContainsFunc(keys, func(k []string) bool { return k[1] == want }) {
			t.Errorf("the key %s is not in docs/kubernetes.md", want)
		}
	}
}
