package airgap

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Places inside the engine's root filesystem.
const (
	engineSocket   = "/run/dagger/engine.sock"
	engineStateDir = "/var/lib/dagger"
	engineContent  = "/usr/local/share/dagger/content"
)

// sdkDigestFile, beside the root filesystem, names the Go SDK image inside it.
const sdkDigestFile = "go-sdk-digest"

// mirrorAddr is where the mirror answers in the engine's network namespace.
const mirrorAddr = "127.0.0.1:5000"

// engineArgs are the engine's arguments. It keeps a pool of network namespaces,
// 128 unless told otherwise, fills it in the background of its start and empties
// it one by one when it ends: on two cores that alone takes 17 s each. What
// running steps need beyond the pool is made, and then kept, when they need it.
var engineArgs = []string{"--addr", "unix://" + engineSocket, "--oci-cni-pool-size", "8"}

// engineEntrypoint prepares what a container runtime does for the official
// image: on cgroup v2 a group with processes cannot hand controllers on, so
// they move down one group first.
const engineEntrypoint = `#!/bin/sh
set -eu
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p /sys/fs/cgroup/init
  xargs -rn1 < /sys/fs/cgroup/cgroup.procs > /sys/fs/cgroup/init/cgroup.procs || :
  sed -e 's/ / +/g' -e 's/^/+/' < /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
fi
exec /usr/local/bin/dagger-engine "$@"
`

// engine is the root filesystem of Dagger's engine, laid out as its official
// image is.
func engine(base, dagger, runc, cni, sdk *Part) *Part {
	return &Part{
		Name:   "engine",
		Needs:  []*Part{base, dagger, runc, cni, sdk},
		Inputs: []string{engineEntrypoint, engineContent, "xtables in usr/bin"},
		Build: func(ctx context.Context, w Work) error {
			root := filepath.Join(w.Out, "rootfs")
			if err := unpack(ctx, w, filepath.Join(w.Path(base), "rootfs.tar"), root); err != nil {
				return err
			}
			bin := filepath.Join(w.Path(dagger), "bin")
			files := map[string]string{
				filepath.Join(bin, "engine"):                 "usr/local/bin/dagger-engine",
				filepath.Join(bin, "init"):                   "usr/local/bin/dagger-init",
				filepath.Join(bin, "dialstdio"):              "usr/bin/dial-stdio",
				filepath.Join(bin, "dnsname"):                "opt/cni/bin/dnsname",
				filepath.Join(w.Path(runc), "bin/runc"):      "usr/local/bin/runc",
				filepath.Join(w.Path(cni), "bin/bridge"):     "opt/cni/bin/bridge",
				filepath.Join(w.Path(cni), "bin/loopback"):   "opt/cni/bin/loopback",
				filepath.Join(w.Path(cni), "bin/firewall"):   "opt/cni/bin/firewall",
				filepath.Join(w.Path(cni), "bin/host-local"): "opt/cni/bin/host-local",
			}
			for src, dst := range files {
				files[src] = filepath.Join(root, dst)
			}
			if err := copyFiles(files); err != nil {
				return err
			}
			// Where the official image's distribution has them.
			for _, multi := range []string{"xtables-legacy-multi", "xtables-nft-multi"} {
				if err := os.Symlink("../sbin/"+multi, filepath.Join(root, "usr/bin", multi)); err != nil {
					return err
				}
			}
			entrypoint := filepath.Join(root, "usr/local/bin/dagger-entrypoint.sh")
			if err := os.WriteFile(entrypoint, []byte(engineEntrypoint), 0o755); err != nil {
				return err
			}
			image, err := readImage(w.Path(sdk))
			if err != nil {
				return err
			}
			digest, err := image.Digest()
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(w.Out, sdkDigestFile), []byte(digest.String()), 0o644); err != nil {
				return err
			}
			content := filepath.Join(root, engineContent)
			if err := os.MkdirAll(content, 0o755); err != nil {
				return err
			}
			return command{argv: []string{"cp", "-r", filepath.Join(w.Path(sdk), "blobs"), content}, log: w.Log}.run(ctx)
		},
	}
}

