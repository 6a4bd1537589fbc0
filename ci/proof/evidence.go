package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// Run is what happened around a proof: what was made for it, and why it ended if no step of the proof says so.
type Run struct {
	// Failure is why there is no proof, one sentence.
	Failure string `json:"failure,omitempty"`
	// Phases are what was done, in the order in which it began. Some ran beside others.
	Phases []Phase `json:"phases"`
	// ProofBegan is when the first step of the proof began, in seconds after the run did.
	ProofBegan float64 `json:"proofBegan,omitempty"`
	// Missing says which evidence could not be gathered, and why.
	Missing []string `json:"missing,omitempty"`
}

// Phase is a part of a run that is no step of the proof.
type Phase struct {
	Name string `json:"name"`
	// Start is in seconds after the run began.
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
	// Ended says that it ended early because something beside it failed.
	Ended bool `json:"ended,omitempty"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
	// Cluster is what the phase made: nodes, and the steps of making them.
	Cluster *cluster.Cluster `json:"cluster,omitempty"`
	// ArgoCD is what the phase installed.
	ArgoCD *sync.Installed `json:"argocd,omitempty"`
}

// Gather adds the run to the proof in a folder, or makes the evidence of a run that ended before its proof, and writes
// the pages anew. The folder may hold the cluster's logs in logs/, as cluster.CollectLogs writes them: their ends become
// part of the page.
func Gather(dir string, release Release, run Run) (*Proof, error) {
	p := &Proof{Release: release, Steps: []Step{}}
	text, err := os.ReadFile(filepath.Join(dir, fileJSON))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the proof: %w", err)
	default:
		if err := json.Unmarshal(text, p); err != nil {
			return nil, fmt.Errorf("%s is no proof: %w", filepath.Join(dir, fileJSON), err)
		}
	}
	if err != nil && run.Failure == "" {
		return nil, errors.New("there is neither a proof nor a reason why not: give the failure")
	}
	missing, err := states(filepath.Join(dir, logsDir), cluster.MissingFile)
	if err != nil {
		return nil, fmt.Errorf("the logs: %w", err)
	}
	for _, text := range missing {
		for line := range strings.Lines(string(text)) {
			run.Missing = append(run.Missing, strings.TrimSpace(line))
		}
	}
	run.Phases = blamed(run.Phases)
	p.Run = &run
	p.Proven = p.Proven && run.Failure == ""
	return p, p.Write(dir)
}

// blamed leaves the error to the phase that failed first. Its failure ended those beside it, whose errors say only that.
func blamed(phases []Phase) []Phase {
	phases = slices.Clone(phases)
	var first *Phase
	for i := range phases {
		if p := &phases[i]; p.Error != "" && (first == nil || p.Start+p.Seconds < first.Start+first.Seconds) {
			first = p
		}
	}
	for i := range phases {
		if p := &phases[i]; p.Error != "" && p != first {
			p.Error, p.Ended = "", true
		}
	}
	return phases
}

// logsDir is the folder of the cluster's logs beside a proof.
const logsDir = "logs"

// keepLogs gathers the cluster's logs of a feature before what it made is taken away. Those of the cluster's end go to the same
// folder: they write the logs of what is still there anew, and the files of the cluster's state, which get other names here.
func (s *Session) keepLogs(ctx context.Context, feature string) error {
	if s.Cluster == "" {
		return nil
	}
	dir := filepath.Join(s.Out, logsDir)
	if _, err := cluster.CollectLogs(ctx, s.Cluster, "", dir); err != nil {
		return err
	}
	return setAside(dir, feature)
}

// setAside gives the files of a cluster's state in a folder of logs a name that begins with that of a feature.
func setAside(dir, feature string) error {
	for _, file := range []string{cluster.EventsFile, cluster.UnhealthyFile, cluster.ProblemsFile, cluster.MissingFile} {
		if err := os.Rename(filepath.Join(dir, file), filepath.Join(dir, feature+"-"+file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// states reads a file of a cluster's state in a folder of logs, and those of this name that were set aside there.
func states(dir, file string) ([][]byte, error) {
	// By its name alone: a folder's may have the characters of a pattern.
	names, err := fs.Glob(os.DirFS(dir), "*"+file)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// Limits of what a page holds of the logs: they are all in the folder.
const (
	tailLines  = 40
	tailColumn = 500
	mostLogs   = 16
)

// excerpt is the end of a log.
type excerpt struct {
	// Name is the file's path in the folder of the logs.
	Name string
	Text string
	// Open says that it is of something that is not healthy.
	Open bool
}

// logged is what a page shows of the logs.
type logged struct {
	problems []health.Problem
	events   string
	logs     []excerpt
}

// readLogs reads what a page shows of a cluster's logs: first what is not healthy.
func readLogs(dir string) (logged, error) {
	var l logged
	found, err := states(dir, cluster.ProblemsFile)
	if err != nil {
		return l, fmt.Errorf("the logs: %w", err)
	}
	for _, text := range found {
		var problems []health.Problem
		if err := json.Unmarshal(text, &problems); err != nil {
			return l, fmt.Errorf("the logs: %w", err)
		}
		l.problems = append(l.problems, problems...)
	}
	events, err := states(dir, cluster.EventsFile)
	if err != nil {
		return l, fmt.Errorf("the logs: %w", err)
	}
	l.events = warnings(string(bytes.Join(events, nil)))
	var names []string
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".log" {
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("the logs: %w", err)
	}
	ranked := map[int][]string{}
	for _, n := range names {
		r := l.rank(n)
		ranked[r] = append(ranked[r], n)
	}
	for r := range unread {
		for _, n := range ranked[r] {
			if len(l.logs) == mostLogs {
				return l, nil
			}
			text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(n)))
			if err != nil {
				return l, fmt.Errorf("the logs: %w", err)
			}
			if end := tail(string(text)); end != "" {
				l.logs = append(l.logs, excerpt{Name: n, Text: end, Open: r == 0})
			}
		}
	}
	return l, nil
}

// unread is the rank of logs that tell nothing of a deployment.
const unread = 4

// rank says how soon a log is to be looked at: those of pods that are not healthy first, then those of the portal, of
// Argo CD, and of the nodes.
func (l logged) rank(name string) int {
	pod := podLog.FindStringSubmatch(name)
	switch {
	case pod != nil && slices.ContainsFunc(l.problems, func(p health.Problem) bool { return p.Kind == "Pod" && p.Namespace == pod[1] && p.Name == pod[2] }):
		return 0
	case pod != nil && pod[1] == namespace:
		return 1
	case pod != nil && pod[1] == sync.DefaultNamespace:
		return 2
	case strings.HasSuffix(name, "/kubelet.log"):
		return 3
	}
	return unread
}

// podLog is NODE/pods/NAMESPACE_POD_UID/CONTAINER/N.log.
var podLog = regexp.MustCompile(`/pods/([^_/]+)_([^_/]+)_[^/]+/`)

// criPrefix is what the container runtime writes before each line.
var criPrefix = regexp.MustCompile(`^\S+ (?:stdout|stderr) [FP] `)

// tail is the end of a log.
func tail(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, line := range lines {
		line = strings.ToValidUTF8(criPrefix.ReplaceAllString(line, ""), "�")
		if runes := []rune(line); len(runes) > tailColumn {
			line = string(runes[:tailColumn]) + "…"
		}
		lines[i] = line
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// warnings are the last events of a table that warn, or the last of all if none does.
func warnings(table string) string {
	var some []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "Warning" {
			some = append(some, strings.TrimRight(line, "\n"))
		}
	}
	if len(some) == 0 {
		return tail(table)
	}
	return tail(strings.Join(some, "\n"))
}
