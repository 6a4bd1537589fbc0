package airgap

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Texts of the node image that kind's sources do not have.
var (
	//go:embed images/node-rootfs.sh
	nodeRootfsHook string
	//go:embed images/node-cni.conflist
	nodeCNI string
	//go:embed images/node-default-cni.yaml
	nodeDefaultCNI string
	//go:embed images/node-default-storage.yaml
	nodeDefaultStorage string
	//go:embed images/iptables-as-kubelet.sh
	iptablesAsKubelet string
)

// nodePackages are those of kind's images/base/Dockerfile, less what rootless
// clusters and network storage need.
var nodePackages = []string{
	"systemd",
	"conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod",
	"libseccomp2", "pigz",
	"e2fsprogs",
	"bash", "ca-certificates", "curl", "jq", "procps",
}

// proxyPackages are the bare files that kube-proxy runs beside itself.
var proxyPackages = []string{
	"dash", "grep", "libc6", "libpcre2-8-0",
	"iptables", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libxtables12",
	"nftables", "libnftables1", "libedit2", "libbsd0", "libmd0", "libtinfo6", "libgmp10", "libjansson4",
}

// nodeLinks are what `systemctl enable` and `mask` do in kind's Dockerfile.
var nodeLinks = links{
	"etc/systemd/system/multi-user.target.wants/kubelet.service":          "/etc/systemd/system/kubelet.service",
	"etc/systemd/system/multi-user.target.wants/containerd.service":       "/etc/systemd/system/containerd.service",
	"etc/systemd/system/multi-user.target.wants/undo-mount-hacks.service": "/etc/systemd/system/undo-mount-hacks.service",
	"etc/systemd/system/systemd-binfmt.service":                           "/dev/null",
}

// systemdOneHierarchy keeps systemd out of the cgroup2 hierarchy of a cgroup v1
// host, which no runtime separates: all nodes of an engine would share their
// slices there, and a second cluster's kubelet ends at those of the first. On
// a host with nothing but cgroup v2 it says nothing.
const systemdOneHierarchy = "SYSTEMD_PROC_CMDLINE=systemd.legacy_systemd_cgroup_controller=1"

// registryHosts makes containerd read a folder per registry, where a cluster
// says which mirror to ask.
const registryHosts = `
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
`

// kubernetesPrograms are those on the node; kubernetesImages run in pods.
var (
	kubernetesPrograms = []string{"kubelet", "kubeadm", "kubectl"}
	kubernetesImages   = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"}
)

