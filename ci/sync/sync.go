package sync

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/dynamic"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

var (
	// ErrWant says that what to wait for is not well said.
	ErrWant = errors.New("invalid sync")
	// ErrTimeout says that a revision did not run in time, though it still might.
	ErrTimeout = errors.New("not in time")
	// ErrFailed says that a revision will never run.
	ErrFailed = errors.New("it will not run")
)

// Wait is how to wait for a revision.
type Wait struct {
	// Name and Namespace of the Application.
	Name, Namespace string
	Want
	// Hard has Argo CD forget the manifests it rendered before.
	Hard bool
	// ReadOnly changes nothing in the cluster, so that a kubeconfig that may only read is enough: Argo CD is not asked to
	// look at Git, no operation is ended and none is begun. A commit that Argo CD does not know yet is waited for.
	ReadOnly bool
	// Timeout is how long the revision may take.
	Timeout time.Duration
}

// DefaultTimeout is for an application whose images are there.
const DefaultTimeout = 3 * time.Minute

var commit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// Validate says in one sentence what is wrong.
func (w Wait) Validate() error {
	switch {
	case w.Name == "":
		return fmt.Errorf("%w: no Application", ErrWant)
	case !commit.MatchString(w.Revision):
		return fmt.Errorf("%w: the revision %q is not a whole commit hash; git rev-parse HEAD prints one", ErrWant, w.Revision)
	case (w.Image == "") != (w.Digest == ""):
		return fmt.Errorf("%w: an image and its digest belong together; give both or none", ErrWant)
	case w.Image == "" && len(w.Containers) > 0:
		return fmt.Errorf("%w: containers that must run no image; give the image and its digest as well", ErrWant)
	case w.ReadOnly && w.Hard:
		return fmt.Errorf("%w: whoever only reads cannot have Argo CD forget what it rendered", ErrWant)
	case w.Timeout <= 0:
		return fmt.Errorf("%w: a timeout of %s", ErrWant, w.Timeout)
	}
	if w.Image == "" {
		return nil
	}
	if _, err := imageref.ParseName(w.Image); err != nil {
		return fmt.Errorf("%w: %w", ErrWant, err)
	}
	if err := imageref.CheckDigest(w.Digest); err != nil {
		return fmt.Errorf("%w: %w", ErrWant, err)
	}
	return nil
}

func (w Wait) defaults() Wait {
	w.Namespace, w.Timeout = cmp.Or(w.Namespace, DefaultNamespace), cmp.Or(w.Timeout, DefaultTimeout)
	return w
}

// Until has Argo CD look at Git, unless it may only read, and returns when exactly the wanted revision, and the wanted
// digest, runs. Where that cannot happen any more it fails at once. The result is what was seen last, also with an error.
func (w Wait) Until(ctx context.Context, c *kube.Client) (*Result, error) {
	w = w.defaults()
	if err := w.Validate(); err != nil {
		return nil, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, ErrTimeout)
	defer cancel()
	l := &loop{Wait: w, client: c, apps: c.Dynamic.Resource(applications).Namespace(w.Namespace)}
	defer l.stop()
	result, err := l.run(ctx)
	if result != nil {
		result.Seconds = seconds(time.Since(began))
	}
	return result, err
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*100) / 100 }

// loop is the thin part: it feeds Judge what watches bring, and does what follows.
type loop struct {
	Wait
	client *kube.Client
	apps   dynamic.ResourceInterface

	observer   *kube.Observer
	namespaces []string
	// asked is the Application's version with the last request to look at Git.
	asked      string
	askedAt    time.Time
	requests   int
	misses     int
	terminated string
	synced     bool
	said       string
}

const refreshAnnotation = "argocd.argoproj.io/refresh"

