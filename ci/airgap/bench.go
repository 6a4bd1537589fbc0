package airgap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// benchSet is for who compares the released image with Backstage's stock one.
const benchSet = "bench"

// nodeUserHook adds the user that the official image has.
const nodeUserHook = `chroot "$1" useradd --uid 1000 --create-home --shell /bin/bash node`

// serveBench adds the Node image without compilers, under the stock Dockerfile.
// What that installs with apt comes from this machine's archives, which
// mmdebstrap leaves in the root. The environment is that of the other Node
// image, and what a Dockerfile for connected machines does not say.
func (s *supply) serveBench(client, nodeTree *Part, environ []string) {
	root := rootfs("node-slim-rootfs", s.tools, "minbase", []string{"ca-certificates"}, nodeUserHook)
	yarn := yarnClassic(client)
	s.serve(benchSet, "image-node-slim", image{
		ref: fmt.Sprintf("docker.io/library/node:%s-bookworm-slim", pinned("node").Version),
		config: v1.Config{Cmd: []string{"node"}, Env: slices.Concat(environ, []string{
			"YARN_VERSION=" + pinned("yarn").Version,
			// Certificates of this machine, for Yarn and not for Node: it would read them at each start.
			"YARN_HTTPS_CA_FILE_PATH=/etc/ssl/certs/ca-certificates.crt",
			// Nothing prebuilt and no headers can be downloaded.
			"npm_config_build_from_source=true", "npm_config_nodedir=/usr/local",
		})},
	}, []*Part{root, nodeTree, yarn}, func(ctx context.Context, w Work) ([]string, error) {
		nodeLayer, err := scratchTar(w, w.Path(nodeTree), "node.tar")
		if err != nil {
			return nil, err
		}
		yarnLayer, err := scratchTar(w, w.Path(yarn), "yarn.tar")
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), nodeLayer, yarnLayer}, err
	})
}

// yarnClassic is the Yarn of Node's official images, in its places there.
func yarnClassic(client *Part) *Part {
	pin := pinned("yarn")
	home := "opt/yarn-v" + pin.Version
	program := links{"usr/local/bin/yarn": "/" + home + "/bin/yarn.js"}
	p := &Part{Name: "yarn", Inputs: []string{pin.Version, program.input()}, Tools: npmTools(client)}
	p.Build = func(ctx context.Context, w Work) error {
		if err := npmPack(ctx, w, p.Tools, []string{"yarn@" + pin.Version}); err != nil {
			return err
		}
		into := filepath.Join(w.Out, home)
		if err := os.MkdirAll(into, 0o755); err != nil {
			return err
		}
		archive := filepath.Join(w.Scratch, "yarn-"+pin.Version+".tgz")
		if err := (command{argv: []string{"tar", "-xzf", archive, "-C", into, "--strip-components=1", "--no-same-owner"}, log: w.Log}).run(ctx); err != nil {
			return err
		}
		return errors.Join(os.Chmod(filepath.Join(into, "bin/yarn.js"), 0o755), program.write(w.Out))
	}
	return p
}
