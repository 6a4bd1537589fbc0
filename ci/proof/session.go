package proof

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	controller, err := ingressController()
	if err != nil {
		return "", err
	}
	return manifests.Images(controller)[0], s.runIngress(ctx, controller)
}

// ingressController is the session's, with arguments more.
func ingressController(more ...string) ([]*unstructured.Unstructured, error) {
	objects, err := manifests.Decode(bytes.NewReader(ingressManifest))
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil {
			return nil, err
		}
		container, ok := containers[0].(map[string]any)
		if !ok {
			return nil, errors.New("the ingress controller has no container")
		}
		args, _, err := unstructured.NestedStringSlice(container, "args")
		if err != nil {
			return nil, err
		}
		if err := unstructured.SetNestedStringSlice(container, append(args, more...), "args"); err != nil {
			return nil, err
		}
		return objects, unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
	}
	return nil, errors.New("the ingress controller has no Deployment")
}

// runIngress applies an ingress controller and waits until it runs.
func (s *Session) runIngress(ctx context.Context, controller []*unstructured.Unstructured) error {
	applied, err := manifests.Apply(ctx, s.Client, controller, manifests.Options{})
	if err != nil {
		return err
	}
	return s.started(ctx, applied...)
}

func (s *Session) apply(ctx context.Context, yaml []byte) ([]*unstructured.Unstructured, error) {
	objects, err := manifests.Decode(bytes.NewReader(yaml))
	if err != nil {
		return nil, err
	}
	return manifests.Apply(ctx, s.Client, objects, manifests.Options{})
}

// runs applies manifests and waits until what they make runs.
func (s *Session) runs(ctx context.Context, yaml []byte) ([]*unstructured.Unstructured, error) {
	applied, err := s.apply(ctx, yaml)
	if err != nil {
		return nil, err
	}
	return applied, s.started(ctx, applied...)
}

// started waits until workloads run.
func (s *Session) started(ctx context.Context, workloads ...*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return manifests.Wait(ctx, s.Client, workloads)
}

// remove deletes an object with what it has made.
func (s *Session) remove(ctx context.Context, obj *unstructured.Unstructured) error {
	r, err := s.Client.Resource(obj, obj.GetNamespace())
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	return r.Delete(ctx, obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
}

// secret makes a Secret, unless there is one of the name.
func (s *Session) secret(ctx context.Context, in, name string, data map[string]string) (made bool, err error) {
	_, err = s.Client.Core.Secrets(in).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{FieldManager: manifests.Manager})
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	return err == nil, err
}

// namespaced makes a namespace, unless there is one of the name.
func (s *Session) namespaced(ctx context.Context, name string) error {
	_, err := s.Client.Core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{FieldManager: manifests.Manager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
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

// deployed is the portal as Argo CD deploys it, with values above the chart's own.
func (s *Session) deployed(values []byte) sync.Application {
	return sync.Application{
		Name: application, Repo: s.repo, Path: s.Chart, Revision: s.Branch,
		Namespace: sync.DefaultNamespace, Project: sync.DefaultProject,
		DestinationNamespace: namespace, Values: values,
	}
}

// syncWith has Argo CD deploy the release with values above the chart's own.
func (s *Session) syncWith(ctx context.Context, values []byte) (string, error) {
	_, absent := sync.Read(ctx, s.Client, sync.DefaultNamespace, application)
	if _, err := s.deployed(values).Apply(ctx, s.Client); err != nil {
		return "", err
	}
	result, err := s.wait(ctx, s.Revision)
	if err != nil {
		return "", err
	}
	s.ran = result.Pods
	if err := operated(result, s.Revision, absent != nil); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s at %s; operation %s at %s; %d pod runs %s", result.Sync, result.Health, result.Revision, result.Phase, result.OperationRevision, len(result.Pods), s.Digest), nil
}

// operated says that an operation of Argo CD's succeeded, and of an Application that is new that it was one for exactly
// this revision. Where another was there before, this one may change no object, and Argo CD begins no operation then.
func operated(r *sync.Result, revision string, fresh bool) error {
	if r.Phase != "Succeeded" || fresh && r.OperationRevision != revision {
		return fmt.Errorf("the last operation is %s at %s, not Succeeded at %s", cmp.Or(r.Phase, "none"), cmp.Or(r.OperationRevision, "no commit"), revision)
	}
	return nil
}

// portalContainers are those of the portal's pods, as the chart names them: each runs the release's image.
var portalContainers = []string{"backend", "frontend"}

// wait waits until the revision runs, by the digest of the release.
func (s *Session) wait(ctx context.Context, revision string) (*sync.Result, error) {
	return s.waitFor(ctx, revision, s.Digest, s.Timeout)
}

// waitFor waits until the revision runs, by a digest of the release's image.
func (s *Session) waitFor(ctx context.Context, revision, digest string, limit time.Duration) (*sync.Result, error) {
	return s.awaited(application, revision, digest, limit).Until(ctx, s.Client)
}

// awaited is that an Application runs a revision, by a digest of the release's image.
func (s *Session) awaited(name, revision, digest string, limit time.Duration) sync.Wait {
	return sync.Wait{
		Name: name, Namespace: sync.DefaultNamespace, Timeout: limit,
		Want: sync.Want{Revision: revision, Image: s.Image, Digest: digest, Containers: portalContainers},
	}
}