func (l *loop) run(ctx context.Context) (*Result, error) {
	begin := l.refresh
	if l.ReadOnly {
		begin = l.find
	}
	if err := begin(ctx); err != nil {
		return nil, err
	}
	// Graces and delays end without the cluster changing anything.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := l.look(ctx)
		if err != nil {
			return nil, err
		}
		switch {
		case v.Done:
			return &v.Result, nil
		case v.Failure != nil:
			l.log(ctx, v.Failure)
			v.Result.Failure = v.Failure
			return &v.Result, fmt.Errorf("%s at %s: %w: %w", l.Name, short(l.Revision), ErrFailed, v.Failure)
		}
		if v.Waiting != l.said {
			l.said = v.Waiting
			slog.Info("waiting", "application", l.Name, "for", v.Waiting)
		}
		if err := l.act(ctx, v); err != nil {
			return &v.Result, err
		}
		select {
		case <-ctx.Done():
			return &v.Result, l.late(ctx, v)
		case <-l.observer.Changed():
		case <-tick.C:
		}
	}
}

func (l *loop) late(ctx context.Context, v Verdict) error {
	err := context.Cause(ctx)
	state := v.Waiting
	if e := l.observer.Err(); e != nil {
		state = kube.Unreachable(e).Error()
	}
	r := v.Result
	return fmt.Errorf("%s at %s: %w: after %s: %s (sync %s at %s, health %s, operation %s)", l.Name, short(l.Revision), err, l.Timeout, state,
		cmp.Or(r.Sync, "unknown"), cmp.Or(short(r.Revision), "no commit"), cmp.Or(r.Health, "unknown"), cmp.Or(r.Phase, "none"))
}

// ended is for a wait that saw nothing to judge.
func (l *loop) ended(ctx context.Context, err error) error {
	return fmt.Errorf("%s at %s: %w: after %s: %w", l.Name, short(l.Revision), context.Cause(ctx), l.Timeout, err)
}

// act does what a verdict asks for.
func (l *loop) act(ctx context.Context, v Verdict) error {
	if l.ReadOnly {
		if v.Sync {
			// Argo CD begins no operation by itself where the cluster is what the commit says.
			return fmt.Errorf("%s at %s: %w: %s; sync the Application, and start again", l.Name, short(l.Revision), ErrFailed, v.Waiting)
		}
		return nil
	}
	if v.Refresh && time.Since(l.askedAt) > l.pause() {
		if v.Missed {
			l.misses++
		} else {
			l.misses = 0
		}
		// After failures the repo server keeps the failure for an hour, and only a hard refresh makes it try again.
		l.Hard = l.Hard || !v.Missed && l.requests > 1
		if err := l.refresh(ctx); err != nil {
			return err
		}
	}
	switch {
	case v.Terminate:
		return l.terminate(ctx)
	case v.Sync && !l.synced:
		return l.sync(ctx)
	}
	return nil
}

// sync begins an operation for the revision, as argocd app sync does: once.
func (l *loop) sync(ctx context.Context) error {
	obj := l.application()
	if obj == nil {
		return nil
	}
	l.synced = true
	slog.Info("having the revision applied", "application", l.Name, "revision", l.Revision)
	patch, err := json.Marshal(map[string]any{"operation": operation(obj, l.Revision)})
	if err != nil {
		return err
	}
	_, err = l.patch(ctx, patch)
	return err
}

// operation applies a revision of an Application by its own policy.
func operation(app *unstructured.Unstructured, revision string) map[string]any {
	sync := map[string]any{"revision": revision}
	if options, found, err := unstructured.NestedStringSlice(app.Object, "spec", "syncPolicy", "syncOptions"); err == nil && found {
		sync["syncOptions"] = options
	}
	if prune, found, err := unstructured.NestedBool(app.Object, "spec", "syncPolicy", "automated", "prune"); err == nil && found {
		sync["prune"] = prune
	}
	o := map[string]any{"initiatedBy": map[string]any{"username": manifests.Manager}, "sync": sync}
	if retry, found, err := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "retry"); err == nil && found {
		o["retry"] = retry
	}
	return o
}

