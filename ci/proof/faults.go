package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
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
	// run has the repository cloned.
	run func(*Session, context.Context) (string, error)
	// away says that the portal is away meanwhile. It serves through all others.
	away bool
}

// faults are in the order in which they run in one cluster. The last one ends every container.
var faults = []fault{
	{name: "image-tag", shows: "an image tag that does not exist is refused", run: (*Session).missingTag},
	{name: "crash", shows: "an app that crashes at its start is refused", run: (*Session).crash},
	{name: "manifest", shows: "a manifest that does not parse is refused", run: (*Session).brokenManifest},
	{name: "git", shows: "a sync outlives the Git service", run: (*Session).gitDown},
	{name: "registry", shows: "a pull outlives the registry", run: (*Session).registryDown},
	{name: "repo-server", shows: "a sync outlives Argo CD's repo-server", run: (*Session).repoServerKilled},
	{name: "push", shows: "a push between bump and commit is not lost", run: (*Session).concurrentPush},
	{name: "node", shows: "the cluster outlives a restart of its nodes", run: (*Session).nodesRestarted, away: true},
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

// survived has a fault happen while people use the portal. Where it is not shown, the portal is brought back to what it
// was: the next one finds what it needs.
func (s *Session) survived(ctx context.Context, f fault) (string, error) {
	if err := s.cloned(ctx); err != nil {
		return "", err
	}
	before, err := s.repository.tip(ctx)
	if err != nil {
		return "", err
	}
	run := func(ctx context.Context) (string, error) { return f.run(s, ctx) }
	if !f.away {
		run = s.attended(run)
	}
	shown, err := run(ctx)
	if err == nil || ctx.Err() != nil {
		return shown, err
	}
	if e := s.recover(ctx, before); e != nil {
		err = fmt.Errorf("%w; and the portal is not what it was before: %w", err, e)
	}
	return "", err
}

// attended has people use the portal meanwhile.
func (s *Session) attended(run func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		people := s.visit(ctx)
		shown, err := run(ctx)
		asked, failed := people.stop()
		if err == nil {
			err = complaint(asked, failed, " meanwhile")
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s; %d requests meanwhile, none failed", shown, asked), nil
	}
}

// recover has the portal run the charts of a revision again, whatever was committed since.
func (s *Session) recover(ctx context.Context, revision string) error {
	if err := s.repository.follow(ctx); err != nil {
		return err
	}
	return s.backTo(ctx, revision)
}

// backTo commits the charts of a revision again, and waits until they run.
func (s *Session) backTo(ctx context.Context, revision string) error {
	if err := s.repository.goBack(ctx, revision, "charts"); err != nil {
		return err
	}
	now, err := s.repository.commit(ctx, "test: go back to "+short(revision), nil, nil)
	if err != nil {
		return err
	}
	if _, err := s.wait(ctx, now); err != nil {
		return fmt.Errorf("after the charts went back: %w", err)
	}
	return until(ctx, arrives, func(ctx context.Context) error { return s.appAt(ctx, s.Ingress) })
}

func (s *Session) missingTag(ctx context.Context) (string, error) {
	return s.refused(ctx, "test: name a tag that does not exist", map[string]any{
		"image": map[string]any{"tag": "does-not-exist", "digest": ""},
	}, nil, func(f *sync.Failure) error { return namesImage(f, s.Image+":does-not-exist") })
}

// namesImage says that a failure names the image that is not there.
func namesImage(f *sync.Failure, image string) error {
	// Kubernetes leaves docker.io out.
	if want := strings.TrimPrefix(image, "docker.io/") + " is not in its registry"; !strings.Contains(f.Message, want) {
		return fmt.Errorf("it does not say that %s", want)
	}
	return nil
}

// strange is a database that Backstage does not know.
const strange = "no-such-database"

func (s *Session) crash(ctx context.Context) (string, error) {
	// Not among what Backstage reads again while it runs: the pods that serve are not touched by it.
	return s.refused(ctx, "test: name a database that Backstage does not know", map[string]any{
		"appConfig": map[string]any{"backend": map[string]any{"database": map[string]any{"client": strange}}},
	}, nil, lastWords)
}

// lastWords says that a failure is a crash of the backend, with what it said last.
func lastWords(f *sync.Failure) error {
	said := func(line string) bool { return strings.Contains(line, strange) }
	switch {
	case f.Reason != "CrashLoopBackOff":
		return fmt.Errorf("it is %s, not CrashLoopBackOff", f.Reason)
	case !strings.Contains(f.Message, "container backend"):
		return errors.New("it does not name the container backend")
	case !strings.Contains(f.Message, "its log ends with ") || !slices.ContainsFunc(f.Log, said):
		return fmt.Errorf("it does not repeat the container's last words, of %s", strange)
	}
	return nil
}

func (s *Session) brokenManifest(ctx context.Context) (string, error) {
	return s.refused(ctx, "test: add a manifest that does not parse", nil, map[string][]byte{
		"templates/proof-broken.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: proof-broken\n"),
	}, fileAndLine)
}

