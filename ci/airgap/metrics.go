package airgap

import (
	"context"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// metricsServerSet names the image of metrics-server's own chart, prometheusSet that of Prometheus.
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
	s.serve(metricsServerSet, "image-metrics-server", image{
		ref:    "gcr.io/k8s-staging-metrics-server/metrics-server:" + pin.Version,
		config: v1.Config{User: "65534", Entrypoint: []string{"/metrics-server"}, Env: []string{defaultPath}},
	}, []*Part{certs, metrics}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "metrics-server", map[string]string{"metrics-server": filepath.Join(w.Path(metrics), "bin/metrics-server")}, nil, nil)
		return []string{filepath.Join(w.Path(certs), "rootfs.tar"), top}, err
	})

	pin = pinned("prometheus")
	prometheus := moduleBuild{
		path: "github.com/prometheus/prometheus", version: pin.Version,
		// Without its pages, which npm packages make, and with the one way to find targets that is in use.
		tags:     "remove_all_sd enable_kubernetes_sd",
		stamps:   []string{"github.com/prometheus/common/version.Version=" + prometheusVersion},
		packages: []string{"./cmd/prometheus"},
	}.part("prometheus")
	s.serve(prometheusSet, "image-prometheus", image{
		ref: "quay.io/prometheus/prometheus:v" + prometheusVersion,
		config: v1.Config{
			User: "65534", Entrypoint: []string{"/bin/prometheus"}, WorkingDir: "/prometheus", Env: []string{defaultPath},
			ExposedPorts: map[string]struct{}{"9090/tcp": {}},
		},
	}, []*Part{certs, prometheus}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "prometheus", map[string]string{"bin/prometheus": filepath.Join(w.Path(prometheus), "bin/prometheus")}, nil, nil)
		return []string{filepath.Join(w.Path(certs), "rootfs.tar"), top}, err
	})
}