// pause is how long to leave Argo CD alone before it is asked again.
func (l *loop) pause() time.Duration {
	return min(time.Duration(l.requests)*time.Second, 10*time.Second)
}

// refresh asks Argo CD to look at Git now.
func (l *loop) refresh(ctx context.Context) error {
	kind := "normal"
	if l.Hard {
		kind = "hard"
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{refreshAnnotation: kind}}})
	if err != nil {
		return err
	}
	obj, err := l.patch(ctx, patch)
	if err != nil {
		return err
	}
	l.asked, l.askedAt = obj.GetResourceVersion(), time.Now()
	l.requests++
	return l.observe(ctx, read(obj).namespaces())
}

// find reads the Application, as refresh does, and asks for nothing.
func (l *loop) find(ctx context.Context) error {
	obj, err := l.answered(ctx, "read", func() (*unstructured.Unstructured, error) {
		return l.apps.Get(ctx, l.Name, metav1.GetOptions{})
	})
	if err != nil {
		return err
	}
	return l.observe(ctx, read(obj).namespaces())
}

// terminate ends an operation for another revision, as argocd app terminate-op does: once each.
func (l *loop) terminate(ctx context.Context) error {
	obj := l.application()
	if obj == nil {
		return nil
	}
	op := read(obj).Status.OperationState
	if op == nil || op.StartedAt.String() == l.terminated {
		return nil
	}
	l.terminated = op.StartedAt.String()
	slog.Info("ending an operation that is in the way", "application", l.Name, "revision", op.revision())
	_, err := l.patch(ctx, []byte(`{"status":{"operationState":{"phase":"`+phaseTerminating+`"}}}`))
	return err
}

// patch changes the Application.
func (l *loop) patch(ctx context.Context, patch []byte) (*unstructured.Unstructured, error) {
	return l.answered(ctx, "change", func() (*unstructured.Unstructured, error) {
		return l.apps.Patch(ctx, l.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manifests.Manager})
	})
}

