package airgap

import (
	"context"
	_ "embed"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// clusterSet names the images that a kind cluster is made of: the Docker
// daemon that kind talks to and the node.
const clusterSet = "cluster"

//go:embed images/dockerd-entrypoint.sh
var dockerdEntrypoint string

// serveCluster adds the cluster's images.
func (s *supply) serveCluster(engineRoot, goRoot *Part) {
	moby, cli, containerd := pinned("moby"), pinned("docker"), pinned("containerd")
	dockerd := moduleBuild{
		path: "github.com/moby/moby/v2", version: moby.Version,
		stamps: []string{
			// The module's versions are v2's; the product's are 29's.
			"github.com/moby/moby/v2/dockerversion.Version=29.0.0-" + strings.TrimPrefix(moby.Version, "v2.0.0-"),
			"github.com/moby/moby/v2/dockerversion.GitCommit=" + moby.Version,
		},
		packages: []string{"./cmd/dockerd", "./cmd/docker-proxy"},
		files:    []string{"hack/dind"},
	}.part("dockerd")
	docker := moduleBuild{
		path: "github.com/docker/cli", version: cli.Version, modFile: "vendor.mod",
		// The release is not served, the commit before it is.
		edits:    []string{"-replace=github.com/moby/swarmkit/v2=github.com/moby/swarmkit/v2@v2.1.3-0.20260828175525-ad0357aedfca"},
		stamps:   []string{"github.com/docker/cli/cli/version.Version=" + dockerVersion()},
		packages: []string{"./cmd/docker"},
	}.part("docker-cli")
	ctrd := moduleBuild{
		path: "github.com/containerd/containerd/v2", version: containerd.Version,
		stamps:   []string{"github.com/containerd/containerd/v2/version.Version=" + containerd.Version},
		packages: []string{"./cmd/containerd", "./cmd/containerd-shim-runc-v2", "./cmd/ctr"},
	}.part("containerd")
	s.serve(clusterSet, "image-docker", image{
		ref: "docker.io/library/docker:29-dind",
		config: v1.Config{
			Entrypoint: []string{"dockerd-entrypoint.sh"}, Env: []string{defaultPath, "DOCKER_VERSION=" + dockerVersion()},
			ExposedPorts: map[string]struct{}{"2375/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/docker": {}},
		},
	}, []*Part{engineRoot, dockerd, docker, ctrd, s.runc}, func(ctx context.Context, w Work) ([]string, error) {
		copies := map[string]string{
			"usr/local/bin/dockerd":      filepath.Join(w.Path(dockerd), "bin/dockerd"),
			"usr/local/bin/docker-proxy": filepath.Join(w.Path(dockerd), "bin/docker-proxy"),
			"usr/local/bin/docker":       filepath.Join(w.Path(docker), "bin/docker"),
			"usr/local/bin/runc":         filepath.Join(w.Path(s.runc), "bin/runc"),
		}
		for _, p := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
			copies["usr/local/bin/"+p] = filepath.Join(w.Path(ctrd), "bin", p)
		}
		dind, err := readText(filepath.Join(w.Path(dockerd), "src/hack/dind"))
		if err != nil {
			return nil, err
		}
		top, err := layer(w, "docker", copies, map[string]string{
			"usr/local/bin/dockerd-entrypoint.sh": dockerdEntrypoint,
			"usr/local/bin/dind":                  dind,
		}, dockerLinks)
		return []string{filepath.Join(w.Path(engineRoot), "rootfs.tar"), top}, err
	}, dockerdEntrypoint, dockerLinks.input())
	s.serveNode(goRoot, ctrd)
}

// dockerVersion is the version of Docker.
func dockerVersion() string {
	return strings.TrimSuffix(strings.TrimPrefix(pinned("docker").Version, "v"), "+incompatible")
}

// dockerLinks are names under which Docker expects programs of Debian's.
var dockerLinks = links{
	"usr/local/bin/docker-init":                         "/usr/bin/tini",
	"usr/local/sbin/.iptables-legacy/iptables":          "/usr/sbin/iptables-legacy",
	"usr/local/sbin/.iptables-legacy/iptables-save":     "/usr/sbin/iptables-legacy-save",
	"usr/local/sbin/.iptables-legacy/iptables-restore":  "/usr/sbin/iptables-legacy-restore",
	"usr/local/sbin/.iptables-legacy/ip6tables":         "/usr/sbin/ip6tables-legacy",
	"usr/local/sbin/.iptables-legacy/ip6tables-save":    "/usr/sbin/ip6tables-legacy-save",
	"usr/local/sbin/.iptables-legacy/ip6tables-restore": "/usr/sbin/ip6tables-legacy-restore",
}
