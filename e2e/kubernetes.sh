#!/usr/bin/env bash
# A real Kubernetes node on loopback, for TestTortureKubernetes.
#
#   kubernetes.sh build BIN                  build Kubernetes, kubectl and etcd from their Go modules into a folder, if they are not there
#   kubernetes.sh start BIN DIR PORT...      start a node, whose files are in DIR, on seven free ports; as root
#   kubernetes.sh image DIR NAME ROOT [CMD]  have the node know an image with the files of ROOT
#   kubernetes.sh end|begin DIR PART [SIGNAL]  end a part of it, or start it again: etcd api kubelet scheduler controllers containerd
#   kubernetes.sh stop DIR                   end it, and all that it runs
#
# start needs containerd, runc, containernetworking-plugins, iptables, conntrack, openssl and curl, and leaves a kubeconfig in DIR.
set -euo pipefail

kubernetes=1.36.3
etcd=3.5.21
token=chronos-test

build() {
	local bin=$1 work program description
	if [ "$(cat "$bin/built" 2>/dev/null)" = "$kubernetes $etcd" ]; then
		return
	fi
	mkdir -p "$bin"
	bin=$(cd "$bin" && pwd)
	work=$(mktemp -d)
	# shellcheck disable=SC2064
	trap "rm -rf '$work'" EXIT
	export CGO_ENABLED=0 GOFLAGS='-mod=mod -trimpath'
	mkdir "$work/etcd" "$work/kubernetes"
	cd "$work/etcd"
	printf 'module build\n\nrequire go.etcd.io/etcd/server/v3 v%s\n' "$etcd" >go.mod
	go build -ldflags '-s -w' -o "$bin/etcd" go.etcd.io/etcd/server/v3
	cd "$work/kubernetes"
	# Its parts are modules whose versions it takes from its own folders.
	description=$(cd "$work" && GOFLAGS='' go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -nE 's/.*"GoMod": "(.*)".*/\1/p')
	{
		printf 'module build\n\nrequire k8s.io/kubernetes v%s\n\n' "$kubernetes"
		sed -nE "s#.*(k8s\.io/[a-z0-9-]+) => \./staging/.*#replace \1 => \1 v0.${kubernetes#1.}#p" "$description"
	} >go.mod
	for program in kube-apiserver kube-scheduler kube-controller-manager kubelet kubectl; do
		go build -ldflags '-s -w' -o "$bin/$program" "k8s.io/kubernetes/cmd/$program"
	done
	echo "$kubernetes $etcd" >"$bin/built"
}

# begin starts a part, which goes on when this script has ended.
begin() {
	local command
	case $1 in
	etcd)
		command=("$BIN/etcd" --data-dir etcd --listen-client-urls "http://127.0.0.1:$ETCD" --advertise-client-urls "http://127.0.0.1:$ETCD"
			--listen-peer-urls "http://127.0.0.1:$PEER" --initial-advertise-peer-urls "http://127.0.0.1:$PEER" --initial-cluster "default=http://127.0.0.1:$PEER")
		;;
	api)
		command=("$BIN/kube-apiserver" --etcd-servers="http://127.0.0.1:$ETCD" --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key
			--service-account-issuer=https://kubernetes.default --service-cluster-ip-range=10.96.0.0/16 --bind-address=127.0.0.1 --secure-port="$API"
			--cert-dir=certs --token-auth-file=tokens.csv --authorization-mode=RBAC --kubelet-preferred-address-types=Hostname)
		;;
	controllers)
		command=("$BIN/kube-controller-manager" --kubeconfig kubeconfig --secure-port "$CONTROLLERS" --leader-elect=false
			--service-account-private-key-file=sa.key --root-ca-file=certs/apiserver.crt --use-service-account-credentials)
		;;
	scheduler) command=("$BIN/kube-scheduler" --kubeconfig kubeconfig --secure-port "$SCHEDULER" --leader-elect=false) ;;
	containerd) command=(containerd -c containerd.toml) ;;
	kubelet) command=("$BIN/kubelet" --config kubelet.yaml --kubeconfig kubeconfig --hostname-override localhost --root-dir "$PWD/kubelet") ;;
	*) echo "there is no part $1" >&2; exit 2 ;;
	esac
	setsid "${command[@]}" >>"$1.log" 2>&1 </dev/null &
	echo $! >"$1.pid"
}

# end ends a part, and waits until it has.
end() {
	local pid
	pid=$(cat "$1.pid" 2>/dev/null) || return 0
	kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
	for _ in $(seq 100); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -s KILL "$pid" 2>/dev/null || true
	rm -f "$1.pid"
}

# await asks the API server until its answer has a text in it.
await() {
	for _ in $(seq 600); do
		if curl -sk -H "Authorization: Bearer $token" "https://127.0.0.1:$API$1" | grep -q "$2"; then
			return
		fi
		sleep 0.2
	done
	echo "https://127.0.0.1:$API$1 does not answer $2; the logs are in $PWD" >&2
	return 1
}

# snapshotter names the way in which containers get their files: all of them copied where a mount can't lay one over the other.
snapshotter() {
	mkdir lower upper work merged
	if mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged 2>/dev/null; then
		umount merged
		echo overlayfs
	else
		echo native
	fi
}

