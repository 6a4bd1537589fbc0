package airgap

import (
	"context"
	_ "embed"
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
		top, err := layer(w, "postgres", nil, map[string]string{"usr/local/bin/docker-entrypoint.sh": postgresEntrypoint}, nil)
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), top}, err
	}, postgresEntrypoint)
}

// postgresRootfsHook removes the cluster that Debian's package makes at its
// installation and gives the user the official image's number.
const postgresRootfsHook = `set -eu
chroot "$1" sh -c 'usermod -u 999 postgres && groupmod -g 999 postgres'
rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15
mkdir -p "$1"/var/lib/postgresql/data "$1"/var/run/postgresql "$1"/docker-entrypoint-initdb.d
chown -R 999:999 "$1"/var/lib/postgresql "$1"/var/run/postgresql
chmod 3777 "$1"/var/run/postgresql`
