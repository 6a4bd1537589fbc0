package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// phase is a part of a run around a proof, as `gitops evidence` reads it; times are
// in seconds after the run began. Of those that failed it blames the first.
type phase struct {
	Name    string  `json:"name"`
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	// Cluster and ArgoCD are what was made, as the helper program says.
	Cluster dagger.JSON `json:"-"`
	ArgoCD  dagger.JSON `json:"-"`
}

func (p phase) MarshalJSON() ([]byte, error) {
	type plain phase
	return json.Marshal(struct {
		plain
		Cluster json.RawMessage `json:"cluster,omitempty"`
		ArgoCD  json.RawMessage `json:"argocd,omitempty"`
	}{plain(p), json.RawMessage(p.Cluster), json.RawMessage(p.ArgoCD)})
}

// said is an error in one line, without the mark that the engine puts at the end of
// another module's.
func said(err error) string {
	return strings.Join(strings.Fields(traceMark.ReplaceAllString(err.Error(), "")), " ")
}

var traceMark = regexp.MustCompile(` ?\[traceparent:[0-9a-f-]+\]`)

// since is how long the release has run, in seconds.
func (r *releaser) since() float64 { return time.Since(r.began).Seconds() }

// phase does a part of making the cluster, and notes how long it took.
func (v *verifier) phase(name string, do func(*phase) error) error {
	p := phase{Name: name, Start: v.since()}
	err := do(&p)
	p.Seconds = v.since() - p.Start
	if err != nil {
		p.Error = said(err)
	}
	v.phases = append(v.phases, p)
	return err
}

// timeline is everything that was done until now, in its order; failure is why the
// run ended, empty if it did not.
func (v *verifier) timeline(failure string) []phase {
	all := slices.Clone(v.phases)
	for _, t := range v.timings {
		p := phase{Name: t.Step, Start: t.Start, Seconds: t.Seconds}
		if t.Failed {
			p.Error = failure
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b phase) int { return cmp.Compare(a.Start, b.Start) })
	return all
}

// evidence ties what was shown together with what happened around it. Of a failure
// the cluster's logs are part, now: the cluster may be gone when they are looked at.
func (v *verifier) evidence(ctx context.Context, shown *dagger.Directory, c *candidate, began float64, failure string) (*dagger.Directory, error) {
	var missing []string
	if failure != "" && v.kind != nil {
		if logs, err := v.kind.Logs().Sync(ctx); err != nil {
			missing = append(missing, "the cluster's logs: "+said(explained(err)))
		} else {
			shown = shown.WithDirectory("logs", logs)
		}
	}
	there, err := shown.Exists(ctx, "proof.json")
	if err != nil {
		return nil, fmt.Errorf("read the proof: %w", err)
	}
	run := map[string]any{
		"revision": c.commit, "branch": v.target.branch, "image": c.image, "digest": c.digest, "chart": chartPath,
		"phases": v.timeline(failure), "proofBegan": began, "missing": missing,
	}
	if !there {
		run["failure"] = failure
	}
	text, err := json.Marshal(run)
	if err != nil {
		return nil, err
	}
	written := v.m.toolbox().
		WithDirectory("/proof", shown).
		WithNewFile("/run.json", string(text)).
		WithExec([]string{"gitops", "evidence", "--run", "/run.json", "--out", "/proof"}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if err := succeeded(ctx, written); err != nil {
		return nil, fmt.Errorf("write the evidence: %w", err)
	}
	return written.Directory("/proof").Sync(ctx)
}

// ended is the evidence of a run that ended before its proof.
func (v *verifier) ended(ctx context.Context, failure error) (*E2e, error) {
	if ctx.Err() != nil {
		return nil, failure // interrupted
	}
	if v.started {
		v.abandon(failure)
		<-v.ready
	}
	c := &candidate{commit: v.candidate, digest: v.digest}
	if v.source != nil {
		c.image = v.source.Repository.name()
	}
	shown := &E2e{Failure: said(failure), Revision: c.commit, Program: v.m.gitops()}
	if c.digest != "" {
		shown.Image = c.image + "@" + c.digest
	}
	report, err := v.evidence(ctx, dag.Directory(), c, 0, shown.Failure)
	if err != nil {
		return nil, errors.Join(failure, err)
	}
	shown.Report = report
	return shown, nil
}

// explain keeps the evidence if a release ended because there was no cluster.
func (v *verifier) explain(ctx context.Context, failure error) {
	if failure == nil || v.proof != nil || !v.started {
		return
	}
	v.abandon(failure)
	<-v.ready
	if v.failed == nil || !errors.Is(failure, v.failed) {
		return
	}
	if ended, err := v.ended(ctx, failure); err == nil {
		v.proof = ended.Report
	}
}