// serveNode adds kind's node image, with the images of Kubernetes itself in its
// containerd, as the official one has them.
func (s *supply) serveNode(goRoot, containerd *Part) {
	k8s := pinned("kubernetes")
	minor := strings.Split(strings.TrimPrefix(k8s.Version, "v"), ".")
	var stamps, packages []string
	for _, version := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		stamps = append(stamps, version+".gitVersion="+k8s.Version, version+".gitMajor="+minor[0], version+".gitMinor="+minor[1], version+".gitTreeState=clean")
	}
	for _, p := range append(kubernetesPrograms, kubernetesImages...) {
		packages = append(packages, "./cmd/"+p)
	}
	kubernetes := moduleBuild{
		path: "k8s.io/kubernetes", version: k8s.Version, folders: stagingVersion(k8s.Version),
		stamps: stamps, packages: packages, files: []string{"build/pause/linux/pause.c"},
	}.part("kubernetes")
	etcd := moduleBuild{path: "go.etcd.io/etcd/server/v3", version: pinned("etcd").Version, packages: []string{"."}}.part("etcd")
	coredns := moduleBuild{path: "github.com/coredns/coredns", version: pinned("coredns").Version, packages: []string{"."}}.part("coredns")
	crictl := moduleBuild{path: "sigs.k8s.io/cri-tools", version: pinned("crictl").Version,
		stamps: []string{"sigs.k8s.io/cri-tools/pkg/version.Version=" + pinned("crictl").Version}, packages: []string{"./cmd/crictl"}}.part("crictl")
	kind := moduleBuild{path: "sigs.k8s.io/kind", version: pinned("kind").Version, files: []string{"images/base/files"}}.part("kind-files")
	plugins := goTool("node-cni", pinned("cni"),
		"github.com/containernetworking/plugins/plugins/main/loopback",
		"github.com/containernetworking/plugins/plugins/main/ptp",
		"github.com/containernetworking/plugins/plugins/main/bridge",
		"github.com/containernetworking/plugins/plugins/meta/portmap",
		"github.com/containernetworking/plugins/plugins/ipam/host-local")
	root := rootfs("node-base", s.tools, "minbase", nodePackages, nodeRootfsHook)
	proxyRoot := rootfs("proxy-rootfs", s.tools, "extract", proxyPackages, `mkdir -p "$1/run" "$1/tmp" && ln -sf dash "$1/bin/sh"`)
	s.serveFlannel(proxyRoot)
	images := nodeImages(kubernetes, etcd, coredns, pause(goRoot, kubernetes), proxyRoot, containerd)

	needs := []*Part{root, kubernetes, crictl, kind, plugins, images, containerd, s.runc}
	s.serve(clusterSet, "image-node-kind", image{
		ref: "docker.io/kindest/node:" + k8s.Version,
		config: v1.Config{
			Entrypoint: []string{"/usr/local/bin/entrypoint", "/sbin/init"},
			Env:        []string{defaultPath, "container=docker", systemdOneHierarchy, "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY="},
			StopSignal: "SIGRTMIN+3",
		},
	}, needs, func(ctx context.Context, w Work) ([]string, error) {
		files := filepath.Join(w.Path(kind), "src/images/base/files")
		top := filepath.Join(w.Scratch, "node")
		if err := nodeFiles(ctx, w, files, top); err != nil {
			return nil, err
		}
		spec, err := criBaseSpec(ctx, filepath.Join(w.Path(containerd), "bin/ctr"))
		if err != nil {
			return nil, err
		}
		copies := map[string]string{
			"usr/local/sbin/runc":  filepath.Join(w.Path(s.runc), "bin/runc"),
			"usr/local/bin/crictl": filepath.Join(w.Path(crictl), "bin/crictl"),
		}
		for _, p := range kubernetesPrograms {
			copies["usr/bin/"+p] = filepath.Join(w.Path(kubernetes), "bin", p)
		}
		for _, p := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
			copies["usr/local/bin/"+p] = filepath.Join(w.Path(containerd), "bin", p)
		}
		for _, p := range []string{"loopback", "ptp", "bridge", "portmap", "host-local"} {
			copies["opt/cni/bin/"+p] = filepath.Join(w.Path(plugins), "bin", p)
		}
		top, err = layer(w, "node", copies, map[string]string{
			"kind/version":                        k8s.Version,
			"kind/manifests/default-cni.yaml":     nodeDefaultCNI,
			"kind/manifests/default-storage.yaml": nodeDefaultStorage,
			"etc/cni/net.d/99-ptp.conflist":       nodeCNI,
			"etc/containerd/cri-base.json":        spec,
			"etc/kubernetes/manifests/.keep":      "",
		}, nodeLinks)
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), top, filepath.Join(w.Path(images), "store.tar")}, err
	}, nodeCNI, nodeDefaultCNI, nodeDefaultStorage, registryHosts, nodeLinks.input())
}

// stagingVersion is the version of the modules that make up a version of
// Kubernetes: v1.37.0 is made of v0.37.0.
func stagingVersion(kubernetes string) string {
	return "v0." + strings.TrimPrefix(kubernetes, "v1.")
}

// nodeFiles lays kind's own files out in root, with the modes that kind's
// Dockerfile gives them.
func nodeFiles(ctx context.Context, w Work, files, root string) error {
	const script = `set -eu
mkdir -p "$2"
cp -r "$1/etc" "$1/kind" "$1/usr" "$2"
find "$2" -type d -exec chmod 0755 {} +
find "$2" -type f -exec chmod 0644 {} +
chmod 0755 "$2"/usr/local/bin/* "$2"/kind/bin/*
`
	if err := (command{argv: []string{"sh", "-c", script, "sh", files, root}, log: w.Log}).run(ctx); err != nil {
		return err
	}
	config := filepath.Join(root, "etc/containerd/config.toml")
	data, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), pauseImage()) {
		return fmt.Errorf("kind's configuration of containerd does not name %s: look at the pin of pause", pauseImage())
	}
	return os.WriteFile(config, append(data, registryHosts...), 0o644)
}

