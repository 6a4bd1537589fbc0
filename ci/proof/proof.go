// Package proof shows that Argo CD really runs a release: that from exactly one commit exactly one image runs, that
// people reach it, that it may do no more than it must, and that the next commit changes it without a failed request.
package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// Release is what is proven.
type Release struct {
	// Revision is the commit, Branch the one it is the tip of.
	Revision string `json:"revision"`
	Branch   string `json:"branch"`
	// Image is the image's name as the chart has it, Digest its identity.
	Image  string `json:"image"`
	Digest string `json:"digest"`
	// Chart is the chart's folder in the repository.
	Chart string `json:"chart"`
}

// Session is the cluster and the services around it.
type Session struct {
	Release
	// Client is the cluster, with Argo CD in it.
	Client *kube.Client
	// Git is the repository's address for this program, http://HOST:PORT/NAME.git. Pods reach it through a Service.
	Git string
	// Ingress is the portal's address through the ingress controller, NodePort that of the app on a node.
	Ingress, NodePort string
	// Browser is the address of the browser's DevTools, such as http://browser:9222.
	Browser string
	// Out is the folder for what a proof leaves: the screenshot, and logs that had to be kept before the end.
	Out string
	// Timeout is how long one sync may take.
	Timeout time.Duration
	// Changes has the commits made and shown that follow the release: reload, rollout, prune; and drift.
	Changes bool
	// Faults are the names of what is to go wrong, in their own order, after all else.
	Faults []string
	// Cluster is the name of the kind cluster, in the Docker daemon of DOCKER_HOST. Empty: it is not kind's, and what
	// needs its nodes is left out.
	Cluster string
	// Registry is the session's, HOST:PORT over plain http, for the faults that need another image.
	Registry string
	// Features are the names of the optional parts of the charts that are to be shown, after all else.
	Features []string
	// Components is the folder with the manifests of what these run on, such as cert-manager.yaml.
	Components string
	// HTTPS is the portal's address through the ingress controller's port for TLS.
	HTTPS string
	// Strict takes what the cluster cannot show for a failure.
	Strict bool

	// gitAddress is IP:PORT of the Git service, gitInCluster the service as pods reach it, repo the repository there.
	gitAddress, gitInCluster, repo string
	repository                     *repository
	token                          string
	platform                       platform
	// ran are the pods of the release once it was synced.
	ran []sync.Pod
}

// Names of the proof in the cluster.
const (
	application = "backstage"
	namespace   = "backstage-system"
	selector    = "app.kubernetes.io/name=backstage,app.kubernetes.io/instance=" + application
)

// Step is one thing that is shown.
type Step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	// Shown is what was seen, one sentence.
	Shown string `json:"shown,omitempty"`
	// NotHere is why this cluster cannot show it: something lacks that the chart cannot bring. It is no failure, and
	// it is not shown either.
	NotHere string `json:"notHere,omitempty"`
	// Error is why it could not be shown.
	Error string `json:"error,omitempty"`
}

// Proof is what was shown, up to the first step that failed.
type Proof struct {
	Release
	// Proven says that every step was shown, but for those NotProvenHere.
	Proven bool   `json:"proven"`
	Steps  []Step `json:"steps"`
	// NotProvenHere are the names of the steps that this cluster cannot show.
	NotProvenHere []string `json:"notProvenHere,omitempty"`
	// Running are the pods of the release, as Argo CD's sync found them.
	Running []sync.Pod `json:"running,omitempty"`
	// Screenshot is the file of the portal's picture in the folder of the proof.
	Screenshot string `json:"screenshot,omitempty"`
	// Status is the Application at the end, with its resource tree.
	Status  *sync.Status `json:"status,omitempty"`
	Seconds float64      `json:"seconds"`
	// Run is what happened around the proof, as its maker knows it.
	Run *Run `json:"run,omitempty"`
}

type step struct {
	name string
	// scenario is the fault or the feature that it shows; a failure of it does not skip the others.
	scenario string
	// run returns what was seen.
	run func(context.Context) (string, error)
}

// Run shows everything that is asked for. The proof is also there, unfinished, where a step failed.
func (s *Session) Run(ctx context.Context) (*Proof, error) {
	steps, err := s.plan()
	if err != nil {
		return nil, err
	}
	proof := &Proof{Release: s.Release}
	began := time.Now()
	failure := proof.execute(ctx, steps, s.Strict)
	proof.Seconds = seconds(time.Since(began))
	proof.Proven = failure == nil
	return proof, errors.Join(failure, s.gather(ctx, proof))
}

