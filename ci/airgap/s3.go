package airgap

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// s3Set names what a backup into a bucket takes: the client that charts/backstage names.
const s3Set = "s3"

// serveS3 adds rclone.
func (s *supply) serveS3() {
	shell := shellRootfs(s.tools)
	pin := pinned("rclone")
	rclone := moduleBuild{
		path: "github.com/rclone/rclone", version: pin.Version,
		// Its other 60 backends are half of what it compiles.
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
}

// shellRootfs is the root of programs that scripts run: certificates, time zones and, as in Alpine, busybox.
func shellRootfs(tools *Part) *Part {
	return rootfs("shell-rootfs", tools, "extract", []string{"ca-certificates", "tzdata", "busybox-static"}, certificatesHook, bareHook,
		`for name in $("$1/bin/busybox" --list); do [ -e "$1/bin/$name" ] || ln -s busybox "$1/bin/$name"; done`)
}
