package proof

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

var (
	//go:embed git.yaml
	gitManifest string
	//go:embed traefik.yaml
	ingressManifest []byte
	//go:embed values.yaml
	valuesTemplate string
)

// serveGit gives the Git service, which is outside the cluster, a name inside: pods do not know the hosts of the
// session.
func (s *Session) serveGit(ctx context.Context) (string, error) {
	address, err := url.Parse(s.Git)
	if err != nil {
		return "", fmt.Errorf("the address of the repository: %w", err)
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", address.Hostname())
	if err != nil {
		return "", fmt.Errorf("find the Git service: %w", err)
	}
	port, err := strconv.Atoi(address.Port())
	if err != nil {
		return "", fmt.Errorf("the address of the repository, %s, has no port", s.Git)
	}
	var yaml bytes.Buffer
	if err := template.Must(template.New("").Parse(gitManifest)).Execute(&yaml, map[string]any{"IP": ips[0], "Port": port}); err != nil {
		return "", err
	}
	if _, err := s.apply(ctx, yaml.Bytes()); err != nil {
		return "", err
	}
	s.gitInCluster = fmt.Sprintf("http://git.gitops-session.svc.cluster.local:%d", port)
	s.repo = s.gitInCluster + address.Path
	return s.repo, nil
}

// startIngress runs a real ingress controller.
func (s *Session) startIngress(ctx context.Context) (string, error) {
	applied, err := s.apply(ctx, ingressManifest)
	if err != nil {
		return "", err
	}
	if err := manifests.Wait(ctx, s.Client, applied); err != nil {
		return "", err
	}
	return manifests.Images(applied)[0], nil
}

func (s *Session) apply(ctx context.Context, yaml []byte) ([]*unstructured.Unstructured, error) {
	objects, err := manifests.Decode(bytes.NewReader(yaml))
	if err != nil {
		return nil, err
	}
	return manifests.Apply(ctx, s.Client, objects, manifests.Options{})
}

// values are those of the session, above the chart's own: where people reach the portal.
func (s *Session) values() ([]byte, error) {
	ingress, err := url.Parse(s.Ingress)
	if err != nil {
		return nil, fmt.Errorf("the address of the ingress: %w", err)
	}
	var yaml bytes.Buffer
	err = template.Must(template.New("").Parse(valuesTemplate)).Execute(&yaml, map[string]any{"URL": s.Ingress, "Host": ingress.Hostname()})
	return yaml.Bytes(), err
}

func (s *Session) syncRelease(ctx context.Context) (string, error) {
	values, err := s.values()
	if err != nil {
		return "", err
	}
	app := sync.Application{
		Name: application, Repo: s.repo, Path: s.Chart, Revision: s.Branch,
		Namespace: sync.DefaultNamespace, Project: sync.DefaultProject,
		DestinationNamespace: namespace, Values: values,
	}
	if _, err := app.Apply(ctx, s.Client); err != nil {
		return "", err
	}
	result, err := s.wait(ctx, s.Revision)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s, %s at %s; %d pod runs %s", result.Sync, result.Health, result.Phase, s.Revision, len(result.Pods), s.Digest), nil
}

// wait waits until the revision runs, by the digest of the release.
func (s *Session) wait(ctx context.Context, revision string) (*sync.Result, error) {
	return sync.Wait{
		Name: application, Namespace: sync.DefaultNamespace, Timeout: s.Timeout,
		Want: sync.Want{Revision: revision, Image: s.Image, Digest: s.Digest},
	}.Until(ctx, s.Client)
}