// engineConfig is the engine's configuration file: every registry whose images
// the mirror serves is asked there first.
func engineConfig(refs []string) ([]byte, error) {
	type registry struct {
		Mirrors []string `json:"mirrors,omitempty"`
		HTTP    bool     `json:"http,omitempty"`
	}
	registries := map[string]registry{mirrorAddr: {HTTP: true}}
	for _, ref := range refs {
		host, _, _ := strings.Cut(ref, "/")
		registries[host] = registry{Mirrors: []string{mirrorAddr}}
	}
	return json.MarshalIndent(map[string]any{
		"registries": registries,
		"logLevel":   "info",
		// By default the engine keeps a fifth of the disk free: on a fuller one it
		// would throw everything away after each run, caches included.
		"gc": map[string]string{"reservedSpace": "20GB", "maxUsedSpace": "60GB", "minFreeSpace": "4GB"},
	}, "", "  ")
}

// engineSpec is the OCI runtime configuration of the engine's container:
// what `docker run --privileged` would make, with namespaces of its own and
// nothing of the host but its devices, its certificates and the state folder.
func engineSpec(state, rootDir string, env []string, hostCerts bool) (*specs.Spec, error) {
	// All that this process may hand on: a host may withhold some.
	var caps []string
	own, err := capability.NewPid2(0)
	if err != nil {
		return nil, err
	}
	if err := own.Load(); err != nil {
		return nil, fmt.Errorf("read this process's capabilities: %w", err)
	}
	for _, c := range capability.ListKnown() {
		if own.Get(capability.BOUNDING, c) {
			caps = append(caps, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	// A host may lack CAP_SYS_RESOURCE: limits can be lowered then, not raised.
	files := uint64(1 << 20)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		files = min(files, limit.Max)
	}
	mount := func(dst, typ, src string, opts ...string) specs.Mount {
		return specs.Mount{Destination: dst, Type: typ, Source: src, Options: opts}
	}
	mounts := []specs.Mount{
		mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
		mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev"),
		mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "rw"),
		mount("/dev", "bind", "/dev", "bind"),
		mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("/dev/shm", "tmpfs", "shm", "nosuid", "nodev", "mode=1777", "size=256m"),
		mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		mount("/run", "tmpfs", "tmpfs", "nosuid", "mode=755"),
		mount("/tmp", "tmpfs", "tmpfs", "nosuid", "mode=1777"),
		mount(filepath.Dir(engineSocket), "bind", filepath.Join(state, "run"), "bind"),
		mount(engineStateDir, "bind", filepath.Join(state, "lib"), "bind"),
		mount("/etc/dagger", "bind", filepath.Join(state, "etc"), "bind", "ro"),
		mount("/etc/resolv.conf", "bind", filepath.Join(state, "resolv.conf"), "bind"),
	}
	if hostCerts {
		mounts = append(mounts, mount(hostCertificates, "bind", hostCertificates, "bind", "ro"))
	}
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: "dagger-engine",
		Root:     &specs.Root{Path: rootDir},
		Process: &specs.Process{
			Args:         append([]string{"/usr/bin/tini", "--", "/usr/local/bin/dagger-entrypoint.sh"}, engineArgs...),
			Env:          append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, env...),
			Cwd:          "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: files, Soft: files}},
		},
		Mounts: mounts,
		Linux: &specs.Linux{
			CgroupsPath: "/" + containerID(state),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
		},
	}, nil
}

// containerID names the engine's container and its control group after the
// folder that holds its state, so that two supplies do not meet.
func containerID(state string) string {
	sum := 0
	for _, b := range []byte(state) {
		sum = (sum*31 + int(b)) & 0xffffff
	}
	return fmt.Sprintf("backstage-gitops-%06x", sum)
}