write_configuration() {
	openssl genrsa -out sa.key 2048 2>/dev/null
	openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
	echo "$token,admin,1,system:masters" >tokens.csv
	cat >kubeconfig <<-Q
		apiVersion: v1
		kind: Config
		clusters: [{name: c, cluster: {server: "https://127.0.0.1:$API", insecure-skip-tls-verify: true}}]
		users: [{name: u, user: {token: $token}}]
		contexts: [{name: x, context: {cluster: c, user: u}}]
		current-context: x
	Q
	mkdir -p cni
	cat >cni/10.conflist <<-Q
		{"cniVersion": "0.4.0", "name": "n", "plugins": [{"type": "bridge", "bridge": "chr$API", "isGateway": true, "ipMasq": false,
		 "ipam": {"type": "host-local", "subnet": "10.88.77.0/24", "dataDir": "$PWD/cni-addresses"}}]}
	Q
	# Where this machine is itself a container, what belongs to its host can't be lowered.
	cat >containerd.toml <<-Q
		version = 2
		root = "$PWD/containerd-root"
		state = "$PWD/containerd-state"
		[grpc]
		  address = "$PWD/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  restrict_oom_score_adj = true
		  sandbox_image = "localhost/pause:1"
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "$(snapshotter)"
		    default_runtime_name = "runc"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/usr/lib/cni"
		    conf_dir = "$PWD/cni"
	Q
	cat >kubelet.yaml <<-Q
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		failCgroupV1: false
		failSwapOn: false
		cgroupDriver: cgroupfs
		containerRuntimeEndpoint: unix://$PWD/containerd.sock
		authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		address: 127.0.0.1
		port: $KUBELET
		readOnlyPort: 0
		healthzPort: $HEALTH
		resolvConf: ""
		clusterDNS: ["10.96.0.10"]
		maxPods: 250
		podLogsDir: $PWD/logs
		imageGCHighThresholdPercent: 100 # the images of the test come from nowhere else
		evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%"}
	Q
}

start() {
	BIN=$(cd "$1" && pwd)
	cd "$2"
	shift 2
	cat >node <<-Q
		BIN=$BIN ETCD=$1 PEER=$2 API=$3 KUBELET=$4 HEALTH=$5 SCHEDULER=$6 CONTROLLERS=$7
	Q
	source ./node
	write_configuration
	begin etcd
	begin api
	begin containerd
	for _ in $(seq 100); do
		ctr -a containerd.sock version >/dev/null 2>&1 && break
		sleep 0.1
	done
	mkdir -p pause/bin
	cp "$(command -v busybox)" pause/bin/busybox
	image localhost/pause:1 pause /bin/busybox sleep 1000000000
	await /readyz '^ok'
	begin controllers
	begin scheduler
	begin kubelet
	await /api/v1/nodes/localhost '"reason": "KubeletReady"'
	await /api/v1/namespaces/default/serviceaccounts/default '"uid"'
}

# image packs files as docker does, in one layer, and hands them to containerd.
image() {
	local name=$1 root=$2 pack words
	shift 2
	pack=$(mktemp -d)
	tar --numeric-owner --owner=0 --group=0 -C "$root" -cf "$pack/layer.tar" .
	words=$(printf '"%s",' "$@")
	printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/usr/bin:/bin"],"Entrypoint":[%s]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(go env GOARCH)" "${words%,}" "$(sha256sum "$pack/layer.tar" | cut -d' ' -f1)" >"$pack/config.json"
	printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$pack/manifest.json"
	tar -C "$pack" -cf "$pack.tar" manifest.json config.json layer.tar
	ctr -a "$PWD/containerd.sock" -n k8s.io images import --snapshotter "$(sed -n 's/.*snapshotter = "\(.*\)"/\1/p' containerd.toml)" "$pack.tar" >/dev/null
	rm -rf "$pack" "$pack.tar"
}

stop() {
	local part task
	for part in kubelet scheduler controllers api etcd; do
		end "$part"
	done
	for task in $(ctr -a "$PWD/containerd.sock" -n k8s.io tasks ls -q 2>/dev/null); do
		ctr -a "$PWD/containerd.sock" -n k8s.io tasks kill -s 9 "$task" 2>/dev/null || true
	done
	for _ in $(seq 50); do # until each is reaped
		ctr -a "$PWD/containerd.sock" -n k8s.io tasks ls 2>/dev/null | grep -q RUNNING || break
		sleep 0.1
	done
	for task in $(ctr -a "$PWD/containerd.sock" -n k8s.io tasks ls -q 2>/dev/null); do
		ctr -a "$PWD/containerd.sock" -n k8s.io tasks delete -f "$task" >/dev/null 2>&1 || true
	done
	end containerd
	awk -v d="$PWD/" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l
	ip link delete "chr$API" 2>/dev/null || true
}

case ${1:-} in
build) build "$2" ;;
start) shift; start "$@" ;;
image | begin | end | stop)
	what=$1
	cd "$2"
	shift 2
	source ./node
	"$what" "$@"
	;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
