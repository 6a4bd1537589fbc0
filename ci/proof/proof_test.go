package proof

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
	argocd "github.com/backstage-gitops/backstage-gitops/ci/sync"
)

func TestGreen(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	cases := map[string]struct {
		change func(*corev1.Pod)
		want   string
	}{
		"all is well":         {change: func(*corev1.Pod) {}},
		"no liveness probe":   {change: func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe = nil }, want: "the container backend has no"},
		"not started":         {change: func(p *corev1.Pod) { p.Status.ContainerStatuses[0].Started = &no }, want: "the startup probe of backend has not passed"},
		"start unknown":       {change: func(p *corev1.Pod) { p.Status.ContainerStatuses[0].Started = nil }, want: "the startup probe of backend has not passed"},
		"not ready":           {change: func(p *corev1.Pod) { p.Status.ContainerStatuses[0].Ready = false }, want: "the readiness probe of backend does not pass"},
		"restarted":           {change: func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = 2 }, want: "the container backend was restarted 2 times"},
		"status is not there": {change: func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }, want: "0 of 1 containers have a status"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			probe := &corev1.Probe{}
			pod := &corev1.Pod{
				Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "backend", StartupProbe: probe, ReadinessProbe: probe, LivenessProbe: probe}}},
				Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "backend", Started: &yes, Ready: true}}},
			}
			c.change(pod)
			_, err := green(pod)
			if got := text(err); !strings.Contains(got, c.want) || (c.want == "") != (err == nil) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPeopleNoteEveryFailure(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	p := startPeople(t.Context(), server.URL)
	for asked.Load() < 4 {
		time.Sleep(10 * time.Millisecond)
	}
	total, failed := p.stop()
	if total < 3 || len(failed) != 1 || !strings.Contains(failed[0].Error(), "502 Bad Gateway") {
		t.Errorf("%d asked, failed: %v; want one 502", total, failed)
	}
}