// plan is what is to be shown, in an order in which each step finds what it needs.
func (s *Session) plan() ([]step, error) {
	wrong, err := chosen(s.Faults)
	if err != nil {
		return nil, err
	}
	optional, err := featuresOf(s.Features)
	if err != nil {
		return nil, err
	}
	steps := []step{
		{name: "the repository is served inside the cluster", run: s.serveGit},
		{name: "the ingress controller runs", run: s.startIngress},
		{name: "Argo CD runs the revision, by digest", run: s.syncRelease},
		{name: "all probes are green", run: s.probes},
		{name: "both ports answer through the Service", run: s.service},
		{name: "app and API answer through the Ingress", run: s.ingress},
		{name: "the app answers on a NodePort", run: s.nodePort},
		{name: "a browser shows the portal", run: s.browse},
		{name: "the pod has the least privileges", run: s.leastPrivileges},
	}
	if s.Changes {
		steps = append(steps,
			step{name: "logs are JSON, with the request's id", run: s.logs},
			step{name: "configuration reloads without a restart", run: s.reload},
			step{name: "the next commit rolls out without a failed request", run: s.rollout},
			step{name: "a Role gives the rights that it names and no others", run: s.rights},
			step{name: "what is gone from Git is pruned", run: s.prune},
			step{name: "drift is healed", run: s.drift},
		)
	}
	if s.Cluster != "" {
		steps = append(steps, step{name: "nothing outside the session was asked for", run: s.hermetic})
	}
	for _, f := range wrong {
		steps = append(steps, step{name: f.shows, scenario: "fault " + f.name, run: func(ctx context.Context) (string, error) { return s.survived(ctx, f) }})
	}
	for _, sc := range optional {
		for _, shows := range sc.steps {
			steps = append(steps, step{name: shows.name, scenario: sc.Name, run: func(ctx context.Context) (string, error) { return s.attempt(ctx, sc, shows.run, s.keepLogs) }})
		}
	}
	if s.Cluster != "" && len(wrong)+len(optional) > 0 {
		steps = append(steps, step{name: "what followed asked for nothing outside the session either", scenario: "fence", run: s.quiet})
	}
	return steps, nil
}

// execute runs the steps. One that fails ends its scenario; one of no scenario ends all, and so does whoever interrupts the
// run. It gives the first failure.
func (p *Proof) execute(ctx context.Context, steps []step, strict bool) error {
	var failure error
	failed := map[string]bool{}
	for _, step := range steps {
		if failed[step.scenario] || failed[""] {
			continue
		}
		if ctx.Err() != nil {
			return cmp.Or(failure, fmt.Errorf("before %q: %w", step.name, context.Cause(ctx)))
		}
		start := time.Now()
		shown, err := step.run(ctx)
		done := Step{Name: step.name, Seconds: seconds(time.Since(start)), Shown: shown}
		var lack *notHere
		if errors.As(err, &lack) && strict {
			err, lack = fmt.Errorf("it cannot be shown here: %w", err), nil
		}
		switch {
		case lack != nil:
			done.NotHere = lack.Error()
			p.NotProvenHere = append(p.NotProvenHere, step.name)
			slog.Warn("not proven here: "+step.name, "seconds", done.Seconds, "why", lack)
		case err != nil:
			failure = cmp.Or(failure, fmt.Errorf("%s: %w", step.name, err))
			failed[step.scenario] = true
			done.Error = err.Error()
			slog.Error("not shown: "+step.name, "seconds", done.Seconds, "error", err)
		default:
			slog.Info(step.name, "seconds", done.Seconds, "shown", shown)
		}
		p.Steps = append(p.Steps, done)
	}
	return failure
}

// gather fills in what is there at the end, and ends what the steps left running: also of a run that was interrupted.
func (s *Session) gather(ctx context.Context, proof *Proof) error {
	proof.Running = s.ran
	if s.pictured() {
		proof.Screenshot = screenshot
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	status, err := sync.Read(limited, s.Client, sync.DefaultNamespace, application)
	if err != nil {
		slog.Warn("no resource tree", "error", err)
	}
	proof.Status = status
	err = s.platform.close()
	if s.repository != nil {
		err = errors.Join(err, s.repository.close())
	}
	return err
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*100) / 100 }

// until calls try until it succeeds, ctx ends or the time is over, and gives the last error then: why it had not
// succeeded, and not that its last try was cut short.
func until(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, limit, true, func(limited context.Context) (bool, error) {
		err := try(limited)
		if err != nil && (last == nil || limited.Err() == nil) {
			last = err
		}
		return err == nil, nil
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && last != nil:
		return fmt.Errorf("%w; the last state: %w", context.Cause(ctx), last)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("not within %s: %w", limit, last)
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
