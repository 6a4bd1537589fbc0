package airgap

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// supply is everything a machine without a container registry needs.
type supply struct {
	dagger, runc, cni, registry, tools, engine *Part
	// served are the images of the mirror: by set, by their official names.
	served map[string]map[string]*Part
}

// parts lists what `up` needs on disk for the sets.
func (s supply) parts(sets []string) []*Part {
	parts := []*Part{s.engine, s.dagger, s.runc, s.registry, s.tools}
	images := s.images(sets)
	for _, ref := range sortedKeys(images) {
		parts = append(parts, images[ref])
	}
	return parts
}

const goPath = "/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// newSupply describes the supply; root is the checkout, whose shims it uses.
func newSupply(ctx context.Context, root string) (supply, error) {
	var s supply
	var err error
	if s.dagger, err = dagger(filepath.Join(root, "ci/airgap/shims")); err != nil {
		return s, err
	}
	if s.registry, err = registry(filepath.Join(root, "ci/airgap/registry")); err != nil {
		return s, err
	}
	s.tools = debianTools()
	toolchain := goToolchain()
	goRoot := rootfs("go-rootfs", s.tools, "minbase", []string{
		"ca-certificates", "curl", "git", "openssh-client", "openssl", // what the Go SDK image and golang's have
		"gcc", "libc6-dev", "pkg-config", "libseccomp-dev", // cgo, and runc's
	})
	nodeRoot := rootfs("node-rootfs", s.tools, "minbase", []string{
		"ca-certificates", "git", "openssl",
		"g++", "make", "python3", // node-gyp
	})
	slimRoot := rootfs("slim-rootfs", s.tools, "extract", []string{
		"base-files", "netbase", "tzdata", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "libssl3",
	}, statusHook)
	s.runc = runc(goRoot, toolchain)
	s.cni = goTool("cni", pinned("cni"),
		"github.com/containernetworking/plugins/plugins/main/bridge",
		"github.com/containernetworking/plugins/plugins/main/loopback",
		"github.com/containernetworking/plugins/plugins/meta/firewall",
		"github.com/containernetworking/plugins/plugins/ipam/host-local")
	client := npmClient(s.tools)
	nodeTree := node(client)
	sdk := goSDK(goRoot, toolchain, s.dagger)
	engineRoot := rootfs("engine-rootfs", s.tools, "minbase", []string{
		"ca-certificates", "git", "openssh-client", "openssl", "iptables", "nftables", "dnsmasq-base",
		"pigz", "xz-utils", "tini", "procps", "iproute2", "e2fsprogs",
	})
	s.engine = engine(engineRoot, s.dagger, s.runc, s.cni, sdk)

	goEnviron := append([]string{"PATH=" + goPath, "GOPATH=/go", "GOTOOLCHAIN=local", "GOLANG_VERSION=" + pinned("go").Version}, goProxyEnv(ctx)...)
	// npm and Yarn in the image use the registry this machine uses.
	npm := npmRegistry(ctx)
	nodeEnviron := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NODE_VERSION=" + pinned("node").Version}
	if npm != "" {
		nodeEnviron = append(nodeEnviron, "npm_config_registry="+npm, "YARN_NPM_REGISTRY_SERVER="+strings.TrimSuffix(npm, "/"))
	}
	s.serve(coreSet, "image-golang", image{
		ref:    fmt.Sprintf("docker.io/library/golang:%s-bookworm", pinned("go").Version),
		config: v1.Config{Env: goEnviron, WorkingDir: "/go", Cmd: []string{"bash"}},
	}, []*Part{goRoot, toolchain}, func(ctx context.Context, w Work) ([]string, error) {
		layer, err := scratchTar(w, w.Path(toolchain), "go.tar")
		return []string{filepath.Join(w.Path(goRoot), "rootfs.tar"), layer}, err
	})
	s.serve(coreSet, "image-node", image{
		ref:    fmt.Sprintf("docker.io/library/node:%s-bookworm", pinned("node").Version),
		config: v1.Config{Env: nodeEnviron, Cmd: []string{"node"}},
	}, []*Part{nodeRoot, nodeTree}, func(ctx context.Context, w Work) ([]string, error) {
		layer, err := scratchTar(w, w.Path(nodeTree), "node.tar")
		return []string{filepath.Join(w.Path(nodeRoot), "rootfs.tar"), layer}, err
	})
	s.serve(coreSet, "image-slim", image{
		ref:        "gcr.io/distroless/cc-debian12:nonroot",
		compressed: true, // becomes part of the released image
		config: v1.Config{User: "65532", WorkingDir: "/home/nonroot", Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}},
	}, []*Part{slimRoot}, func(ctx context.Context, w Work) ([]string, error) {
		root := filepath.Join(w.Scratch, "root")
		if err := unpack(ctx, w, filepath.Join(w.Path(slimRoot), "rootfs.tar"), root); err != nil {
			return nil, err
		}
		if err := (command{argv: []string{"sh", "-c", slimScript, "sh", root}, log: w.Log}).run(ctx); err != nil {
			return nil, err
		}
		layer, err := scratchTar(w, root, "slim.tar")
		return []string{layer}, err
	}, slimScript)
	s.serve(coreSet, "image-registry", image{
		ref:        "docker.io/distribution/distribution:" + strings.TrimPrefix(pinned("distribution").Version, "v"),
		compressed: false,
		config: v1.Config{Entrypoint: []string{"registry"}, Cmd: []string{"serve", "/etc/distribution/config.yml"},
			Env: []string{"PATH=/bin"}, ExposedPorts: map[string]struct{}{"5000/tcp": {}}},
	}, []*Part{s.registry}, func(ctx context.Context, w Work) ([]string, error) {
		root := filepath.Join(w.Scratch, "root")
		if err := copyFiles(map[string]string{filepath.Join(w.Path(s.registry), "bin/registry"): filepath.Join(root, "bin/registry")}); err != nil {
			return nil, err
		}
		config := filepath.Join(root, "etc/distribution/config.yml")
		if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(config, []byte(registryImageConfig), 0o644); err != nil {
			return nil, err
		}
		layer, err := scratchTar(w, root, "registry.tar")
		return []string{layer}, err
	})
	s.serveCluster(engineRoot, goRoot)
	s.serveArgoCD()
	s.serveBrowser()
	certs := certsRootfs(s.tools)
	s.serveIngress(certs)
	s.serveDatabase()
	s.serveCalico()
	s.serveCertManager(certs)
	s.serveMetrics(certs)
	s.serveS3()
	s.serveExternalSecrets(certs)
	if err := s.serveTraces(certs, filepath.Join(root, "ci/airgap/collector")); err != nil {
		return s, err
	}
	s.serveBench(client, nodeTree, nodeEnviron)
	return s, nil
}

