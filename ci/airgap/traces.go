package airgap

import (
	"context"
	_ "embed"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// otelSet names what traces are sent to.
const otelSet = "otel"

// collectorConfig is upstream's default configuration, less the components that are not here.
//
//go:embed images/collector.yaml
var collectorConfig string

// serveTraces adds the OpenTelemetry Collector; dir is the module that lists its components.
func (s *supply) serveTraces(certs *Part, dir string) error {
	version := strings.TrimPrefix(pinned("collector").Version, "v")
	collector, err := ownModule("collector", pinned("collector"), dir, "main.version="+version)
	if err != nil {
		return err
	}
	s.serve(otelSet, "image-collector", image{
		ref: "docker.io/otel/opentelemetry-collector:" + version,
		config: v1.Config{
			User: "10001:10001", Entrypoint: []string{"/otelcol"}, Cmd: []string{"--config", "/etc/otelcol/config.yaml"}, Env: []string{defaultPath},
			ExposedPorts: map[string]struct{}{"4317/tcp": {}, "4318/tcp": {}},
		},
	}, []*Part{certs, collector}, func(ctx context.Context, w Work) ([]string, error) {
		top, err := layer(w, "collector", map[string]string{"otelcol": filepath.Join(w.Path(collector), "bin/collector")},
			map[string]string{"etc/otelcol/config.yaml": collectorConfig}, nil)
		return []string{filepath.Join(w.Path(certs), "rootfs.tar"), top}, err
	}, collectorConfig)
	return nil
}
