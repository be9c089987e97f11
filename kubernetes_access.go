package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// kubeScheme begins a --master that names an API server or a kubeconfig.
const kubeScheme = "k8s://"

// isKubernetes reports whether --master means Kubernetes.
func isKubernetes(master string) bool {
	return master == "k8s" || strings.HasPrefix(master, kubeScheme)
}

// serviceAccountDir is where a pod finds who it is.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// kubeWhere finds the API server that --master names: k8s for the one of the pod that this program runs in,
// k8s://host:port with a token from a file, or k8s:///path/to/kubeconfig.
func kubeWhere(master, tokenFile, caFile string, environ func(string) (string, bool)) (kubeAccess, error) {
	rest := strings.TrimPrefix(master, kubeScheme)
	switch {
	case master == "k8s":
		return podAccess(serviceAccountDir, environ)
	case strings.HasPrefix(rest, "/"):
		return readKubeconfig(rest)
	}
	access := kubeAccess{server: "https://" + rest}
	if tokenFile != "" {
		access.token = freshToken(tokenFile)
	}
	roots, err := rootsFrom(caFile, nil)
	access.tls = &tls.Config{RootCAs: roots}
	return access, err
}

// podAccess is what the pod that this program runs in may do.
func podAccess(dir string, environ func(string) (string, bool)) (kubeAccess, error) {
	host, _ := environ("KUBERNETES_SERVICE_HOST")
	port, _ := environ("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return kubeAccess{}, errors.New("k8s means the cluster of the pod that this program runs in, and it runs in none " +
			"(KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set); from outside, give k8s:///path/to/kubeconfig or k8s://host:port")
	}
	namespace, err := os.ReadFile(filepath.Join(dir, "namespace"))
	if err != nil {
		return kubeAccess{}, fmt.Errorf("read the pod's namespace: %w", err)
	}
	roots, err := rootsFrom(filepath.Join(dir, "ca.crt"), nil)
	if err != nil {
		return kubeAccess{}, err
	}
	token := freshToken(filepath.Join(dir, "token"))
	if _, err := token(); err != nil {
		return kubeAccess{}, fmt.Errorf("read the pod's token (has it automountServiceAccountToken: false?): %w", err)
	}
	return kubeAccess{
		server: "https://" + net.JoinHostPort(host, port), tls: &tls.Config{RootCAs: roots}, token: token,
		namespace: strings.TrimSpace(string(namespace)),
	}, nil
}

// freshToken returns what a file says, which it reads again when it has changed: tokens are replaced every hour or so.
func freshToken(file string) func() (string, error) {
	var mu sync.Mutex
	var token string
	var changed time.Time
	return func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(file)
		if err == nil && info.ModTime().Equal(changed) && token != "" {
			return token, nil
		}
		text, err := os.ReadFile(file)
		if err != nil && token != "" {
			return token, nil // it is about to be replaced
		}
		if err != nil {
			return "", err
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return "", fmt.Errorf("%s is empty", file)
		}
		if info != nil {
			changed = info.ModTime()
		}
		return token, nil
	}
}

// rootsFrom returns the certificates of a file or of PEM text; nil for the system's.
func rootsFrom(file string, text []byte) (*x509.CertPool, error) {
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("read the API server's CA: %w", err)
		}
	}
	if len(text) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("the API server's CA has no certificate in it")
	}
	return pool, nil
}

// A kubeconfig is a kubeconfig file.
type kubeconfig struct {
	dir  string // to which its relative paths are relative
	root jsonObject
}

// readKubeconfig reads who and where the current context of a kubeconfig is.
func readKubeconfig(file string) (kubeAccess, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return kubeAccess{}, fmt.Errorf("read kubeconfig: %w", err)
	}
	value, err := parseYAML(string(text))
	if err != nil {
		return kubeAccess{}, fmt.Errorf("read kubeconfig %q: %w", file, err)
	}
	root, ok := value.(jsonObject)
	if !ok {
		return kubeAccess{}, fmt.Errorf("kubeconfig %q is no object", file)
	}
	access, err := (&kubeconfig{dir: filepath.Dir(file), root: root}).access()
	if err != nil {
		return kubeAccess{}, fmt.Errorf("kubeconfig %q: %w", file, err)
	}
	return access, nil
}

