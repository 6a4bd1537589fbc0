package airgap

import (
	"context"
	_ "embed"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// flannelSet names the images of flannel's Documentation/kube-flannel.yml, the
// network of clusters with several nodes.
const flannelSet = "flannel"

// flannelPlugin is the CNI plugin of flannel. Its module is not served; it is
// a translation of one configuration into another, which jq does as well. It
// runs on the node.
//
//go:embed images/flannel-cni.sh
var flannelPlugin string

// serveFlannel adds flannel, which chooses iptables as kube-proxy does.
func (s *supply) serveFlannel(proxyRoot *Part) {
	pin := pinned("flannel")
	flannel := moduleBuild{
		path: "github.com/flannel-io/flannel", version: pin.Version,
		// One cloud's client is not served, and the oldest backend needs cgo.
		patches: []patch{
			{"main.go", "\t_ \"github.com/flannel-io/flannel/pkg/backend/tencentvpc\"\n", ""},
			{"main.go", "\t_ \"github.com/flannel-io/flannel/pkg/backend/udp\"\n", ""},
		},
		stamps:   []string{"github.com/flannel-io/flannel/pkg/version.Version=" + pin.Version},
		packages: []string{".", "./cmd/install_conf"},
	}.part("flannel")
	s.serve(flannelSet, "image-flannel", image{
		ref:    "ghcr.io/flannel-io/flannel:" + pin.Version,
		config: v1.Config{Entrypoint: []string{"/opt/bin/flanneld"}, Env: []string{defaultPath}},
	}, []*Part{proxyRoot, flannel}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "flannel", map[string]string{
			"opt/bin/flanneld":     filepath.Join(w.Path(flannel), "bin/flannel"),
			"opt/bin/install-conf": filepath.Join(w.Path(flannel), "bin/install_conf"),
		}, map[string]string{"usr/local/sbin/iptables-as-kubelet": iptablesAsKubelet}, proxyLinks)
		return []string{filepath.Join(w.Path(proxyRoot), "rootfs.tar"), top}, err
	}, iptablesAsKubelet, proxyLinks.input())

	busybox := rootfs("busybox-rootfs", s.tools, "extract", []string{"busybox-static"}, `ln -sf busybox "$1/bin/sh" && ln -sf busybox "$1/bin/cp"`)
	s.serve(flannelSet, "image-flannel-cni", image{
		// The version that the manifest of flannel's pin names.
		ref:    "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3",
		config: v1.Config{Env: []string{defaultPath}, Cmd: []string{"sh"}},
	}, []*Part{busybox}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "plugin", nil, map[string]string{"flannel": flannelPlugin}, nil)
		return []string{filepath.Join(w.Path(busybox), "rootfs.tar"), top}, err
	}, flannelPlugin)
}
