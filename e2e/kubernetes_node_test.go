package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// kubeImage is the image of this program that the node has. Jobs run in it too: it has a shell.
const kubeImage = "localhost/chronos:1"

// A kubeNode is a whole Kubernetes of one node on loopback, which kubernetes.sh starts.
type kubeNode struct {
	bin, dir   string
	kubeconfig string
	api        int // port
}

// startKubernetes starts one, which ends with the test. Without what it takes the test is skipped.
func startKubernetes(t *testing.T) *kubeNode {
	t.Helper()
	bin := os.Getenv("CHRONOS_TEST_KUBERNETES")
	switch {
	case !*longTorture:
		t.Skip("needs -torture, and a folder in CHRONOS_TEST_KUBERNETES that kubernetes.sh build has filled")
	case bin == "":
		t.Skip("a real Kubernetes is not tested: CHRONOS_TEST_KUBERNETES names no folder that kubernetes.sh build has filled")
	case os.Geteuid() != 0:
		t.Skip("a real Kubernetes is not tested: a node needs root")
	case raceDetector:
		t.Skip("a real Kubernetes is not tested: its image takes the program as it is shipped, without the race detector")
	}
	for _, program := range []string{"containerd", "ctr", "runc", "iptables", "conntrack", "busybox", "openssl", "curl", "/usr/lib/cni/bridge"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("a real Kubernetes is not tested: there is no %s (Debian: containerd runc containernetworking-plugins iptables conntrack busybox-static openssl curl)", program)
		}
	}
	dir, err := os.MkdirTemp("", "kubernetes") // and not the test's own: names of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	n := &kubeNode{bin: bin, dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig")}
	t.Cleanup(func() {
		if t.Failed() {
			n.keepLogs(t)
		}
		n.script(t, "stop", dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	words := []string{"start", bin, dir}
	for i := range 7 {
		port := zktest.FreePort()
		words = append(words, fmt.Sprint(port))
		if i == 2 {
			n.api = port
		}
	}
	n.script(t, words...)
	n.script(t, "image", dir, kubeImage, imageRoot(t), "/usr/bin/chronos")
	return n
}

// keepLogs puts the logs of the node's parts where the test's other files are.
func (n *kubeNode) keepLogs(t *testing.T) {
	logs, _ := filepath.Glob(filepath.Join(n.dir, "*.log"))
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err == nil {
			err = os.WriteFile(filepath.Join(t.ArtifactDir(), filepath.Base(log)), text, 0o600)
		}
		if err != nil {
			t.Log(err)
		}
	}
}

// imageRoot has the files of an image of this program, as the Dockerfile has them.
func imageRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"bin", "usr/bin", "etc", "tmp", "data"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{busybox: "bin/busybox", program(): "usr/bin/chronos"} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(root, to), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, applet := range []string{"sh", "cat", "cut", "date", "echo", "head", "ls", "seq", "sleep", "tail", "true"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// script runs kubernetes.sh.
func (n *kubeNode) script(t testing.TB, words ...string) {
	t.Helper()
	cmd := exec.Command("./kubernetes.sh", words...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.Stdout = &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubernetes.sh %s: %v\n%s", strings.Join(words, " "), err, &complaint)
	}
}

func (n *kubeNode) begin(t *testing.T, part string) { t.Helper(); n.script(t, "begin", n.dir, part) }

func (n *kubeNode) end(t *testing.T, part, signal string) {
	t.Helper()
	n.script(t, "end", n.dir, part, signal)
}

// kubectl does something to the cluster behind the program's back.
func (n *kubeNode) kubectl(t *testing.T, words ...string) string {
	t.Helper()
	return n.kubectlWith(t, nil, words...)
}

// kubectlWith gives kubectl a document.
func (n *kubeNode) kubectlWith(t *testing.T, document io.Reader, words ...string) string {
	t.Helper()
	out, err := n.tryKubectl(document, words...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(words, " "), err)
	}
	return out
}

func (n *kubeNode) tryKubectl(document io.Reader, words ...string) (string, error) {
	cmd := exec.Command(filepath.Join(n.bin, "kubectl"), append([]string{"--kubeconfig", n.kubeconfig}, words...)...)
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = document, &complaint
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(err, errors.New(complaint.String()))
	}
	return string(out), err
}

// apply makes objects.
func (n *kubeNode) apply(t *testing.T, words []string, objects ...any) {
	t.Helper()
	var documents bytes.Buffer
	out := json.NewEncoder(&documents)
	for _, o := range objects {
		if err := out.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	n.kubectlWith(t, &documents, append([]string{"apply", "-f", "-"}, words...)...)
}
