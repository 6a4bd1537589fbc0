package airgap

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// s3Set names what a backup into a bucket takes: the client that charts/backstage names, and a server with buckets.
const s3Set = "s3"

// serveS3 adds rclone, and the gateway of Versity, which keeps buckets in folders.
func (s *supply) serveS3() {
	shell := shellRootfs(s.tools)
	pin := pinned("rclone")
	rclone := moduleBuild{
		path: "github.com/rclone/rclone", version: pin.Version,
		// Its other backends are half of what it compiles.
		patches:  []patch{{"rclone.go", `_ "github.com/rclone/rclone/backend/all" // import all backends`, "_ \"github.com/rclone/rclone/backend/local\"\n\t_ \"github.com/rclone/rclone/backend/s3\""}},
		stamps:   []string{"github.com/rclone/rclone/fs.Version=" + pin.Version},
		packages: []string{"."},
	}.part("rclone")
	s.serve(s3Set, "image-rclone", image{
		ref:    "docker.io/rclone/rclone:" + strings.TrimPrefix(pin.Version, "v"),
		config: v1.Config{Entrypoint: []string{"rclone"}, WorkingDir: "/data", Env: []string{defaultPath, "XDG_CONFIG_HOME=/config"}},
	}, []*Part{shell, rclone}, func(ctx context.Context, w Work) ([]string, error) {
		// In a root that is read only nobody else makes it.
		if err := os.MkdirAll(filepath.Join(w.Scratch, "rclone", "data"), 0o755); err != nil {
			return nil, err
		}
		top, err := layer(w, "rclone", map[string]string{"usr/local/bin/rclone": filepath.Join(w.Path(rclone), "bin/rclone")}, nil, nil)
		return []string{filepath.Join(w.Path(shell), "rootfs.tar"), top}, err
	})

	pin = pinned("versitygw")
	const entrypoint = "docker-entrypoint.sh"
	gateway := moduleBuild{
		path: "github.com/versity/versitygw", version: pin.Version,
		stamps:   []string{"main.Version=" + pin.Version},
		packages: []string{"./cmd/versitygw"},
		files:    []string{entrypoint},
	}.part("versitygw")
	s.serve(s3Set, "image-versitygw", image{
		ref:    "docker.io/versity/versitygw:" + pin.Version,
		config: v1.Config{Entrypoint: []string{"/usr/local/bin/" + entrypoint}, Env: []string{defaultPath}},
	}, []*Part{shell, gateway}, func(ctx context.Context, w Work) ([]string, error) {
		script, err := readText(filepath.Join(w.Path(gateway), "src", entrypoint))
		if err != nil {
			return nil, err
		}
		top, err := layer(w, "versitygw", map[string]string{"usr/local/bin/versitygw": filepath.Join(w.Path(gateway), "bin/versitygw")},
			map[string]string{"usr/local/bin/" + entrypoint: script}, nil)
		return []string{filepath.Join(w.Path(shell), "rootfs.tar"), top}, err
	})
}

// shellRootfs is the root of programs that scripts run: certificates, time zones and, as in Alpine, busybox.
func shellRootfs(tools *Part) *Part {
	return rootfs("shell-rootfs", tools, "extract", []string{"ca-certificates", "tzdata", "busybox-static"}, certificatesHook, bareHook,
		`for name in $("$1/bin/busybox" --list); do [ -e "$1/bin/$name" ] || ln -s busybox "$1/bin/$name"; done`)
}
