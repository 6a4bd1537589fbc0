package airgap

import (
	"context"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// traefikStandIns are two packages whose modules are not served. The first is
// a module of its own in Traefik's repository: the extension points of its
// configuration, which are empty in the open source edition.
var traefikStandIns = map[string]string{
	"pkg/config/dynamic/ext/go.mod": "module github.com/traefik/traefik/dynamic/ext\n\ngo 1.24\n",
	"pkg/config/dynamic/ext/ext.go": `// Package ext has nothing to add to Traefik's configuration.
package ext

// HTTP adds nothing to the HTTP configuration.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
`,
	// Traefik proves to Let's Encrypt that it owns a name through any of 180
	// DNS services, a dozen of whose clients are not served.
	"pkg/provider/acme/dns/dns.go": `// Package dns has no DNS services.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName refuses every name.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("this build of Traefik has no DNS provider %s", name)
}
`,
}

// serveIngress adds the ingress controller. Its dashboard is not in the
// module, so it has none, and no certificates by way of DNS.
func (s *supply) serveIngress(certs *Part) {
	pin := pinned("traefik")
	const version = "github.com/traefik/traefik/v3/pkg/version."
	traefik := moduleBuild{
		path: "github.com/traefik/traefik/v3", version: pin.Version, add: traefikStandIns,
		patches: []patch{{"pkg/provider/acme/provider.go", `"github.com/go-acme/lego/v5/providers/dns"`, `"github.com/traefik/traefik/v3/pkg/provider/acme/dns"`}},
		// The fork's newer commit is not served.
		edits:    []string{"-replace=github.com/abbot/go-http-auth=github.com/containous/go-http-auth@v0.4.1-0.20200324110947-a37a7636d23e"},
		stamps:   []string{version + "Version=" + strings.TrimPrefix(pin.Version, "v"), version + "Codename=airgap"},
		packages: []string{"./cmd/traefik"},
	}.part("traefik")
	s.serve(clusterSet, "image-traefik", image{
		ref:    "docker.io/library/traefik:" + pin.Version,
		config: v1.Config{Entrypoint: []string{"/usr/local/bin/traefik"}, Env: []string{defaultPath}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
	}, []*Part{certs, traefik}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "traefik", map[string]string{"usr/local/bin/traefik": filepath.Join(w.Path(traefik), "bin/traefik")}, nil, nil)
		return []string{filepath.Join(w.Path(certs), "rootfs.tar"), top}, err
	})
}

// certsRootfs is the root of programs that need nothing but certificates and time zones.
func certsRootfs(tools *Part) *Part {
	return rootfs("certs-rootfs", tools, "extract", []string{"ca-certificates", "tzdata"}, certificatesHook, bareHook)
}

// certificatesHook puts the certificates into one file, bareHook removes the programs that came with their package.
const (
	certificatesHook = `mkdir -p "$1/etc/ssl/certs" "$1/tmp" && chmod 1777 "$1/tmp" && find "$1/usr/share/ca-certificates" -name '*.crt' | sort | xargs cat > "$1/etc/ssl/certs/ca-certificates.crt"`
	bareHook         = `rm -rf "$1/usr/bin" "$1/usr/sbin" "$1/usr/share/doc" "$1/usr/share/perl5" "$1/var/lib/dpkg" "$1/var/lib/apt" "$1/var/cache" "$1/usr/lib/x86_64-linux-gnu"`
)
