package proof

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	argocd "github.com/backstage-gitops/backstage-gitops/ci/sync"
)

func TestChosen(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		asked, want []string
		err         error
	}{
		"none":               {},
		"one":                {asked: []string{"git"}, want: []string{"git"}},
		"in their own order": {asked: []string{"node", "image-tag"}, want: []string{"image-tag", "node"}},
		"all":                {asked: []string{AllFaults}, want: Faults()},
		"all and one":        {asked: []string{AllFaults, "git"}, want: Faults()},
		"unknown":            {asked: []string{"git", "fire"}, err: ErrFault},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := chosen(c.asked)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			var got []string
			for _, f := range found {
				got = append(got, f.name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	// It ends every container.
	if last := Faults()[len(Faults())-1]; last != "node" {
		t.Errorf("the last fault is %q, not node", last)
	}
}

// TestExplained holds what a refused release is told to what README.md promises.
func TestExplained(t *testing.T) {
	t.Parallel()
	const image = "docker.io/user/app:does-not-exist"
	tag := func(f *argocd.Failure) error { return namesImage(f, image) }
	crashed := "container backend exits with code 1, restarted once; its log ends with \"Unsupported database client type 'no-such-database'\""
	cases := map[string]struct {
		explained func(*argocd.Failure) error
		failure   argocd.Failure
		want      string
	}{
		"the image":         {explained: tag, failure: argocd.Failure{Message: "the image user/app:does-not-exist is not in its registry"}},
		"another image":     {explained: tag, failure: argocd.Failure{Message: "the image user/app:1 is not in its registry"}, want: "it does not say that user/app:does-not-exist"},
		"an absent image":   {explained: tag, failure: argocd.Failure{Message: "the image " + image + " cannot be pulled"}, want: "is not in its registry"},
		"a crash":           {explained: lastWords, failure: argocd.Failure{Reason: "CrashLoopBackOff", Message: crashed, Log: []string{"started", "Unsupported database client type 'no-such-database'"}}},
		"no crash":          {explained: lastWords, failure: argocd.Failure{Reason: "OperationFailed", Message: crashed}, want: "it is OperationFailed, not CrashLoopBackOff"},
		"of the frontend":   {explained: lastWords, failure: argocd.Failure{Reason: "CrashLoopBackOff", Message: "container frontend exits with code 1"}, want: "container backend"},
		"without words":     {explained: lastWords, failure: argocd.Failure{Reason: "CrashLoopBackOff", Message: "container backend exits with code 1"}, want: "last words"},
		"other words":       {explained: lastWords, failure: argocd.Failure{Reason: "CrashLoopBackOff", Message: "container backend exits; its log ends with \"Killed\"", Log: []string{"Killed"}}, want: "last words"},
		"file and line":     {explained: fileAndLine, failure: argocd.Failure{Message: "YAML parse error on backstage/templates/proof-broken.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'"}},
		"no line":           {explained: fileAndLine, failure: argocd.Failure{Message: "YAML parse error on backstage/templates/proof-broken.yaml"}, want: "the line"},
		"line of no file":   {explained: fileAndLine, failure: argocd.Failure{Message: "yaml: line 3: did not find expected ',' or '}'"}, want: "templates/proof-broken.yaml"},
		"line of some file": {explained: fileAndLine, failure: argocd.Failure{Message: "backstage/templates/other.yaml: line 3"}, want: "templates/proof-broken.yaml"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := text(c.explained(&c.failure)); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestAttended: people who are turned away make a fault one that is not survived.
func TestAttended(t *testing.T) {
	t.Parallel()
	var fails, asked atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if fails.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		asked.Store(true)
	}))
	defer server.Close()
	s := &Session{Ingress: server.URL, NodePort: server.URL}
	// One request of each of the three may be cut short by the end: more are awaited.
	after := func(err error) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			for range 7 {
				asked.Store(false)
				if e := until(ctx, time.Minute, func(context.Context) error {
					if !asked.Load() {
						return errors.New("nobody asks")
					}
					return nil
				}); e != nil {
					return "", e
				}
			}
			return "seen", err
		}
	}
	if shown, err := s.attended(after(nil))(t.Context()); err != nil || !strings.HasPrefix(shown, "seen; ") || !strings.HasSuffix(shown, " requests meanwhile, none failed") {
		t.Errorf("%q, %v", shown, err)
	}
	own := errors.New("its own")
	if _, err := s.attended(after(own))(t.Context()); !errors.Is(err, own) {
		t.Errorf("%v, want its own", err)
	}
	fails.Store(true)
	if _, err := s.attended(after(nil))(t.Context()); err == nil || !strings.Contains(err.Error(), "requests failed meanwhile, the first: at ") {
		t.Errorf("nobody was served: %v", err)
	}
}