// line is where a template does not parse, in Helm's words.
var line = regexp.MustCompile(`/templates/proof-broken\.yaml\b.*\bline \d+`)

// fileAndLine says that a failure tells where the manifest does not parse.
func fileAndLine(f *sync.Failure) error {
	if !line.MatchString(f.Message) {
		return errors.New("it does not tell the file templates/proof-broken.yaml and the line")
	}
	return nil
}

// refused makes a commit that cannot run, sees that this is said, in words that explain it, while the release before goes
// on serving, and takes the commit back.
func (s *Session) refused(ctx context.Context, subject string, values map[string]any, files map[string][]byte, explained func(*sync.Failure) error) (string, error) {
	began := time.Now()
	revision, err := s.change(ctx, subject, values, files)
	if err != nil {
		return "", err
	}
	result, err := s.wait(ctx, revision)
	detected := time.Since(began)
	switch {
	case err == nil:
		return "", errors.New("Argo CD took the commit for one that runs")
	case !errors.Is(err, sync.ErrFailed) || result == nil || result.Failure == nil:
		return "", fmt.Errorf("it was not refused: %w", err)
	}
	if e := explained(result.Failure); e != nil {
		return "", fmt.Errorf("it was refused, and not explained: %w: %w", e, err)
	}
	began = time.Now()
	if err := s.takeBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("refused after %.1f s: %s; taken back in %.1f s", detected.Seconds(), firstLine(result.Failure.Error()), time.Since(began).Seconds()), nil
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

// slow is a hook that keeps a sync running, so that something can happen meanwhile: until letGo, or for a minute.
const slow = `apiVersion: batch/v1
kind: Job
metadata:
  name: proof-slow
  annotations:
    argocd.argoproj.io/hook: PreSync
    argocd.argoproj.io/hook-delete-policy: BeforeHookCreation,HookSucceeded
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: slow
          image: IMAGE
          command: [node, -e, "process.on('SIGUSR2', () => process.exit()); setTimeout(() => {}, 60000)"]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// slowPod are the labels of the hook's pod.
const slowPod = "batch.kubernetes.io/job-name=proof-slow"

// letGo ends the hook, so that the sync goes on.
func (s *Session) letGo(ctx context.Context) error {
	told := false
	return until(ctx, s.Timeout, func(ctx context.Context) error {
		pods, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: slowPod, FieldSelector: "status.phase=Running"})
		switch {
		case err != nil:
			return err
		case len(pods.Items) == 0 && told:
			return nil
		case len(pods.Items) == 0:
			return errors.New("the hook that keeps the sync running has no running pod")
		}
		told = true
		// Its end may take this command with it.
		_, err = s.Client.Exec(ctx, namespace, pods.Items[0].Name, "slow", "node", "-e", "process.kill(1, 'SIGUSR2')")
		return cmp.Or(err, errors.New("the hook that keeps the sync running does not end"))
	})
}

// slowSync makes a commit whose sync lasts until it is let go, and returns once Argo CD is at work on it.
func (s *Session) slowSync(ctx context.Context, subject string) (revision string, err error) {
	revision, err = s.change(ctx, subject, nil, map[string][]byte{
		"templates/proof-extra.yaml": []byte(extra),
		"templates/proof-slow.yaml":  []byte(strings.ReplaceAll(slow, "IMAGE", s.Image+"@"+s.Digest)),
	})
	if err != nil {
		return "", err
	}
	// Its only use is that Argo CD looks at Git now.
	asking, stop := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = s.wait(asking, revision)
	}()
	defer func() { stop(); <-asked }()
	return revision, until(ctx, s.Timeout, func(ctx context.Context) error { return s.operation(ctx, revision, "Running") })
}

// operation says whether Argo CD's last operation is one for a revision, and in a phase.
func (s *Session) operation(ctx context.Context, revision, phase string) error {
	status, err := sync.Read(ctx, s.Client, sync.DefaultNamespace, application)
	if err != nil {
		return err
	}
	if status.OperationRevision != revision || status.Phase != phase {
		return fmt.Errorf("the last operation is %s at %s, not %s at %s", cmp.Or(status.Phase, "none"), cmp.Or(short(status.OperationRevision), "no commit"), phase, short(revision))
	}
	return nil
}

// gitDown takes the Git service away during a sync, which has what it needs and ends, and then has another commit wait
// for it.
func (s *Session) gitDown(ctx context.Context) (string, error) {
	before, err := s.repository.tip(ctx)
	if err != nil {
		return "", err
	}
	syncing, err := s.slowSync(ctx, "test: sync while Git goes down")
	if err != nil {
		return "", err
	}
	heal, err := cluster.Cut(ctx, s.Cluster, s.gitAddress)
	if err != nil {
		return "", err
	}
	revision, said, err := s.withoutGit(ctx, syncing)
	if err := errors.Join(err, heal(context.WithoutCancel(ctx))); err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := s.wait(ctx, revision); err != nil {
		return "", fmt.Errorf("after the Git service was back: %w", err)
	}
	back := time.Since(began)
	if err := s.backTo(ctx, before); err != nil {
		return "", err
	}
	return fmt.Sprintf("the sync that ran when it went down ended well; the next commit: %s; synced %.1f s after it was back", said, back.Seconds()), nil
}

// withoutGit sees the sync that runs end, and makes a commit that is waited for.
func (s *Session) withoutGit(ctx context.Context, syncing string) (revision, said string, err error) {
	if err := s.operation(ctx, syncing, "Running"); err != nil {
		return "", "", fmt.Errorf("Git went down too late: %w", err)
	}
	if err := s.letGo(ctx); err != nil {
		return "", "", err
	}
	if err := until(ctx, time.Minute, func(ctx context.Context) error { return s.operation(ctx, syncing, "Succeeded") }); err != nil {
		return "", "", fmt.Errorf("the sync that ran: %w", err)
	}
	revision, err = s.change(ctx, "test: change the ConfigMap while Git is down", nil, map[string][]byte{"templates/proof-extra.yaml": []byte(extra + "data: {git: down}\n")})
	if err != nil {
		return "", "", err
	}
	said, err = s.waits(ctx, revision, s.Digest, "cannot read the commit")
	return revision, said, err
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
	revision, err := s.slowSync(ctx, "test: sync while the repo-server dies")
	if err != nil {
		return "", err
	}
	began := time.Now()
	var kill int64
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &kill}, metav1.ListOptions{LabelSelector: repoServer}); err != nil {
		return "", err
	}
	if err := s.operation(ctx, revision, "Running"); err != nil {
		return "", fmt.Errorf("the repo-server was killed too late: %w", err)
	}
	if err := s.letGo(ctx); err != nil {
		return "", err
	}
	if _, err := s.wait(ctx, revision); err != nil {
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
	revision, err := s.repository.tip(ctx)
	if err != nil {
		return "", err
	}
	if err := s.silent(ctx); err != nil {
		return "", fmt.Errorf("before the restart: %w", err)
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
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	if _, err := request(ctx, http.MethodGet, s.NodePort+"/", "", nil); err != nil {
		return "", err
	}
	// Until CoreDNS knows the cluster again it passes names on that are the cluster's own.
	outside, err := cluster.Fenced(ctx, s.Cluster)
	if err != nil {
		return "", err
	}
	if others := outside.Packets - outside.Questions; others > 0 {
		return "", fmt.Errorf("%d packets were on their way out after the restart, to %s", others, strings.Join(outside.Addresses, ", "))
	}
	if err := cluster.Forget(ctx, s.Cluster); err != nil {
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
