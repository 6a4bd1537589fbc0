package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	"dagger/backstage-gitops/internal/dagger"
)

// feature is an optional part of the charts, as `gitops features` lists it.
type feature struct{ Components []string }

// features are those of these names. What is no name of one, or wants more
// nodes than there are, is refused.
func (m *BackstageGitops) features(ctx context.Context, names []string, workers int) ([]feature, error) {
	var found []feature
	err := run(ctx, m.toolbox(), &found, append([]string{"features", "--workers", strconv.Itoa(workers)}, names...)...)
	return found, err
}

// component is what optional parts of the charts run on.
type component struct {
	// manifest is what installs it; nil: the chart does.
	manifest func(*BackstageGitops) *dagger.File
	// network says that it is the network between the pods, and is there before
	// them.
	network bool
	// images are those that no manifest names.
	images []string
}

// components are all of them, by the names of `gitops features`.
var components = map[string]component{
	"postgres": {images: []string{postgresImage}},
	"cert-manager": {manifest: rendered(helmChart{
		module: certManagerModule, path: "deploy/charts/cert-manager", name: "cert-manager", namespace: "cert-manager",
		// The chart in the module has no version. No Job waits for the API: the
		// proof does.
		values: map[string]any{"crds": on, "startupapicheck": off, "prometheus": off, "image": tagOf(certManagerModule),
			"webhook": map[string]any{"image": tagOf(certManagerModule)}, "cainjector": map[string]any{"image": tagOf(certManagerModule)},
			"acmesolver": map[string]any{"image": tagOf(certManagerModule)}},
	})},
	"metrics-server": {manifest: rendered(helmChart{
		module: metricsServerModule, path: "charts/metrics-server", name: "metrics-server", namespace: "kube-system",
		values: map[string]any{
			// Kubelets of kind sign their own certificates.
			"args":  []string{"--kubelet-insecure-tls"},
			"image": map[string]any{"repository": metricsServerRepository, "tag": versionOf(metricsServerModule)},
		},
	})},
	"calico":      {manifest: canal, network: true},
	"gateway-api": {manifest: gatewayKinds},
	"prometheus": {
		manifest: func(*BackstageGitops) *dagger.File {
			return moduleFiles(prometheusOperatorModule, "bundle.yaml").File("bundle.yaml")
		},
		images: []string{prometheusImage, "quay.io/prometheus-operator/prometheus-config-reloader:" + versionOf(prometheusOperatorModule)},
	},
	"s3":        {images: []string{s3Image, rcloneImage}},
	"collector": {images: []string{collectorImage}},
	"external-secrets": {manifest: rendered(helmChart{
		module: externalSecretsModule, path: "deploy/charts/external-secrets", name: "external-secrets", namespace: "external-secrets",
		// The release makes the chart's copy of these.
		kinds: "deploy/crds/bundle.yaml",
		// What looks at stores and secrets before the API server takes them is left
		// out.
		values: map[string]any{"installCRDs": false, "webhook": map[string]any{"create": false}, "certController": map[string]any{"create": false},
			"image": map[string]any{"repository": externalSecretsRepository, "tag": versionOf(externalSecretsModule)}},
	})},
	"argocd-notifications": {manifest: notifications},
}

// canal is Calico's manifest of flannel's network with Calico's policies, with the
// flannel of other clusters here. What a policy lets through still meets the fence
// around the nodes, nobody is told of this cluster, and there is no data plane but
// iptables.
func canal(*BackstageGitops) *dagger.File {
	const file = "/canal.yaml"
	return from(goImage).
		WithFile(file, moduleFiles(calicoModule, "manifests/canal.yaml").File("canal.yaml")).
		WithExec([]string{"sed", "-i",
			"-e", "s|docker.io/flannel/flannel:.*|" + flannelImage + "|",
			"-e", "s|cpu: 250m|cpu: 50m|",
			"-e", "s|^\\( *\\)- name: FELIX_HEALTHENABLED|\\1- {name: FELIX_IPTABLESFILTERALLOWACTION, value: Return}\\n\\1- {name: FELIX_XDPENABLED, value: \"false\"}\\n\\1- {name: FELIX_USAGEREPORTINGENABLED, value: \"false\"}\\n&|",
			file}).
		File(file)
}

// gatewayKinds are those of the Gateway API's standard channel, one file each.
func gatewayKinds(*BackstageGitops) *dagger.File {
	const folder, file = "/standard", "/gateway-api.yaml"
	return from(goImage).
		WithDirectory(folder, moduleFiles(gatewayModule, "config/crd/standard").Directory("standard")).
		WithExec([]string{"find", folder, "-name", "*.yaml", "-exec", "sed", "-s", "1i ---", "{}", "+"}, dagger.ContainerWithExecOpts{RedirectStdout: file}).
		File(file)
}