// registryImageConfig is the configuration in the registry's official image.
const registryImageConfig = `version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
`

// statusHook says in the image which packages its files are of, where distroless'
// images say it: an SBOM lists them by that.
const statusHook = `mkdir -p "$1/var/lib/dpkg/status.d" && for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --field "$deb" > "$1/var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)"; done`

// slimScript makes the bare package files in $1 what the distroless image is: certificates
// in one file, a non-root user, and nothing that installs or configures.
const slimScript = `set -eu
root=$1
mkdir -p "$root/etc/ssl/certs" "$root/home/nonroot" "$root/tmp" "$root/root"
find "$root/usr/share/ca-certificates" -name '*.crt' | sort | xargs cat > "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n' > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
chown 65532:65532 "$root/home/nonroot"; chmod 0700 "$root/home/nonroot"; chmod 1777 "$root/tmp"
find "$root/var/lib/dpkg" -mindepth 1 -maxdepth 1 ! -name status.d -exec rm -rf {} +
rm -f "$root/var/lib/dpkg/status.d/debconf" "$root/var/lib/dpkg/status.d/mawk" "$root/var/lib/dpkg/status.d/openssl"
rm -rf "$root/dev" "$root/var/lib/apt" "$root/var/cache" "$root/var/log" "$root/etc/apt" "$root/etc/dpkg" "$root/usr/share/ca-certificates" "$root/usr/sbin" "$root/usr/bin" \
  "$root/usr/share/bug" "$root/usr/share/lintian" "$root/usr/share/base-files" "$root/usr/share/gcc" "$root/usr/lib/x86_64-linux-gnu/gconv" "$root/usr/share/perl5" "$root/etc/resolv.conf" "$root/etc/hostname" "$root/etc/fstab"
mkdir "$root/dev"
find "$root/usr/share/doc" -type f ! -name copyright -delete`

// goSDK is the image in which the engine generates and compiles Go modules. It
// is not served but shipped inside the engine.
func goSDK(goRoot, toolchain, dagger *Part) *Part {
	img := image{config: v1.Config{Env: []string{
		"PATH=" + goPath, "GOPATH=/go", "GOTOOLCHAIN=local",
	}, WorkingDir: "/go"}}
	return img.part("go-sdk", []*Part{goRoot, toolchain, dagger}, []string{sdkCommit, sdkProxyDir, "proxy-3", noUpdate}, func(ctx context.Context, w Work) ([]string, error) {
		root := filepath.Join(w.Scratch, "root")
		for _, d := range []string{"go/pkg/mod", "go/bin", "root/.cache/go-build"} {
			if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
				return nil, err
			}
		}
		if err := copyFiles(map[string]string{filepath.Join(w.Path(dagger), "bin/codegen"): filepath.Join(root, "usr/local/bin/codegen")}); err != nil {
			return nil, err
		}
		if err := sdkProxy(filepath.Join(root, sdkProxyDir)); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, noUpdate)), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(root, noUpdate), nil, 0o644); err != nil {
			return nil, err
		}
		goLayer, err := scratchTar(w, w.Path(toolchain), "go.tar")
		if err != nil {
			return nil, err
		}
		sdkLayer, err := scratchTar(w, root, "sdk.tar")
		return []string{filepath.Join(w.Path(goRoot), "rootfs.tar"), goLayer, sdkLayer}, err
	})
}

// noUpdate has the image be without update-ca-certificates, by an OCI layer's whiteout: before and after each call of a
// function the engine would enter its certificates with it, which takes a second and a half, and without it does so itself.
const noUpdate = "usr/sbin/.wh.update-ca-certificates"

// sdkProxyDir is where the Go SDK image has the answers of sdkProxy.
const sdkProxyDir = "/usr/local/share/airgap/goproxy"

func scratchTar(w Work, dir, name string) (string, error) {
	archive := filepath.Join(w.Scratch, name)
	return archive, tarDir(dir, "", archive)
}