// criBaseSpec is the base of every container's specification on the node: what
// ctr has, less its limits, with kind's hook.
func criBaseSpec(ctx context.Context, ctr string) (string, error) {
	out, err := command{argv: []string{ctr, "oci", "spec"}}.output(ctx)
	if err != nil {
		return "", err
	}
	return withKindHook([]byte(out))
}

// withKindHook is a specification as kind's Dockerfile edits it with jq.
func withKindHook(spec []byte) (string, error) {
	var doc map[string]any
	if err := json.Unmarshal(spec, &doc); err != nil {
		return "", fmt.Errorf("ctr oci spec: %w", err)
	}
	process, ok := doc["process"].(map[string]any)
	if !ok {
		return "", errors.New("ctr oci spec: there is no process in it")
	}
	delete(process, "rlimits")
	hooks, _ := doc["hooks"].(map[string]any)
	if hooks == nil {
		hooks = map[string]any{}
		doc["hooks"] = hooks
	}
	created, _ := hooks["createContainer"].([]any)
	hooks["createContainer"] = append(created, map[string]any{"path": "/kind/bin/mount-product-files.sh"})
	data, err := json.Marshal(doc)
	return string(data), err
}

func pauseImage() string { return "registry.k8s.io/pause:" + pinned("pause").Version }

// pause is the program that holds a pod's namespaces, from its C file.
func pause(goRoot, kubernetes *Part) *Part {
	version := pinned("pause").Version
	argv := []string{"gcc", "-Os", "-Wall", "-Werror", "-static", "-DVERSION=v" + version, "-o", "/out/bin/pause", "/src/pause.c"}
	return &Part{
		Name:   "pause",
		Needs:  []*Part{goRoot, kubernetes},
		Inputs: argv,
		Build: func(ctx context.Context, w Work) error {
			root, err := newChroot(ctx, w, filepath.Join(w.Path(goRoot), "rootfs.tar"))
			if err != nil {
				return err
			}
			if err := os.Mkdir(filepath.Join(w.Out, "bin"), 0o755); err != nil {
				return err
			}
			root.binds["/out"] = w.Out
			root.binds["/src"] = filepath.Join(w.Path(kubernetes), "src/build/pause/linux")
			return errors.Join(root.run(ctx, w, nil, argv...), root.run(ctx, w, nil, "strip", "/out/bin/pause"))
		},
	}
}

// nodeImages is containerd's storage with the images of Kubernetes in it, as
// store.tar: kubeadm finds them there and pulls nothing.
func nodeImages(kubernetes, etcd, coredns, pause, proxyRoot, containerd *Part) *Part {
	k8s := pinned("kubernetes").Version
	type baked struct {
		ref        string
		part       *Part
		program    string
		place      string
		base       *Part
		entrypoint []string
	}
	var list []baked
	for _, name := range kubernetesImages {
		b := baked{ref: "registry.k8s.io/" + name + ":" + k8s, part: kubernetes, program: name, place: "usr/local/bin/" + name}
		if name == "kube-proxy" {
			b.base = proxyRoot
		}
		list = append(list, b)
	}
	list = append(list,
		baked{ref: "registry.k8s.io/etcd:" + strings.TrimPrefix(pinned("etcd").Version, "v") + "-0", part: etcd, program: "server", place: "usr/local/bin/etcd"},
		baked{ref: "registry.k8s.io/coredns/coredns:" + pinned("coredns").Version, part: coredns, program: "coredns", place: "coredns", entrypoint: []string{"/coredns"}},
		baked{ref: pauseImage(), part: pause, program: "pause", place: "pause", entrypoint: []string{"/pause"}},
	)
	inputs := []string{iptablesAsKubelet, proxyLinks.input(), buildContainerd}
	for _, b := range list {
		inputs = append(inputs, b.ref, b.program, b.place, strings.Join(b.entrypoint, " "))
	}
	return &Part{
		Name:   "node-images",
		Needs:  []*Part{kubernetes, etcd, coredns, pause, proxyRoot, containerd},
		Inputs: inputs,
		Build: func(ctx context.Context, w Work) error {
			index, err := layout.Write(filepath.Join(w.Scratch, "images"), empty.Index)
			if err != nil {
				return err
			}
			var refs []string
			for _, b := range list {
				refs = append(refs, b.ref)
				img := image{config: v1.Config{Entrypoint: b.entrypoint, Env: []string{defaultPath}, WorkingDir: "/"}}
				copies := map[string]string{b.place: filepath.Join(w.Path(b.part), "bin", b.program)}
				var texts map[string]string
				var symlinks links
				var layers []string
				if b.base != nil {
					layers = append(layers, filepath.Join(w.Path(b.base), "rootfs.tar"))
					texts, symlinks = map[string]string{"usr/local/sbin/iptables-as-kubelet": iptablesAsKubelet}, proxyLinks
				}
				top, err := layer(w, b.program, copies, texts, symlinks)
				if err != nil {
					return err
				}
				made, err := img.assemble(append(layers, top))
				if err != nil {
					return err
				}
				if err := index.AppendImage(made, layout.WithAnnotations(map[string]string{"io.containerd.image.name": b.ref})); err != nil {
					return err
				}
			}
			archive, err := scratchTar(w, filepath.Join(w.Scratch, "images"), "images.tar")
			if err != nil {
				return err
			}
			store := filepath.Join(w.Scratch, "store")
			if err := importImages(ctx, w, filepath.Join(w.Path(containerd), "bin"), archive, filepath.Join(store, "var/lib/containerd"), refs); err != nil {
				return err
			}
			return tarDir(store, "", filepath.Join(w.Out, "store.tar"))
		},
	}
}