func (k *kubeconfig) access() (kubeAccess, error) {
	current := textAt(k.root, "current-context")
	context, err := k.named("contexts", "context", current)
	if err != nil {
		return kubeAccess{}, err
	}
	cluster, err := k.named("clusters", "cluster", textAt(context, "cluster"))
	if err != nil {
		return kubeAccess{}, err
	}
	user := jsonObject{}
	if name := textAt(context, "user"); name != "" {
		if user, err = k.named("users", "user", name); err != nil {
			return kubeAccess{}, err
		}
	}
	access := kubeAccess{server: strings.TrimRight(textAt(cluster, "server"), "/"), namespace: textAt(context, "namespace")}
	if !strings.HasPrefix(access.server, "https://") && !strings.HasPrefix(access.server, "http://") {
		return kubeAccess{}, fmt.Errorf("its server is %q, want https://host:port", access.server)
	}
	if access.tls, err = k.tls(cluster, user); err != nil {
		return kubeAccess{}, err
	}
	access.token, err = k.token(user)
	return access, err
}

// named finds an entry of one of the lists.
func (k *kubeconfig) named(list, key, name string) (jsonObject, error) {
	if name == "" {
		return nil, fmt.Errorf("it names no %s", cmp.Or(map[string]string{"contexts": "current-context"}[list], key))
	}
	items, _ := k.root[list].([]any)
	for _, item := range items {
		if item, ok := item.(jsonObject); ok && textAt(item, "name") == name {
			entry, _ := item[key].(jsonObject)
			return entry, nil
		}
	}
	return nil, fmt.Errorf("it has no %s %q", key, name)
}

// textAt is a member as a text, "" if there is none.
func textAt(o jsonObject, key string) string {
	switch v := o[key].(type) {
	case string:
		return v
	case bool, int64:
		return fmt.Sprint(v)
	}
	return ""
}

// material returns what a key names: the data itself, or a file with it.
func (k *kubeconfig) material(o jsonObject, key string) ([]byte, error) {
	if data := textAt(o, key+"-data"); data != "" {
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("%s-data: %w", key, err)
		}
		return text, nil
	}
	if file := textAt(o, key); file != "" {
		return os.ReadFile(k.path(file))
	}
	return nil, nil
}

func (k *kubeconfig) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(k.dir, file)
}

func (k *kubeconfig) tls(cluster, user jsonObject) (*tls.Config, error) {
	ca, err := k.material(cluster, "certificate-authority")
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: textAt(cluster, "tls-server-name"), InsecureSkipVerify: textAt(cluster, "insecure-skip-tls-verify") == "true"}
	if config.RootCAs, err = rootsFrom("", ca); err != nil {
		return nil, err
	}
	certificate, err := k.material(user, "client-certificate")
	if err != nil || certificate == nil {
		return config, err
	}
	key, err := k.material(user, "client-key")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// token returns the token of a user. Programs that would make one are not run.
func (k *kubeconfig) token(user jsonObject) (func() (string, error), error) {
	for _, key := range []string{"exec", "auth-provider"} {
		if user[key] != nil {
			return nil, fmt.Errorf("its user logs in by a program (%s), which this one does not run: "+
				"make a service account for it, and give a kubeconfig with the account's token", key)
		}
	}
	if textAt(user, "username") != "" {
		return nil, errors.New("its user logs in with a password, which API servers no longer take: give a token or a client certificate")
	}
	if file := textAt(user, "tokenFile"); file != "" {
		return freshToken(k.path(file)), nil
	}
	token := textAt(user, "token")
	if token == "" {
		return nil, nil
	}
	return func() (string, error) { return token, nil }, nil
}