// notifications are the objects of Argo CD's notifications controller, by the manifest of
// its whole release: a cluster here has the minimum, which leaves the controller out.
func notifications(m *BackstageGitops) *dagger.File {
	const whole, file = "/install.yaml", "/notifications.yaml"
	return from(goImage).
		WithFile(whole, dag.Argocd(dagger.ArgocdOpts{Program: m.gitops()}).Manifests(dagger.ArgocdManifestsOpts{Full: true})).
		WithExec([]string{"awk", "-v", "RS=---\\n",
			`/\n    app.kubernetes.io\/component: notifications-controller\n/ { sub(/\nmetadata:\n/, "&  namespace: argocd\n"); print RS $0 }`, whole},
			dagger.ContainerWithExecOpts{RedirectStdout: file}).
		File(file)
}

var on, off = map[string]any{"enabled": true}, map[string]any{"enabled": false}

// versionOf is the version of PATH@VERSION.
func versionOf(module string) string {
	_, version, _ := strings.Cut(module, "@")
	return version
}

func tagOf(module string) map[string]any { return map[string]any{"tag": versionOf(module)} }

// helmChart is a chart in a Go module, which Go's checksum database knows.
type helmChart struct {
	module, path, name, namespace string
	// kinds is a file of the module with CRDs that are not in the chart.
	kinds  string
	values map[string]any
}

// moduleFiles are a file or a folder of a Go module, in a folder.
func moduleFiles(module, file string) *dagger.Directory {
	return goContainer(dag.Directory()).
		WithExec([]string{"go", "mod", "download", module}).
		// Out of the cache volume: a mounted one is not part of the result.
		WithExec([]string{"mkdir", "/files"}).
		WithExec([]string{"cp", "-r", "/go/pkg/mod/" + module + "/" + file, "/files"}).
		Directory("/files")
}

// rendered is what a chart installs, with the namespace that it is installed in.
func rendered(c helmChart) func(*BackstageGitops) *dagger.File {
	return func(m *BackstageGitops) *dagger.File {
		values, err := json.Marshal(c.values)
		if err != nil {
			panic(err) // texts only
		}
		chart := moduleFiles(c.module, c.path).Directory(path.Base(c.path))
		objects, namespace, kinds := "/objects.yaml", "/namespace.yaml", "/kinds.yaml"
		box := m.toolbox().WithNewFile(kinds, "")
		if c.kinds != "" {
			box = box.WithFile(kinds, moduleFiles(c.module, c.kinds).File(path.Base(c.kinds)))
		}
		return box.
			WithDirectory("/chart", chart).
			// Charts that it may bring along are not in the module.
			WithExec([]string{"sed", "-i", "/^dependencies:/,/^[^ ]/{/^dependencies:/d;/^ /d}", "/chart/Chart.yaml"}).
			WithNewFile("/values.yaml", string(values)).
			WithNewFile(namespace, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: "+c.namespace+"\n---\n").
			WithExec([]string{"gitops", "chart", "render", "--chart", "/chart", "--values", "/values.yaml", "--name", c.name, "--namespace", c.namespace},
				dagger.ContainerWithExecOpts{RedirectStdout: objects}).
			WithExec([]string{"cat", namespace, kinds, objects}, dagger.ContainerWithExecOpts{RedirectStdout: "/manifest.yaml"}).
			File("/manifest.yaml")
	}
}

// platform is what a proof of features wants in the cluster.
type platform struct {
	// manifests are those of the components, NAME.yaml each.
	manifests *dagger.Directory
	images    []string
	// network is the manifest of one that the pods need; nil: any will do.
	network *dagger.File
}

// platform gathers the components of features.
func (m *BackstageGitops) platform(ctx context.Context, features []feature) (platform, error) {
	p := platform{manifests: dag.Directory()}
	for _, s := range features {
		for _, name := range s.Components {
			c, known := components[name]
			if !known {
				return p, fmt.Errorf("nothing here brings %s", name)
			}
			p.images = append(p.images, c.images...)
			if c.manifest == nil {
				continue
			}
			file := c.manifest(m)
			if c.network {
				p.network = file
				continue
			}
			out, err := m.toolbox().WithFile("/manifest.yaml", file).
				WithExec([]string{"gitops", "manifests", "images", "--manifest", "/manifest.yaml"}).
				Stdout(ctx)
			if err != nil {
				return p, fmt.Errorf("the manifest of %s: %w", name, err)
			}
			var images []string
			if err := json.Unmarshal([]byte(out), &images); err != nil {
				return p, err
			}
			p.images = append(p.images, images...)
			p.manifests = p.manifests.WithFile(name+".yaml", file)
		}
	}
	return p, nil
}