// proxyLinks put the choice of iptables before Debian's.
var proxyLinks = links{
	"usr/local/sbin/iptables":          "iptables-as-kubelet",
	"usr/local/sbin/iptables-save":     "iptables-as-kubelet",
	"usr/local/sbin/iptables-restore":  "iptables-as-kubelet",
	"usr/local/sbin/ip6tables":         "iptables-as-kubelet",
	"usr/local/sbin/ip6tables-save":    "iptables-as-kubelet",
	"usr/local/sbin/ip6tables-restore": "iptables-as-kubelet",
}

// buildContainerd is the configuration of the containerd that fills the
// storage: without the plugins that would leave something outside of it.
const buildContainerd = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.native"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`

// importImages unpacks the images of an OCI archive in a containerd storage at
// root, without keeping the archives of their layers.
func importImages(ctx context.Context, w Work, bin, archive, root string, refs []string) (err error) {
	// Short: a socket's path has 108 bytes at most.
	run, err := os.MkdirTemp("", "ctrd")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	if err := os.MkdirAll(root, 0o711); err != nil {
		return err
	}
	socket := filepath.Join(run, "sock")
	config := filepath.Join(run, "config.toml")
	text := fmt.Sprintf(buildContainerd, root, filepath.Join(run, "state"), socket, socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		// Mounts of its own: they end with it.
		ended <- command{argv: []string{"unshare", "--mount", filepath.Join(bin, "containerd"), "--config", config}, log: w.Log}.run(serving)
	}()
	defer func() { stop(); <-ended }()
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case err := <-ended:
			ended <- nil
			return errors.Join(errors.New("containerd ended at its start"), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	ctr := func(argv ...string) command {
		return command{argv: append([]string{filepath.Join(bin, "ctr"), "--address", socket, "--namespace=k8s.io"}, argv...), log: w.Log}
	}
	for _, argv := range [][]string{
		{"images", "import", "--local", "--label=io.cri-containerd.pinned=pinned", "--discard-unpacked-layers", "--snapshotter=overlayfs", archive},
		// The end of a lease is when containerd collects what nobody refers to.
		{"leases", "create", "--id", "collect"},
		{"leases", "delete", "--sync", "collect"},
	} {
		if err := ctr(argv...).run(ctx); err != nil {
			return err
		}
	}
	list, err := ctr("images", "list", "-q").output(ctx)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !slices.Contains(strings.Fields(list), ref) {
			return fmt.Errorf("containerd has imported %s, and not %s", strings.Join(strings.Fields(list), ", "), ref)
		}
	}
	// Each node makes its own.
	return removeAll(filepath.Join(root, "io.containerd.grpc.v1.introspection"))
}
