package airgap

import (
	"context"
	_ "embed"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

//go:embed images/headless-shell.sh
var headlessShell string

// serveBrowser adds a browser without a screen. The tag is the moving one, as
// Debian's archive has no other version than its newest either.
func (s *supply) serveBrowser() {
	root := rootfs("browser-rootfs", s.tools, "minbase", []string{
		"chromium-headless-shell", "socat", "ca-certificates", "tini",
		"fonts-liberation2", "fonts-dejavu-core", "fonts-noto-color-emoji",
	})
	s.serve(clusterSet, "image-browser", image{
		ref: "docker.io/chromedp/headless-shell:stable",
		config: v1.Config{
			Entrypoint: []string{"/headless-shell/run.sh"}, Env: []string{defaultPath + ":/headless-shell", "LANG=en-US.UTF-8"},
			ExposedPorts: map[string]struct{}{"9222/tcp": {}},
		},
	}, []*Part{root}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "browser", nil, map[string]string{"headless-shell/run.sh": headlessShell},
			links{"headless-shell/headless-shell": "/usr/bin/chromium-headless-shell"})
		return []string{filepath.Join(w.Path(root), "rootfs.tar"), top}, err
	}, headlessShell)
}
