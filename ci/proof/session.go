package proof

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
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
	git, err := url.Parse(s.Git)
	if err != nil {
		return "", fmt.Errorf("the address of the repository: %w", err)
	}
	port, err := strconv.Atoi(git.Port())
	if err != nil {
		return "", fmt.Errorf("the address of the repository, %s, has no port", s.Git)
	}
	if s.gitAddress, err = address(ctx, git.Host); err != nil {
		return "", err
	}
	ip, _, err := net.SplitHostPort(s.gitAddress)
	if err != nil {
		return "", err
	}
	var yaml bytes.Buffer
	if err := template.Must(template.New("").Parse(gitManifest)).Execute(&yaml, map[string]any{"IP": ip, "Port": port}); err != nil {
		return "", err
	}
	if _, err := s.apply(ctx, yaml.Bytes()); err != nil {
		return "", err
	}
	s.gitInCluster = fmt.Sprintf("http://git.gitops-session.svc.cluster.local:%d", port)
	s.repo = s.gitInCluster + git.Path
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
	return s.syncWith(ctx, values)
}

// syncWith has Argo CD deploy the release with values above the chart's own.
func (s *Session) syncWith(ctx context.Context, values []byte) (string, error) {
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
	s.ran = result.Pods
	return fmt.Sprintf("%s, %s, %s at %s; %d pod runs %s", result.Sync, result.Health, result.Phase, s.Revision, len(result.Pods), s.Digest), nil
}

// wait waits until the revision runs, by the digest of the release.
func (s *Session) wait(ctx context.Context, revision string) (*sync.Result, error) {
	return s.waitFor(ctx, revision, s.Digest, s.Timeout)
}

// waitFor waits until the revision runs, by a digest of the release's image.
func (s *Session) waitFor(ctx context.Context, revision, digest string, limit time.Duration) (*sync.Result, error) {
	return sync.Wait{
		Name: application, Namespace: sync.DefaultNamespace, Timeout: limit,
		Want: sync.Want{Revision: revision, Image: s.Image, Digest: digest},
	}.Until(ctx, s.Client)
}

// elsewhere are addresses outside any session: one of a range and one of a domain that are for documentation, RFC 5737
// and RFC 2606.
var elsewhere = []string{"192.0.2.1:443", "registry.example:443"}

// hermetic reads what nodes and pods tried to reach outside the session, and sees that such a try is noticed.
func (s *Session) hermetic(ctx context.Context) (string, error) {
	outside, err := cluster.Fenced(ctx, s.Cluster)
	if err != nil {
		return "", err
	}
	if outside.Packets > 0 {
		return "", fmt.Errorf("%d packets were on their way out, to %s", outside.Packets, cmp.Or(strings.Join(outside.Addresses, ", "), "addresses that this kernel does not tell"))
	}
	for _, address := range elsewhere {
		if err := cluster.Reach(ctx, s.Cluster, address); err == nil {
			return "", fmt.Errorf("%s answers", address)
		}
		noticed, err := cluster.Fenced(ctx, s.Cluster)
		if err != nil {
			return "", err
		}
		if noticed.Packets == outside.Packets {
			return "", fmt.Errorf("a try to reach %s was not noticed", address)
		}
		outside = noticed
	}
	// The next proof in this cluster counts from here.
	if err := cluster.Forget(ctx, s.Cluster); err != nil {
		return "", err
	}
	return fmt.Sprintf("since the nodes had started no packet of theirs or of a pod was on its way out, to no registry and no name server; tries to reach %s were noticed", strings.Join(elsewhere, " and ")), nil
}
