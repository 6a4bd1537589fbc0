package airgap

import (
	"context"
	_ "embed"
	"errors"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// postgresSet is for who runs the portal with its production database.
const postgresSet = "postgres"

//go:embed images/postgres-entrypoint.sh
var postgresEntrypoint string

// serveDatabase adds PostgreSQL of the major version that Debian has.
func (s *supply) serveDatabase() {
	root := rootfs("postgres-rootfs", s.tools, "minbase", []string{"postgresql-15", "ca-certificates", "tzdata"}, postgresRootfsHook)
	s.serve(postgresSet, "image-postgres", image{
		ref: "docker.io/library/postgres:15-bookworm",
		config: v1.Config{
			Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"postgres"}, StopSignal: "SIGINT",
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin", "LANG=C.UTF-8", "PG_MAJOR=15", "PGDATA=/var/lib/postgresql/data"},
			ExposedPorts: map[string]struct{}{"5432/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/postgresql/data": {}},
		},
	}, []*Part{root}, func(ctx context.Context, w Work) ([]string, error) {
		top := filepath.Join(w.Scratch, "postgres")
		if err := writeTexts(top, map[string]string{"usr/local/bin/docker-entrypoint.sh": postgresEntrypoint}); err != nil {
			return nil, err
		}
		// mmdebstrap leaves /run empty.
		socket := filepath.Join(top, "run/postgresql")
		if err := os.MkdirAll(socket, 0o755); err != nil {
			return nil, err
		}
		if err := errors.Join(os.Chown(socket, 999, 999), os.Chmod(socket, 0o777|os.ModeSticky|os.ModeSetgid)); err != nil {
			return nil, err
		}
		added, err := scratchTar(w, top, "postgres.tar")
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), added}, err
	}, postgresEntrypoint, "run/postgresql")
}

// postgresRootfsHook removes the cluster that Debian's package makes at its
// installation and gives the user the official image's number.
const postgresRootfsHook = `set -eu
chroot "$1" sh -c 'usermod -u 999 postgres && groupmod -g 999 postgres'
rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15
mkdir -p "$1"/var/lib/postgresql/data "$1"/docker-entrypoint-initdb.d
chown -R 999:999 "$1"/var/lib/postgresql`
