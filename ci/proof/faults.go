package proof

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// ErrFault says that there is no such fault.
var ErrFault = errors.New("no such fault")

// fault is something that goes wrong, on purpose: it has to be detected, explained in words, and survived.
type fault struct {
	// name is how it is asked for, shows what is shown by it.
	name, shows string
	run         func(*Session, context.Context) (string, error)
}

// faults are in the order in which they run in one cluster. The last one ends every container.
var faults = []fault{
	{"image-tag", "an image tag that does not exist is refused", (*Session).missingTag},
	{"crash", "an app that crashes at its start is refused", (*Session).crash},
	{"manifest", "a manifest that does not parse is refused", (*Session).brokenManifest},
	{"git", "a sync outlives the Git service", (*Session).gitDown},
	{"registry", "a pull outlives the registry", (*Session).registryDown},
	{"repo-server", "a sync outlives Argo CD's repo-server", (*Session).repoServerKilled},
	{"push", "a push between bump and commit is not lost", (*Session).concurrentPush},
	{"node", "the cluster outlives a restart of its nodes", (*Session).nodesRestarted},
}

// AllFaults asks for each of them.
const AllFaults = "all"

// Faults are the names of the faults that a proof can have.
func Faults() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// CheckFaults refuses names of which there is no fault.
func CheckFaults(names []string) error {
	_, err := chosen(names)
	return err
}

// chosen are the faults that are asked for by name.
func chosen(names []string) ([]fault, error) {
	if err := known(names, Faults(), ErrFault); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !asked(names, f.name) }), nil
}

// known refuses names that are neither among all nor the word for each of them.
func known(names, all []string, unknown error) error {
	for _, n := range names {
		if n != AllFaults && !slices.Contains(all, n) {
			return fmt.Errorf("%w: %q; there are %s, and %s for each of them", unknown, n, strings.Join(all, ", "), AllFaults)
		}
	}
	return nil
}

// asked says whether a name is among those asked for.
func asked(names []string, name string) bool {
	return slices.Contains(names, AllFaults) || slices.Contains(names, name)
}

// patience is how long a fault that may pass is left alone, to see that it is not taken for one that does not.
const patience = 25 * time.Second

func (s *Session) missingTag(ctx context.Context) (string, error) {
	return s.refused(ctx, "test: name a tag that does not exist", map[string]any{
		"image": map[string]any{"tag": "does-not-exist", "digest": ""},
	}, nil, "is not in its registry")
}

func (s *Session) crash(ctx context.Context) (string, error) {
	// Not among what Backstage reads again while it runs: the pods that serve are not touched by it.
	return s.refused(ctx, "test: name a database that Backstage does not know", map[string]any{
		"appConfig": map[string]any{"backend": map[string]any{"database": map[string]any{"client": "no-such-database"}}},
	}, nil, "container backend")
}

func (s *Session) brokenManifest(ctx context.Context) (string, error) {
	return s.refused(ctx, "test: add a manifest that does not parse", nil, map[string][]byte{
		"templates/proof-broken.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: proof-broken\n"),
	}, "proof-broken.yaml")
}

// refused makes a commit that cannot run, sees that this is said, in words with explanation in them, while the release
// before goes on serving, and takes the commit back.
func (s *Session) refused(ctx context.Context, subject string, values map[string]any, files map[string][]byte, explanation string) (string, error) {
	people := startPeople(ctx, s.Ingress+"/", s.NodePort+"/")
	began := time.Now()
	revision, err := s.change(ctx, subject, values, files)
	var result *sync.Result
	if err == nil {
		result, err = s.wait(ctx, revision)
	}
	detected := time.Since(began)
	asked, failed := people.stop()
	switch {
	case err == nil:
		return "", errors.New("Argo CD took the commit for one that runs")
	case !errors.Is(err, sync.ErrFailed) || result == nil || result.Failure == nil:
		return "", fmt.Errorf("it was not refused: %w", err)
	case !strings.Contains(result.Failure.Error(), explanation):
		return "", fmt.Errorf("it was refused in other words than %q: %w", explanation, err)
	case len(failed) > 0:
		return "", fmt.Errorf("%d of %d requests failed meanwhile, the first: %w", len(failed), asked, failed[0])
	}
	began = time.Now()
	if err := s.takeBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("refused after %.1f s: %s; %d requests meanwhile, none failed; taken back in %.1f s",
		detected.Seconds(), firstLine(result.Failure.Error()), asked, time.Since(began).Seconds()), nil
}

// takeBack reverts the last commit and waits until the release runs as before it.
func (s *Session) takeBack(ctx context.Context) error {
	revision, err := s.repository.revert(ctx)
	if err != nil {
		return err
	}
	if _, err := s.wait(ctx, revision); err != nil {
		return fmt.Errorf("after the commit was taken back: %w", err)
	}
	return until(ctx, arrives, func(ctx context.Context) error { return s.appAt(ctx, s.Ingress) })
}

func (s *Session) gitDown(ctx context.Context) (string, error) {
	heal, err := cluster.Cut(ctx, s.Cluster, s.gitAddress)
	if err != nil {
		return "", err
	}
	revision, err := s.change(ctx, "test: add a ConfigMap while Git is down", nil, map[string][]byte{"templates/proof-extra.yaml": []byte(extra)})
	var said string
	if err == nil {
		said, err = s.waits(ctx, revision, s.Digest, "cannot read the commit")
	}
	if err := errors.Join(err, heal(context.WithoutCancel(ctx))); err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := s.wait(ctx, revision); err != nil {
		return "", fmt.Errorf("after the Git service was back: %w", err)
	}
	back := time.Since(began)
	if err := s.takeBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; synced %.1f s after it was back", said, back.Seconds()), nil
}

