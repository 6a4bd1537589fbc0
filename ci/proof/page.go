package proof

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	texttemplate "text/template"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// The files of a proof.
const (
	fileJSON     = "proof.json"
	fileMarkdown = "proof.md"
	fileHTML     = "proof.html"
)

//go:embed page.html page.md
var pages embed.FS

// Write writes the proof to a folder, beside its picture: as JSON for machines, as Markdown for a job summary, and as
// one HTML page that needs no other file.
func (p *Proof) Write(dir string) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	view, err := p.view(dir)
	if err != nil {
		return err
	}
	functions := map[string]any{"cell": cell, "short": short, "state": state, "indent": func(depth int) string { return fmt.Sprintf("%.1f", 1.2*float64(depth)) }}
	var markdown, page bytes.Buffer
	if err := texttemplate.Must(texttemplate.New("page.md").Funcs(functions).ParseFS(pages, "page.md")).Execute(&markdown, view); err != nil {
		return err
	}
	if err := template.Must(template.New("page.html").Funcs(functions).ParseFS(pages, "page.html")).Execute(&page, view); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, fileJSON), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, fileMarkdown), markdown.Bytes(), 0o644),
		os.WriteFile(filepath.Join(dir, fileHTML), page.Bytes(), 0o644),
	)
}

// view is a proof as its pages show it.
type view struct {
	*Proof
	// Why is why it was not proven: what could not be done, and the reason.
	Why *Step
	// Sections are what was done, on one line of time.
	Sections []section
	// Ticks are marks on it, Total the whole in seconds.
	Ticks []tick
	Total float64
	// Unhealthy are the objects that are not healthy, Rows all of the tree.
	Unhealthy []health.Problem
	Rows      []row
	// Events and Logs are ends of the cluster's, where it was not proven.
	Events  string
	Logs    []excerpt
	Picture template.URL
}

type section struct {
	Name string
	Bars []bar
}

type bar struct {
	Step
	// Ended says that it ended early because something beside it failed. Part says that it is a part of the bar before.
	Ended, Part bool
	// Left and Width are shares of the whole, in percent.
	Left, Width float64

	start float64
}

type tick struct {
	Name string
	Left float64
}

// row is an object of the resource tree.
type row struct {
	sync.Entry
	Depth int
}

func (p *Proof) view(dir string) (view, error) {
	v := view{Proof: p}
	v.timeline()
	if p.Status != nil {
		v.rows(p.Status.Tree, 0)
	}
	if !p.Proven {
		l, err := readLogs(filepath.Join(dir, logsDir))
		if err != nil {
			return view{}, err
		}
		v.Events, v.Logs = l.events, l.logs
		for _, problem := range l.problems {
			if !slices.ContainsFunc(v.Unhealthy, func(u health.Problem) bool { return u.Object() == problem.Object() && u.Message == problem.Message }) {
				v.Unhealthy = append(v.Unhealthy, problem)
			}
		}
	}
	picture, err := os.ReadFile(filepath.Join(dir, screenshot))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return view{}, fmt.Errorf("the picture: %w", err)
	}
	if err == nil {
		v.Picture = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(picture))
	}
	return v, nil
}

// timeline puts everything that was done on one line of time.
func (v *view) timeline() {
	proof := section{Name: "The proof"}
	var before section
	at := 0.0
	if v.Run != nil {
		before.Name, at = "Before the proof", v.Run.ProofBegan
		for _, phase := range v.Run.Phases {
			b := bar{Step: Step{Name: phase.Name, Seconds: phase.Seconds, Error: phase.Error, Shown: phase.shown()}, Ended: phase.Ended, start: phase.Start}
			before.Bars = append(before.Bars, b)
			if phase.Error != "" && v.Why == nil {
				v.Why = &b.Step
			}
			if phase.Cluster == nil {
				continue
			}
			// They end with the phase: before them a container is started.
			start := phase.Start + max(0, phase.Seconds-phase.Cluster.Seconds)
			for _, part := range phase.Cluster.Steps {
				before.Bars = append(before.Bars, bar{Step: Step{Name: part.Step, Seconds: part.Seconds}, Part: true, start: start})
				start += part.Seconds
			}
		}
	}
	for _, s := range v.Steps {
		if s.Error != "" && v.Why == nil {
			v.Why = &s
		}
		proof.Bars = append(proof.Bars, bar{Step: s, start: at})
		at += s.Seconds
	}
	if v.Run != nil && v.Run.Failure != "" {
		why := Step{Error: v.Run.Failure}
		if v.Why != nil {
			why.Name = v.Why.Name
		}
		v.Why = &why
	}
	for _, s := range []section{before, proof} {
		for _, b := range s.Bars {
			v.Total = max(v.Total, b.start+b.Seconds)
		}
		if len(s.Bars) > 0 {
			v.Sections = append(v.Sections, s)
		}
	}
	if v.Run == nil {
		v.Total = max(v.Total, v.Seconds)
	}
	total := max(v.Total, 0.01)
	for _, s := range v.Sections {
		for i, b := range s.Bars {
			s.Bars[i].Left, s.Bars[i].Width = 100*b.start/total, max(100*b.Seconds/total, 0.3)
		}
	}
	step := 1.0
	for _, s := range []float64{2, 5, 10, 20, 30, 60, 120, 300, 600} {
		if total/step > 6 {
			step = s
		}
	}
	for at := 0.0; at < total; at += step {
		v.Ticks = append(v.Ticks, tick{Name: clock(at), Left: 100 * at / total})
	}
}

// shown is what a phase has made.
func (p Phase) shown() string {
	switch {
	case p.Cluster != nil:
		return fmt.Sprintf("Kubernetes %s, %d node%s", p.Cluster.KubernetesVersion, len(p.Cluster.Nodes), plural(len(p.Cluster.Nodes)))
	case p.ArgoCD != nil:
		return fmt.Sprintf("Argo CD %s, %d component%s", p.ArgoCD.Version, len(p.ArgoCD.Components), plural(len(p.ArgoCD.Components)))
	}
	return ""
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// clock is a time of the line.
func clock(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%d:%02d", int(seconds)/60, int(seconds)%60)
}

func (v *view) rows(entries []sync.Entry, depth int) {
	for _, e := range entries {
		v.Rows = append(v.Rows, row{Entry: e, Depth: depth})
		v.Unhealthy = append(v.Unhealthy, e.Problems...)
		v.rows(e.Children, depth+1)
	}
}

// cell is a text in a cell of a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

// state is how a word of Argo CD's is shown.
func state(word string) string {
	switch word {
	case "Synced", "Healthy", "Succeeded":
		return "good"
	case "Degraded", "Failed", "Error", "Missing":
		return "bad"
	case "Suspended", "":
		return "none"
	}
	return "odd"
}

// short is a commit or a digest for people.
func short(s string) string {
	algorithm, hash, found := strings.Cut(s, ":")
	if !found {
		algorithm, hash = "", s
	} else {
		algorithm += ":"
	}
	return algorithm + hash[:min(12, len(hash))]
}
