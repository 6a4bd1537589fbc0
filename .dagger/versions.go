package main

// The images that work on a release, by their official names, with the reason for
// each pin; those that are in it are in bases.go. On a machine that reaches no
// container registry ci/airgap's mirror answers for these names; a test there
// holds the two equal.
const (
	// stockImage is under the image that Backstage's own Dockerfile makes, which
	// `bench` compares: the same Node, without compilers.
	// renovate: datasource=docker depName=node
	stockImage = "docker.io/library/node:22.23.3-bookworm-slim"

	// goImage compiles and tests ci/; it has git, which the helper program runs.
	// renovate: datasource=docker depName=golang
	goImage = "docker.io/library/golang:1.26.8-bookworm"

	// registryImage is the embedded registry.
	// renovate: datasource=docker depName=distribution/distribution
	registryImage = "docker.io/distribution/distribution:3.1.2"

	// cosignModule and syftModule are what bench-attest compares with: of the libraries'
	// versions in ci/attest.
	cosignModule = "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3"
	syftModule   = "github.com/anchore/syft/cmd/syft@v1.57.0"

	// kubernetesVersion is that of the cluster in which a release is proven.
	// renovate: datasource=docker depName=kindest/node
	kubernetesVersion = "v1.37.0"

	// ingressImage is the ingress controller of ci/proof/traefik.yaml.
	// renovate: datasource=docker depName=traefik
	ingressImage = "docker.io/library/traefik:v3.7.13"

	// postgresImage is the database of charts/backstage, in its values.
	// renovate: datasource=docker depName=postgres
	postgresImage = "docker.io/library/postgres:15-bookworm"

	// calicoModule is Calico as a Go module, with its manifests: release 3.28.5
	// under the name of an old plugin's, as the module proxy has no other.
	calicoModule = "github.com/projectcalico/calico@v1.11.0-cni-plugin.0.20250813170300-a0db560f0520"

	// flannelImage is under Calico's policies; ci/kind has its own.
	// renovate: datasource=docker depName=ghcr.io/flannel-io/flannel
	flannelImage = "ghcr.io/flannel-io/flannel:v0.28.10"

	// certManagerModule is cert-manager as a Go module, with its chart.
	// renovate: datasource=go depName=github.com/cert-manager/cert-manager
	certManagerModule = "github.com/cert-manager/cert-manager@v1.21.2"

	// gatewayModule is the Gateway API as a Go module, with its kinds: of the version
	// that the ingress controller is built for.
	// renovate: datasource=go depName=sigs.k8s.io/gateway-api
	gatewayModule = "sigs.k8s.io/gateway-api@v1.6.1"

	// metricsServerModule is metrics-server as a Go module, with its chart.
	// renovate: datasource=go depName=sigs.k8s.io/metrics-server
	metricsServerModule = "sigs.k8s.io/metrics-server@v0.9.0"

	// metricsServerRepository is where that is published, without its tag.
	metricsServerRepository = "registry.k8s.io/metrics-server/metrics-server"

	// prometheusOperatorModule is the Prometheus operator as a Go module, with
	// what installs it.
	// renovate: datasource=go depName=github.com/prometheus-operator/prometheus-operator
	prometheusOperatorModule = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

	// prometheusImage is the Prometheus of ci/proof/prometheus.yaml.
	// renovate: datasource=docker depName=quay.io/prometheus/prometheus
	prometheusImage = "quay.io/prometheus/prometheus:v3.16.0"

	// s3Image is the server of buckets of ci/proof/s3.yaml.
	// renovate: datasource=docker depName=versity/versitygw
	s3Image = "docker.io/versity/versitygw:v1.8.0"

	// rcloneImage copies dumps into a bucket, for charts/backstage, in its values.
	// renovate: datasource=docker depName=rclone/rclone
	rcloneImage = "docker.io/rclone/rclone:1.71.2"

	// collectorImage is the collector of ci/proof/collector.yaml.
	// renovate: datasource=docker depName=otel/opentelemetry-collector
	collectorImage = "docker.io/otel/opentelemetry-collector:0.165.0"

	// externalSecretsModule is the External Secrets Operator as a Go module, with
	// its chart and its kinds: the newest that is one module, as later ones are
	// several.
	externalSecretsModule = "github.com/external-secrets/external-secrets@v0.16.2"

	// externalSecretsRepository is where that is published, without its tag.
	externalSecretsRepository = "ghcr.io/external-secrets/external-secrets"

	// browserImage is a headless Chromium with its DevTools on port 9222.
	browserImage = "docker.io/chromedp/headless-shell:stable"
)