// waits sees that a revision is waited for, and not given up, for a reason that may pass.
func (s *Session) waits(ctx context.Context, revision, digest, reason string) (string, error) {
	_, err := s.waitFor(ctx, revision, digest, patience)
	switch {
	case err == nil:
		return "", errors.New("the revision runs all the same")
	case !errors.Is(err, sync.ErrTimeout):
		return "", fmt.Errorf("it was given up: %w", err)
	case !strings.Contains(err.Error(), reason):
		return "", fmt.Errorf("it is waited for in other words than %q: %w", reason, err)
	}
	_, why, _ := strings.Cut(err.Error(), patience.String()+": ")
	return firstLine(why), nil
}

func (s *Session) registryDown(ctx context.Context) (string, error) {
	digest, err := s.variant("registry")
	if err != nil {
		return "", err
	}
	registry, err := address(ctx, s.Registry)
	if err != nil {
		return "", err
	}
	heal, err := cluster.Cut(ctx, s.Cluster, registry)
	if err != nil {
		return "", err
	}
	revision, err := s.change(ctx, "test: name another image while the registry is down", map[string]any{
		"image": map[string]any{"tag": "registry", "digest": digest},
	}, nil)
	var said string
	if err == nil {
		said, err = s.waits(ctx, revision, digest, "does not answer")
	}
	if err := errors.Join(err, heal(context.WithoutCancel(ctx))); err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := s.waitFor(ctx, revision, digest, s.Timeout); err != nil {
		return "", fmt.Errorf("after the registry was back: %w", err)
	}
	back := time.Since(began)
	if err := s.takeBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; the image runs %.1f s after it was back", said, back.Seconds()), nil
}

// repoServer are the labels of the part of Argo CD that reads Git and renders charts.
const repoServer = "app.kubernetes.io/name=argocd-repo-server"

func (s *Session) repoServerKilled(ctx context.Context) (string, error) {
	pods := s.Client.Core.Pods(sync.DefaultNamespace)
	before, err := pods.List(ctx, metav1.ListOptions{LabelSelector: repoServer})
	if err != nil {
		return "", err
	}
	if len(before.Items) == 0 {
		return "", errors.New("there is no repo-server")
	}
	revision, err := s.change(ctx, "test: add a ConfigMap while the repo-server dies", nil, map[string][]byte{"templates/proof-extra.yaml": []byte(extra)})
	if err != nil {
		return "", err
	}
	began := time.Now()
	synced := make(chan error, 1)
	go func() {
		_, err := s.wait(ctx, revision)
		synced <- err
	}()
	var kill int64
	err = pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &kill}, metav1.ListOptions{LabelSelector: repoServer})
	if err := errors.Join(err, <-synced); err != nil {
		return "", err
	}
	back := time.Since(began)
	after, err := pods.List(ctx, metav1.ListOptions{LabelSelector: repoServer})
	if err != nil {
		return "", err
	}
	for _, p := range after.Items {
		if p.UID == before.Items[0].UID {
			return "", fmt.Errorf("the repo-server %s was not killed", p.Name)
		}
	}
	if err := s.takeBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("its pod %s was killed during the sync, which ended %.1f s later all the same", before.Items[0].Name, back.Seconds()), nil
}

func (s *Session) nodesRestarted(ctx context.Context) (string, error) {
	if err := s.cloned(ctx); err != nil {
		return "", err
	}
	revision, err := s.repository.tip(ctx)
	if err != nil {
		return "", err
	}
	began := time.Now()
	if err := cluster.Restart(ctx, s.Cluster); err != nil {
		return "", err
	}
	if err := until(ctx, s.Timeout, func(ctx context.Context) error {
		_, err := s.Client.Core.Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return kube.Unreachable(err)
	}); err != nil {
		return "", err
	}
	api := time.Since(began)
	// The status that Argo CD left is from before; its own pods have to come back to see what is now.
	if err := until(ctx, s.Timeout, func(ctx context.Context) error {
		pod, err := s.pod(ctx)
		if err != nil {
			return err
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Running == nil || c.State.Running.StartedAt.Time.Before(began.Truncate(time.Second)) || !c.Ready {
				return fmt.Errorf("container %s of pod %s has not started again", c.Name, pod.Name)
			}
		}
		return nil
	}); err != nil {
		return "", err
	}
	if _, err := s.wait(ctx, revision); err != nil {
		return "", err
	}
	if err := until(ctx, arrives, s.signIn); err != nil {
		return "", err
	}
	if _, err := s.entities(ctx); err != nil {
		return "", fmt.Errorf("the catalog: %w", err)
	}
	if _, err := request(ctx, http.MethodGet, s.NodePort+"/", "", nil); err != nil {
		return "", err
	}
	return fmt.Sprintf("the API answers after %.1f s, the portal and its catalog after %.1f s, at the same revision and digest", api.Seconds(), time.Since(began).Seconds()), nil
}

// address is HOST:PORT with the host's IP address: nodes do not know the session's names.
func address(ctx context.Context, hostPort string) (string, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", err
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", hostPort, err)
	}
	return net.JoinHostPort(ips[0].String(), port), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
