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
	"strings"
	texttemplate "text/template"

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
	functions := map[string]any{"cell": cell, "short": short}
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
	// Failed is the step that was not shown.
	Failed *Step
	// Bars are the steps on a line of time.
	Bars []bar
	// Problems are the objects that are not healthy, Rows all of the tree.
	Problems, Rows []row
	Picture        template.URL
}

type bar struct {
	Step
	// Left and Width are shares of the whole, in percent.
	Left, Width float64
}

// row is an object of the resource tree.
type row struct {
	sync.Entry
	Depth int
}

func (p *Proof) view(dir string) (view, error) {
	v := view{Proof: p}
	var at float64
	total := max(p.Seconds, 0.01)
	for _, s := range p.Steps {
		if s.Error != "" && v.Failed == nil {
			v.Failed = &s
		}
		v.Bars = append(v.Bars, bar{Step: s, Left: 100 * at / total, Width: max(100*s.Seconds/total, 0.3)})
		at += s.Seconds
	}
	if p.Status != nil {
		v.rows(p.Status.Tree, 0)
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

func (v *view) rows(entries []sync.Entry, depth int) {
	for _, e := range entries {
		r := row{Entry: e, Depth: depth}
		v.Rows = append(v.Rows, r)
		if len(e.Problems) > 0 {
			v.Problems = append(v.Problems, r)
		}
		v.rows(e.Children, depth+1)
	}
}

// cell is a text in a cell of a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
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