func TestUntilGivesTheLastError(t *testing.T) {
	t.Parallel()
	last := errors.New("not yet")
	err := until(t.Context(), 250*time.Millisecond, func(context.Context) error { return last })
	if !errors.Is(err, last) || !strings.Contains(err.Error(), "not within 250ms") {
		t.Errorf("got %v", err)
	}
	tries := 0
	if err := until(t.Context(), time.Minute, func(context.Context) error {
		if tries++; tries < 3 {
			return last
		}
		return nil
	}); err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

// TestUntilGivesTheLastState: a try that the end of the time cuts short says nothing of the state.
func TestUntilGivesTheLastState(t *testing.T) {
	t.Parallel()
	state, tries := errors.New("the pod is not there"), 0
	err := until(t.Context(), 300*time.Millisecond, func(ctx context.Context) error {
		if tries++; tries == 1 {
			return state
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, state) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestUntilTellsOfItsEnd(t *testing.T) {
	t.Parallel()
	ended := errors.New("the run was interrupted")
	for what, first := range map[string]bool{"before the first try": true, "between two": false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if first {
			cancel(ended)
		}
		state := errors.New("not yet")
		err := until(ctx, time.Minute, func(context.Context) error {
			cancel(ended)
			return state
		})
		if !errors.Is(err, ended) || strings.Contains(err.Error(), "not within") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestHolding: the database is asked for every entity, not for one of them.
func TestHolding(t *testing.T) {
	t.Parallel()
	got := holding(map[string]string{"a": "1", "b": "2", "c": "3'"})
	if want := "select entity_id from catalog.final_entities where entity_id in ('1', '2', '3''')"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestOperated(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		phase, revision string
		fresh           bool
		want            string
	}{
		"as it should be":          {phase: "Succeeded", revision: "new", fresh: true},
		"failed":                   {phase: "Failed", revision: "new", want: "Failed at new, not Succeeded at new"},
		"none":                     {want: "none at no commit"},
		"another, of a new one":    {phase: "Succeeded", revision: "old", fresh: true, want: "Succeeded at old, not Succeeded at new"},
		"another, that will do":    {phase: "Succeeded", revision: "old"},
		"another, that will not":   {phase: "Error", revision: "old", want: "Error at old"},
		"still running at the new": {phase: "Running", revision: "new", want: "Running at new"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := operated(&argocd.Result{Phase: c.phase, OperationRevision: c.revision}, "new", c.fresh)
			if got := text(err); !strings.Contains(got, c.want) || (c.want == "") != (err == nil) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestContainersOfThePortal holds the names to the chart's.
func TestContainersOfThePortal(t *testing.T) {
	t.Parallel()
	chart, err := os.ReadFile("../../charts/backstage/templates/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`"backstage.container" \(dict "root" \. "role" "(\w+)"`).FindAllStringSubmatch(string(chart), -1) {
		names = append(names, m[1])
	}
	if !slices.Equal(names, portalContainers) {
		t.Errorf("the chart's containers are %q, the proof looks at %q", names, portalContainers)
	}
}

func TestCommitsOfTheProof(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, bare := git.Open(t.TempDir()), t.TempDir()
	if _, err := git.Open(bare).Run(ctx, "init", "--quiet", "--bare", "--initial-branch", "main"); err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(work.Dir(), "charts/backstage/templates")
	if err := os.MkdirAll(chart, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(chart), "values.yaml"), []byte("appConfig:\n  app:\n    title: T\npodAnnotations: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(chart, "a.yaml"), []byte("a: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch", "main"}, {"add", "--all"},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "first"},
		{"push", "--quiet", "file://" + bare, "main"},
	} {
		if _, err := work.Run(ctx, args...); err != nil {
			t.Fatal(err)
		}
	}

	r, err := clone(ctx, "file://"+bare, "main", "charts/backstage")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	revision, err := r.commit(ctx, "test: change", map[string]any{"appConfig": map[string]any{"proxy": "p"}, "podAnnotations": map[string]any{"a": "b"}},
		map[string][]byte{"templates/extra.yaml": []byte("extra: true\n")})
	if err != nil {
		t.Fatal(err)
	}
	tip, err := git.Open(bare).Run(ctx, "rev-parse", "main")
	if err != nil || tip != revision {
		t.Fatalf("the branch is at %s (%v), not at %s", tip, err, revision)
	}
	values, err := git.Open(bare).Run(ctx, "show", "main:charts/backstage/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := yaml.Unmarshal([]byte(values), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"appConfig": map[string]any{"app": map[string]any{"title": "T"}, "proxy": "p"}, "podAnnotations": map[string]any{"a": "b"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the values are %v, not %v", got, want)
	}
	if _, err := r.commit(ctx, "test: remove", nil, map[string][]byte{"templates/extra.yaml": nil}); err != nil {
		t.Fatal(err)
	}
	if files, err := git.Open(bare).Run(ctx, "ls-tree", "--name-only", "main:charts/backstage/templates"); err != nil || files != "a.yaml" {
		t.Errorf("the templates are %q (%v)", files, err)
	}
}

func TestManifestsOfTheSession(t *testing.T) {
	t.Parallel()
	objects, err := manifests.Decode(strings.NewReader(string(ingressManifest)))
	if err != nil {
		t.Fatal(err)
	}
	// One image: the session's registry has to have all of them.
	images := manifests.Images(objects)
	versions, err := os.ReadFile("../../.dagger/versions.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 1 || !strings.Contains(string(versions), `ingressImage = "`+images[0]+`"`) {
		t.Errorf("the ingress controller's images are %v; versions.go has another one", images)
	}
	values, err := (&Session{Ingress: "http://docker:8080"}).values()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Ingress struct{ Hosts []string }
		Env     []struct{ Value string }
	}
	if err := yaml.Unmarshal(values, &got); err != nil || !reflect.DeepEqual(got.Ingress.Hosts, []string{"docker"}) || got.Env[0].Value != "http://docker:8080" {
		t.Errorf("the values are\n%s\n(%v)", values, err)
	}
}
