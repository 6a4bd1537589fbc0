package airgap

import (
	"context"
	_ "embed"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// calicoSet names the images of Calico's manifests/canal.yaml: flannel's network, with policies enforced by Calico.
const calicoSet = "calico"

// calicoRelease is the release whose module is the pin: the proxy serves none of its tags, and of one commit of that
// release under the name of an old plugin's.
const calicoRelease = "v3.28.5"

// calicoAPI is the version of the module that Calico's go.mod replaces by a folder: that of the release line.
const calicoAPI = "github.com/projectcalico/api@v0.0.0-20240708202104-e3f70b269c2c"

// calicoPackages are what Felix runs, and the supervisor of calico-node's services.
var calicoPackages = []string{"runit", "debianutils", "iptables", "ipset", "conntrack", "iproute2", "kmod", "ca-certificates"}

// serveCalico adds Calico. Without cgo it has no eBPF data plane, and no BIRD: canal wants neither.
func (s *supply) serveCalico() {
	pin := pinned("calico")
	calico := moduleBuild{
		path: "github.com/projectcalico/calico", version: pin.Version,
		edits:    []string{"-replace=github.com/projectcalico/api=" + calicoAPI},
		stamps:   []string{"github.com/projectcalico/calico/node/buildinfo.GitVersion=" + calicoRelease},
		packages: []string{"./node/cmd/calico-node", "./cni-plugin/cmd/calico", "./cni-plugin/cmd/install", "./kube-controllers/cmd/kube-controllers", "./kube-controllers/cmd/check-status"},
		files:    []string{"node/filesystem"},
	}.part("calico")
	plugins := goTool("calico-cni-plugins", pinned("cni"),
		"github.com/containernetworking/plugins/plugins/main/loopback",
		"github.com/containernetworking/plugins/plugins/meta/bandwidth",
		"github.com/containernetworking/plugins/plugins/meta/portmap",
		"github.com/containernetworking/plugins/plugins/meta/tuning",
		"github.com/containernetworking/plugins/plugins/ipam/host-local")
	root := rootfs("calico-rootfs", s.tools, "minbase", calicoPackages)
	program := func(w Work, name string) string { return filepath.Join(w.Path(calico), "bin", name) }

	s.serve(calicoSet, "image-calico-node", image{
		ref:    "docker.io/calico/node:" + calicoRelease,
		config: v1.Config{Cmd: []string{"start_runit"}, Env: []string{defaultPath, "SVDIR=/etc/service/enabled"}},
	}, []*Part{root, calico}, func(ctx context.Context, w Work) ([]string, error) {
		top := filepath.Join(w.Scratch, "calico-node")
		for _, argv := range [][]string{
			{"cp", "-r", filepath.Join(w.Path(calico), "src/node/filesystem"), top},
			// Module archives carry no executable bits.
			{"sh", "-c", `find "$1/sbin" "$1/etc/service" "$1/etc/rc.local" -type f -exec chmod 0755 {} +`, "sh", top},
			{"sh", "-c", calicoMerge, "sh", top, program(w, "calico-node")},
		} {
			if err := (command{argv: argv, log: w.Log}).run(ctx); err != nil {
				return nil, err
			}
		}
		added, err := scratchTar(w, top, "calico-node.tar")
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), added}, err
	}, calicoMerge)

	s.serve(calicoSet, "image-calico-cni", image{
		ref:    "docker.io/calico/cni:" + calicoRelease,
		config: v1.Config{Cmd: []string{"/opt/cni/bin/install"}, Env: []string{defaultPath}},
	}, []*Part{root, calico, plugins}, func(ctx context.Context, w Work) ([]string, error) {
		copies := map[string]string{
			"opt/cni/bin/calico":      program(w, "calico"),
			"opt/cni/bin/calico-ipam": program(w, "calico"),
			"opt/cni/bin/install":     program(w, "install"),
		}
		for _, name := range []string{"loopback", "bandwidth", "portmap", "tuning", "host-local"} {
			copies["opt/cni/bin/"+name] = filepath.Join(w.Path(plugins), "bin", name)
		}
		top, err := layer(w, "calico-cni", copies, nil, nil)
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), top}, err
	})

	s.serve(calicoSet, "image-calico-kube-controllers", image{
		ref:    "docker.io/calico/kube-controllers:" + calicoRelease,
		config: v1.Config{Entrypoint: []string{"/usr/bin/kube-controllers"}, Env: []string{defaultPath}},
	}, []*Part{root, calico}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "calico-kube-controllers", map[string]string{
			"usr/bin/kube-controllers": program(w, "kube-controllers"),
			"usr/bin/check-status":     program(w, "check-status"),
		}, map[string]string{"status/status.json": "", "profiles/mem.pprof": "", "profiles/cpu.pprof": ""}, nil)
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), top}, err
	})
}

// calicoMerge moves what Calico has in /sbin to where Debian's link of that name leads, and puts the program beside it.
const calicoMerge = `set -eu
mkdir -p "$1/usr/bin"
mv "$1/sbin" "$1/usr/sbin"
cp "$2" "$1/usr/bin/calico-node"`
