package airgap

import (
	"context"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// metricsServerSet names the image of metrics-server's own chart, prometheusSet those of Prometheus and its operator.
const (
	metricsServerSet = "metrics-server"
	prometheusSet    = "prometheus"
)

// prometheusVersion is the release whose module is the pin: 3.16 is v0.316 there.
const prometheusVersion = "3.16.0"

// serveMetrics adds what tells how busy pods are, and what scrapes and alerts.
func (s *supply) serveMetrics(certs *Part) {
	pin := pinned("metrics-server")
	metrics := moduleBuild{
		path: "sigs.k8s.io/metrics-server", version: pin.Version,
		stamps:   []string{"sigs.k8s.io/metrics-server/pkg/version.gitVersion=" + pin.Version},
		packages: []string{"./cmd/metrics-server"},
	}.part("metrics-server")
	s.serveProgram(metricsServerSet, "registry.k8s.io/metrics-server/metrics-server:"+pin.Version, "metrics-server", "65534", certs, metrics, "metrics-server")

	pin = pinned("prometheus")
	prometheus := moduleBuild{
		path: "github.com/prometheus/prometheus", version: pin.Version,
		// Without its pages, which npm packages make, and with the one way to find targets that is in use.
		tags:     "remove_all_sd enable_kubernetes_sd",
		stamps:   []string{"github.com/prometheus/common/version.Version=" + prometheusVersion},
		packages: []string{"./cmd/prometheus"},
	}.part("prometheus")
	s.serveProgram(prometheusSet, "quay.io/prometheus/prometheus:v"+prometheusVersion, "bin/prometheus", "65534", certs, prometheus, "prometheus")

	pin = pinned("prometheus-operator")
	operator := moduleBuild{
		path: "github.com/prometheus-operator/prometheus-operator", version: pin.Version, folders: pin.Version,
		stamps:   []string{"github.com/prometheus/common/version.Version=" + strings.TrimPrefix(pin.Version, "v")},
		packages: []string{"./cmd/operator", "./cmd/prometheus-config-reloader"},
	}.part("prometheus-operator")
	for program, image := range map[string]string{"operator": "prometheus-operator", "prometheus-config-reloader": "prometheus-config-reloader"} {
		s.serveProgram(prometheusSet, "quay.io/prometheus-operator/"+image+":"+pin.Version, "bin/"+image, "65534", certs, operator, program)
	}
}

// serveProgram adds an image that is one program of a part.
func (s *supply) serveProgram(set, ref, program, user string, certs, built *Part, name string) {
	s.serve(set, "image-"+filepath.Base(program), image{
		ref:    ref,
		config: v1.Config{User: user, Entrypoint: []string{"/" + program}, Env: []string{defaultPath}},
	}, []*Part{certs, built}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, name, map[string]string{program: filepath.Join(w.Path(built), "bin", name)}, nil, nil)
		return []string{filepath.Join(w.Path(certs), "rootfs.tar"), top}, err
	})
}
