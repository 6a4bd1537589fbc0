package airgap

import (
	"context"
	_ "embed"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// clusterSet names the images of Argo CD's manifests/core-install.yaml.

// gitopsEngine is the version of the module that Argo CD's go.mod replaces by
// a folder: the pseudo-version of the commit that argocd's pin is a tag of.
const gitopsEngine = "v0.0.0-20260914071520-c9c369efcc5b"

// argocdPackages are those of Argo CD's Dockerfile, less connect-proxy.
var argocdPackages = []string{"git", "tini", "ca-certificates", "gpg", "gpg-agent", "tzdata", "openssh-client"}

//go:embed images/argocd-rootfs.sh
var argocdRootfsHook string

//go:embed images/redis-entrypoint.sh
var redisEntrypoint string

// argocdCommands are the names by which the one program knows what to be.
var argocdCommands = []string{
	"argocd-server", "argocd-repo-server", "argocd-cmp-server", "argocd-application-controller", "argocd-dex",
	"argocd-notifications", "argocd-applicationset-controller", "argocd-k8s-auth", "argocd-commit-server",
}

func argocdLinks() links {
	l := links{"usr/local/bin/uid_entrypoint.sh": "entrypoint.sh"}
	for _, name := range argocdCommands {
		l["usr/local/bin/"+name] = "argocd"
	}
	return l
}

// serveArgoCD adds Argo CD and the Redis it keeps its cache in.
func (s *supply) serveArgoCD() {
	pin := pinned("argocd")
	const common = "github.com/argoproj/argo-cd/v3/common."
	version := strings.TrimPrefix(pin.Version, "v")
	argocd := moduleBuild{
		path: "github.com/argoproj/argo-cd/v3", version: pin.Version, folders: gitopsEngine,
		stamps:   []string{common + "version=" + version, common + "gitTag=" + pin.Version, common + "gitTreeState=clean"},
		packages: []string{"./cmd"},
		files:    []string{"entrypoint.sh", "hack/gpg-wrapper.sh", "hack/git-verify-wrapper.sh"},
	}.part("argocd")
	helm := moduleBuild{path: "helm.sh/helm/v4", version: pinned("helm").Version,
		stamps: []string{"helm.sh/helm/v4/internal/version.version=" + pinned("helm").Version}, packages: []string{"./cmd/helm"}}.part("helm")
	kustomize := goTool("kustomize", pinned("kustomize"), "sigs.k8s.io/kustomize/kustomize/v5")
	root := rootfs("argocd-rootfs", s.tools, "minbase", argocdPackages, argocdRootfsHook)
	s.serve(clusterSet, "image-argocd", image{
		ref: "quay.io/argoproj/argocd:" + pin.Version,
		config: v1.Config{
			User: "999", WorkingDir: "/home/argocd", Entrypoint: []string{"/usr/bin/tini", "--"},
			Env: []string{defaultPath, "USER=argocd", "GRPC_ENABLE_TXT_SERVICE_CONFIG=false"},
		},
	}, []*Part{root, argocd, helm, kustomize}, func(ctx context.Context, w Work) ([]string, error) {
		copies := map[string]string{
			"usr/local/bin/argocd":    filepath.Join(w.Path(argocd), "bin/cmd"),
			"usr/local/bin/helm":      filepath.Join(w.Path(helm), "bin/helm"),
			"usr/local/bin/kustomize": filepath.Join(w.Path(kustomize), "bin/kustomize"),
		}
		texts := map[string]string{}
		for _, script := range []string{"entrypoint.sh", "hack/gpg-wrapper.sh", "hack/git-verify-wrapper.sh"} {
			data, err := readText(filepath.Join(w.Path(argocd), "src", script))
			if err != nil {
				return nil, err
			}
			texts["usr/local/bin/"+filepath.Base(script)] = data
		}
		top, err := layer(w, "argocd", copies, texts, argocdLinks())
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), top}, err
	}, argocdLinks().input())

	redisRoot := rootfs("redis-rootfs", s.tools, "extract", []string{"redis-server", "redis-tools", "dash", "tzdata"}, redisRootfsHook)
	s.serve(clusterSet, "image-redis", image{
		ref: argocdRedis,
		config: v1.Config{
			WorkingDir: "/data", Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"redis-server"},
			Env: []string{defaultPath}, ExposedPorts: map[string]struct{}{"6379/tcp": {}}, User: "999:999",
		},
	}, []*Part{redisRoot}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "redis", nil, map[string]string{"usr/local/bin/docker-entrypoint.sh": redisEntrypoint}, nil)
		return []string{filepath.Join(w.Path(redisRoot), "rootfs.tar"), top}, err
	}, redisEntrypoint)
}

// argocdRedis is the name that the manifests of Argo CD's pin use. What is in
// it is Debian's Redis 7: the manifests need no command of a newer one.
const argocdRedis = "public.ecr.aws/docker/library/redis:8.2.3-alpine"

const redisRootfsHook = `ln -sf dash "$1/bin/sh"
mkdir -p "$1/data" "$1/tmp" && chmod 1777 "$1/tmp" && chown 999:999 "$1/data"
printf 'root:x:0:0:root:/root:/bin/sh\nredis:x:999:999::/data:/bin/sh\n' > "$1/etc/passwd"
printf 'root:x:0:\nredis:x:999:\n' > "$1/etc/group"`
