package proof

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
)

func TestGather(t *testing.T) {
	t.Parallel()
	release := Release{Revision: "0123456789abcdef0123456789abcdef01234567", Branch: "main"}
	began := Run{Phases: []Phase{{Name: "Create the cluster", Seconds: 3}}, ProofBegan: 3}
	ended := Run{Phases: began.Phases, Failure: "the cluster could not be made"}
	proof := func(proven bool) *Proof {
		return &Proof{Release: release, Proven: proven, Steps: []Step{{Name: "all probes are green", Seconds: 1}}, Seconds: 1}
	}
	for name, c := range map[string]struct {
		proof  *Proof
		run    Run
		proven bool
		pages  []string
		refuse string
	}{
		"proven":                 {proof: proof(true), run: began, proven: true, pages: []string{"Create the cluster", "all probes are green"}},
		"not proven":             {proof: proof(false), run: began, pages: []string{"Create the cluster", "all probes are green", "Not proven"}},
		"ended before the proof": {run: ended, pages: []string{"Not proven", "the cluster could not be made"}},
		"ended after the proof":  {proof: proof(true), run: ended, pages: []string{"Not proven", "the cluster could not be made"}},
		"nothing at all":         {run: began, refuse: "neither a proof nor a reason"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if c.proof != nil {
				if err := c.proof.Write(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Gather(dir, release, c.run)
			if c.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("got %v; want %q", err, c.refuse)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, fileJSON))
			if err != nil {
				t.Fatal(err)
			}
			var got Proof
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if got.Proven != c.proven || got.Revision != release.Revision || got.Run == nil || len(got.Run.Phases) != 1 || got.Run.Failure != c.run.Failure {
				t.Errorf("the proof is %+v of the run %+v", got, got.Run)
			}
			for _, file := range []string{fileHTML, fileMarkdown} {
				page, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range c.pages {
					if !strings.Contains(string(page), want) {
						t.Errorf("%s does not say %q", file, want)
					}
				}
			}
		})
	}
}

// What failed first is why a run ended: what ran beside it was ended by that.
func TestGatherBlamesTheFirst(t *testing.T) {
	t.Parallel()
	const image, cluster, cancelled = "build the image: yarn build: exit code 1", "create cluster e2e: kubeadm init: exit code 1", "context canceled"
	read := Phase{Name: "Read the source", Seconds: 1}
	cases := map[string]struct {
		failure string
		phases  []Phase
		want    []Phase
		says    string
	}{
		"the image, while the cluster is made": {
			failure: image,
			phases: []Phase{
				read, {Name: "Create the cluster", Start: 1, Seconds: 9.2, Error: cancelled},
				{Name: "Build the image", Start: 2, Seconds: 8, Error: image},
			},
			want: []Phase{
				read, {Name: "Create the cluster", Start: 1, Seconds: 9.2, Ended: true},
				{Name: "Build the image", Start: 2, Seconds: 8, Error: image},
			},
			says: "**Build the image:** " + image,
		},
		"the cluster, while the image is built": {
			failure: cluster + ": nothing was proven",
			phases: []Phase{
				read, {Name: "Create the cluster", Start: 1, Seconds: 9, Error: cluster},
				{Name: "Build the image", Start: 2, Seconds: 8.2, Error: cluster + ": nothing was proven"},
			},
			want: []Phase{
				read, {Name: "Create the cluster", Start: 1, Seconds: 9, Error: cluster},
				{Name: "Build the image", Start: 2, Seconds: 8.2, Ended: true},
			},
			says: "**Create the cluster:** " + cluster + ": nothing was proven",
		},
		"one alone": {
			failure: image,
			phases:  []Phase{read, {Name: "Build the image", Start: 1, Seconds: 8, Error: image}},
			want:    []Phase{read, {Name: "Build the image", Start: 1, Seconds: 8, Error: image}},
			says:    "**Build the image:** " + image,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			got, err := Gather(dir, Release{Branch: "main"}, Run{Failure: c.failure, Phases: c.phases})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Run.Phases, c.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got.Run.Phases, c.want)
			}
			page, err := os.ReadFile(filepath.Join(dir, fileMarkdown))
			if err != nil || !strings.Contains(string(page), c.says) || strings.Contains(string(page), cancelled) {
				t.Errorf("%v: the page says\n%s\nwithout\n%s", err, page, c.says)
			}
		})
	}
}

// What is not healthy comes first, and of each log the end.
func TestReadLogs(t *testing.T) {
	t.Parallel()
	got, err := readLogs("testdata/logs")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range got.logs {
		names = append(names, l.Name)
		if strings.Contains(l.Text, "stdout F") || strings.Count(l.Text, "\n") >= tailLines {
			t.Errorf("%s is shown as\n%s", l.Name, l.Text)
		}
	}
	want := []string{
		"e2e-control-plane/pods/backstage-system_backstage-1_5d7c/backend/0.log",
		"e2e-control-plane/pods/backstage-system_backstage-0_11aa/backend/0.log",
		"e2e-control-plane/pods/argocd_argocd-repo-server-1_77bb/argocd-repo-server/0.log",
		"e2e-control-plane/kubelet.log",
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("the logs are %q, want %q", names, want)
	}
	if len(got.problems) != 1 || !got.logs[0].Open || got.logs[1].Open {
		t.Errorf("the problems are %+v, the logs %+v", got.problems, got.logs)
	}
	if strings.Contains(got.events, "Scheduled") || !strings.Contains(got.events, "BackOff") {
		t.Errorf("the events are %q", got.events)
	}
	if none, err := readLogs(filepath.Join(t.TempDir(), "nowhere")); err != nil || len(none.logs) > 0 {
		t.Errorf("no logs are %+v, %v", none, err)
	}
}

// What a feature left unhealthy is told, though it was taken away before the cluster's end.
func TestReadLogsOfWhatWasTakenAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, logsDir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	const log = "e2e-control-plane/pods/backstage-dev_backstage-1_5d7c/backend/0.log"
	write(log, "2026-11-30T12:00:00Z stderr F the last words\n")
	write(cluster.ProblemsFile, `[{"kind":"Pod","namespace":"backstage-dev","name":"backstage-1","reason":"CrashLoopBackOff","message":"it crashes"}]`)
	write(cluster.MissingFile, "a node's logs\n")
	write(cluster.EventsFile, "12:00:00 Warning FailedScheduling Pod backstage-dev/backstage-1\n")
	if err := setAside(filepath.Join(dir, logsDir), "environments"); err != nil {
		t.Fatal(err)
	}
	// As the cluster's end has them.
	write(cluster.ProblemsFile, "[]")
	write(cluster.EventsFile, "12:00:01 Warning Unhealthy Pod backstage-system/backstage-1\n")
	got, err := readLogs(filepath.Join(dir, logsDir))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.problems) != 1 || len(got.logs) != 1 || got.logs[0].Name != log || !got.logs[0].Open {
		t.Errorf("the problems are %+v, the logs %+v", got.problems, got.logs)
	}
	if !strings.Contains(got.events, "FailedScheduling") || !strings.Contains(got.events, "Unhealthy") {
		t.Errorf("the events are %q", got.events)
	}
	p, err := Gather(dir, Release{Branch: "main"}, Run{Failure: "a step failed"})
	if err != nil || !slices.Equal(p.Run.Missing, []string{"a node's logs"}) {
		t.Errorf("missing are %+v, %v", p, err)
	}
}