// answered does something with the Application. While the API is away it tries again.
func (l *loop) answered(ctx context.Context, verb string, do func() (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	for {
		obj, err := do()
		var network *url.Error
		switch {
		case err == nil:
			return obj, nil
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("there is no Application %s/%s; gitops argocd application makes it", l.Namespace, l.Name)
		case !errors.As(err, &network) && !apierrors.IsServiceUnavailable(err) && !apierrors.IsTooManyRequests(err):
			return nil, fmt.Errorf("%s the Application %s/%s: %w", verb, l.Namespace, l.Name, err)
		}
		slog.Warn("the cluster's API does not answer, trying again", "error", kube.Unreachable(err))
		select {
		case <-ctx.Done():
			return nil, l.ended(ctx, kube.Unreachable(err))
		case <-time.After(time.Second):
		}
	}
}

var workloadResources = []schema.GroupVersionResource{kube.Deployments, kube.StatefulSets, kube.DaemonSets, kube.Jobs}

func (l *loop) appScope() kube.Scope {
	return kube.Scope{Resource: applications, Namespace: l.Namespace, Name: l.Name}
}

// observe watches the Application and the namespaces it has objects in.
func (l *loop) observe(ctx context.Context, namespaces []string) error {
	if l.observer != nil && slices.Equal(namespaces, l.namespaces) {
		return nil
	}
	scopes := []kube.Scope{l.appScope()}
	for _, n := range namespaces {
		for _, r := range append([]schema.GroupVersionResource{kube.Pods, kube.ReplicaSets, kube.Events}, workloadResources...) {
			scopes = append(scopes, kube.Scope{Resource: r, Namespace: n})
		}
	}
	o, err := l.client.Observe(ctx, scopes...)
	if err != nil {
		if ctx.Err() != nil {
			return l.ended(ctx, err)
		}
		return err
	}
	l.stop()
	l.observer, l.namespaces = o, namespaces
	return nil
}

func (l *loop) stop() {
	if l.observer != nil {
		l.observer.Stop()
	}
}

func (l *loop) application() *unstructured.Unstructured {
	if found := l.observer.List(l.appScope()); len(found) > 0 {
		return found[0]
	}
	return nil
}

// look judges what the watches hold now.
func (l *loop) look(ctx context.Context) (Verdict, error) {
	app := l.application()
	if app != nil {
		if err := l.observe(ctx, read(app).namespaces()); err != nil {
			return Verdict{}, err
		}
	}
	o := Observed{Application: app, Refreshed: l.ReadOnly || refreshed(app, l.asked), Misses: l.misses, Now: time.Now()}
	for _, n := range l.namespaces {
		in := func(r schema.GroupVersionResource) []*unstructured.Unstructured {
			return l.observer.List(kube.Scope{Resource: r, Namespace: n})
		}
		for _, r := range workloadResources {
			o.Workloads = append(o.Workloads, in(r)...)
		}
		o.ReplicaSets = append(o.ReplicaSets, in(kube.ReplicaSets)...)
		o.Pods = append(o.Pods, kube.As[corev1.Pod](in(kube.Pods))...)
		o.Events = append(o.Events, kube.As[corev1.Event](in(kube.Events))...)
	}
	return Judge(l.Want, o), nil
}

// refreshed says that Argo CD has looked at Git since the Application had the version in which it was asked to: it takes
// the annotation away in the same write that holds what it found.
func refreshed(app *unstructured.Unstructured, asked string) bool {
	if app == nil {
		return false
	}
	if _, waits := app.GetAnnotations()[refreshAnnotation]; waits {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(app.GetResourceVersion(), asked)
	return err == nil && order > 0
}

// logLines is how much of a container's log explains why it ended.
const logLines = 20

// log adds what the container said that failed.
func (l *loop) log(ctx context.Context, f *Failure) {
	if f.problem == nil || f.problem.Kind != "Pod" || f.problem.Container == "" || f.Reason != "CrashLoopBackOff" {
		return
	}
	lines := int64(logLines)
	stream, err := l.client.Core.Pods(f.problem.Namespace).GetLogs(f.problem.Name, &corev1.PodLogOptions{
		Container: f.problem.Container, Previous: true, TailLines: &lines,
	}).Stream(ctx)
	if err != nil {
		slog.Warn("no log of the container that failed", "object", f.Object, "error", err)
		return
	}
	defer func() { _ = stream.Close() }()
	text, err := io.ReadAll(io.LimitReader(stream, 64<<10))
	if err != nil {
		slog.Warn("no log of the container that failed", "object", f.Object, "error", err)
	}
	f.Log = strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	f.Message += lastWords(f.Log)
}

// lastWords is what a log says last of an error, or at all, as a part of a sentence.
func lastWords(log []string) string {
	last := ""
	for _, line := range slices.Backward(log) {
		line = strings.TrimSpace(line)
		last = cmp.Or(last, line)
		if complaint.MatchString(line) {
			last = line
			break
		}
	}
	if last == "" {
		return ""
	}
	var entry struct{ Message string }
	if json.Unmarshal([]byte(last), &entry) == nil {
		last = cmp.Or(entry.Message, last)
	}
	last = userinfo.ReplaceAllString(last, "://***@")
	return "; its log ends with " + strconv.Quote(ends(last, 150))
}

// ends leaves the middle of a long line out: errors are wrapped in what failed because of them, and the last is the cause.
func ends(s string, each int) string {
	if len(s) <= 2*each {
		return s
	}
	return strings.ToValidUTF8(s[:each], "") + " … " + strings.ToValidUTF8(s[len(s)-each:], "")
}

// userinfo is the credential in an address, such as that of a database.
var userinfo = regexp.MustCompile(`://[^/?#\s@]*@`)

// complaint is a line of a log that tells of an error.
var complaint = regexp.MustCompile(`(?i)\b(error|fatal|panic|exception)\b`)
