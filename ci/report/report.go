// Package report writes down what a release did: one typed document, as JSON for machines and as Markdown for people.
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/source"
)

// SchemaVersion is that of Document; it grows when a field changes its meaning or goes away.
const SchemaVersion = 1

// Outcome is how a release ended.
type Outcome string

// The outcomes of a release.
const (
	// Released: the image is published and the chart names it.
	Released Outcome = "released"
	// Proposed: the image is published, and a pull request waits that has the chart name it.
	Proposed Outcome = "proposed"
	// NothingToRelease: the chart named this image already; nothing was pushed or committed.
	NothingToRelease Outcome = "nothing-to-release"
	// PublishedNotCommitted: the image is published, but the remote did not take the commit.
	PublishedNotCommitted Outcome = "published-not-committed"
	// Failed: nothing was published and nothing committed.
	Failed Outcome = "failed"
)

// ErrFacts says that the facts do not make a report.
var ErrFacts = errors.New("the facts do not make a report")

// Facts are what the steps of a release have printed, as they printed it; a step that did not run is left out.
type Facts struct {
	// Source is the output of gitops source.
	Source *source.Facts `json:"source"`
	// Image is the name that was published, and the output of gitops image inspect.
	Image *Image `json:"image"`
	// Commit is the output of gitops push, gitops github push or gitops commit.
	Commit *commit.Pushed `json:"commit"`
	// Attestation is the output of attest image, Verification that of attest verify-release.
	Attestation  *Attestation  `json:"attestation"`
	Verification *Verification `json:"verification"`
	// Scan is the output of attest scan, on an image that was released before.
	Scan *Rescan `json:"scan"`
	// Proof is the proof.json of gitops prove.
	Proof *Proof `json:"proof"`
	// ProofBundle is the output of attest proof sign, or why there is none.
	ProofBundle *ProofBundle `json:"proofBundle"`
	// Chart is the name that the chart was published under, the output of gitops chart publish, and who signed it.
	Chart *Artifact `json:"chart"`
	// Tags is the output of gitops image tag.
	Tags *Tagged `json:"tags"`
	// Outcome is derived where it is empty.
	Outcome Outcome `json:"outcome"`
	// Reason is why a release ended as it did, one sentence.
	Reason string `json:"reason"`
	// Timings are the steps in their order.
	Timings []Timing `json:"timings"`
}

// Document is the report.
type Document struct {
	SchemaVersion int           `json:"schemaVersion"`
	Outcome       Outcome       `json:"outcome"`
	Reason        string        `json:"reason,omitempty"`
	Source        *Source       `json:"source"`
	Image         *Image        `json:"image"`
	Attestation   *Attestation  `json:"attestation,omitempty"`
	Verification  *Verification `json:"verification,omitempty"`
	Scan          *Rescan       `json:"scan,omitempty"`
	Chart         *Chart        `json:"chart"`
	Commit        *Commit       `json:"commit"`
	Proof         *Proof        `json:"proof,omitempty"`
	ProofBundle   *ProofBundle  `json:"proofBundle,omitempty"`
	Artifact      *Artifact     `json:"chartArtifact,omitempty"`
	Tags          *Tagged       `json:"tags,omitempty"`
	Timings       []Timing      `json:"timings"`
}

// Source is what was released.
type Source struct {
	Revision       string    `json:"revision"`
	InputsRevision string    `json:"inputsRevision"`
	Time           time.Time `json:"time"`
	Branch         string    `json:"branch"`
	Tag            string    `json:"tag"`
	Subject        string    `json:"subject,omitempty"`
}

// Image is what was published.
type Image struct {
	// Name is the image's name without tag and digest.
	Name string `json:"name"`
	Tag  string `json:"tag"`
	// Digest is the image's identity.
	Digest string `json:"digest"`
	// Platforms are all that the image is of, and Platform the one that the sizes are of.
	Platforms []string `json:"platforms,omitempty"`
	Platform  string   `json:"platform,omitempty"`
	// CompressedBytes is what a pull transfers, DiskBytes what the unpacked files take; 0 where nobody has unpacked them.
	CompressedBytes int64 `json:"compressedBytes"`
	DiskBytes       int64 `json:"diskBytes"`
}

// Chart is what the chart named before and names after the release.
type Chart struct {
	Edits []bump.Edit `json:"edits"`
	// Version is the chart's version after the release.
	Version string `json:"version"`
}

// Commit is where the chart's change went.
type Commit struct {
	SHA      string `json:"sha"`
	Parent   string `json:"parent"`
	Remote   string `json:"remote"`
	Branch   string `json:"branch"`
	Attempts int    `json:"attempts,omitempty"`
	// PullRequest is where the commit waits.
	PullRequest *commit.PullRequest `json:"pullRequest,omitempty"`
}

// Proof is what was shown of the commit in a cluster.
type Proof struct {
	Proven   bool   `json:"proven"`
	Revision string `json:"revision"`
	// Digest is that of the image that ran.
	Digest string  `json:"digest"`
	Steps  []Shown `json:"steps"`
}

// Shown is one step of a proof: what was seen, or why it could not be.
type Shown struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Shown   string  `json:"shown,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// Timing is one step of a release.
type Timing struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
	// Cached says that the step had nothing to do.
	Cached bool `json:"cached,omitempty"`
	// Failed says that the release ended with this step.
	Failed bool `json:"failed,omitempty"`
}

// New makes the report of the facts. The secrets are taken out of every text in it.
func New(f Facts, secrets ...string) (Document, error) {
	d := Document{SchemaVersion: SchemaVersion, Outcome: f.Outcome, Reason: Reason(f.Reason), Image: f.Image, Attestation: f.Attestation, Verification: f.Verification, Scan: f.Scan, Proof: f.Proof, ProofBundle: f.ProofBundle, Artifact: f.Chart, Tags: f.Tags, Timings: f.Timings}
	if s := f.Source; s != nil {
		d.Source = &Source{Revision: s.Revision, InputsRevision: s.InputsRevision, Time: s.Time, Branch: s.Branch, Tag: s.Tag, Subject: s.Subject}
		if d.Image != nil && d.Image.Tag == "" {
			image := *d.Image
			image.Tag = s.Tag
			d.Image = &image
		}
	}
	if c := f.Commit; c != nil {
		edits := c.Edits
		if edits == nil {
			edits = []bump.Edit{}
		}
		d.Chart = &Chart{Edits: edits, Version: c.Version}
		d.Commit = &Commit{SHA: c.SHA, Parent: c.Parent, Remote: git.Redact(c.Remote), Branch: c.Branch, Attempts: c.Attempts, PullRequest: c.PullRequest}
	}
	if d.Timings == nil {
		d.Timings = []Timing{}
	}
	if d.Outcome == "" {
		d.Outcome = outcome(f)
	}
	if err := d.check(); err != nil {
		return Document{}, err
	}
	return Redact(d, secrets...)
}

// Reason is why something ended as it did, in one line and without the credential of an address.
func Reason(s string) string { return git.Redact(oneLine(s)) }

func outcome(f Facts) Outcome {
	published := f.Image != nil && f.Image.Digest != ""
	switch {
	case f.Commit != nil && f.Commit.Nothing:
		return NothingToRelease
	case f.Commit != nil && f.Commit.PullRequest != nil && !f.Commit.PullRequest.Merged && published:
		return Proposed
	case f.Commit != nil && f.Commit.SHA != "" && published:
		return Released
	case published:
		return PublishedNotCommitted
	}
	return Failed
}

// check refuses a report that says more than its facts, and one of a failure that gives no reason.
func (d Document) check() error {
	published := d.Image != nil && d.Image.Digest != ""
	committed := d.Commit != nil && d.Commit.SHA != ""
	switch d.Outcome {
	case Released, Proposed:
		if d.Source == nil || !published || !committed {
			return fmt.Errorf("%w: a release wants source, image and commit", ErrFacts)
		}
		if d.Proof != nil && (!d.Proof.Proven || d.Proof.Digest != d.Image.Digest) {
			return fmt.Errorf("%w: the proof is not of the image that was released", ErrFacts)
		}
		return d.checkAttestation()
	case NothingToRelease:
		if d.Source == nil || d.Commit == nil {
			return fmt.Errorf("%w: nothing to release wants source and commit", ErrFacts)
		}
		return d.checkScan()
	case PublishedNotCommitted:
		if !published {
			return fmt.Errorf("%w: %s wants the image", ErrFacts, d.Outcome)
		}
		if d.Reason == "" {
			return fmt.Errorf("%w: %s wants a reason", ErrFacts, d.Outcome)
		}
	case Failed:
		if d.Reason == "" {
			return fmt.Errorf("%w: a failure wants a reason", ErrFacts)
		}
	default:
		return fmt.Errorf("%w: there is no outcome %q", ErrFacts, d.Outcome)
	}
	return nil
}

// Redact takes secrets out of all texts of a document: it works on its JSON, so that no field is forgotten.
func Redact[T any](d T, secrets ...string) (clean T, err error) {
	text, err := json.Marshal(d)
	if err != nil {
		return clean, err
	}
	for _, s := range secrets {
		if s == "" {
			continue
		}
		quoted, err := json.Marshal(s)
		if err != nil {
			return clean, err
		}
		text = bytes.ReplaceAll(text, quoted[1:len(quoted)-1], []byte("***"))
	}
	if err := json.Unmarshal(text, &clean); err != nil {
		return clean, fmt.Errorf("%w: a secret stands where a number or a name of the report does: %w", ErrFacts, err)
	}
	return clean, nil
}

// Failure is why the release failed, empty where it did not. One whose commit is there fails too, where a step after
// that did.
func (d Document) Failure() string {
	failed := d.Outcome == Failed || d.Outcome == PublishedNotCommitted || slices.ContainsFunc(d.Timings, func(t Timing) bool { return t.Failed })
	if !failed {
		return ""
	}
	return cmp.Or(d.Reason, "the release failed")
}

// Total is the time of all steps.
func (d Document) Total() time.Duration {
	var total float64
	for _, t := range d.Timings {
		total += t.Seconds
	}
	return seconds(total)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Markdown renders the document, fit for a GitHub job summary.
func (d Document) Markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s\n\n", d.title())
	for _, s := range d.Timings {
		if s.Failed {
			fmt.Fprintf(&b, "**%s** failed after %s.\n\n", text(s.Step), duration(seconds(s.Seconds)))
		}
	}
	if d.Reason != "" {
		fmt.Fprintf(&b, "%s\n\n", text(d.Reason))
	}
	switch d.Outcome {
	case Proposed:
		b.WriteString("The image below is in the registry. The chart names it once the pull request is merged.\n\n")
	case NothingToRelease:
		b.WriteString("The chart names this image already: no commit was made.\n\n")
	case PublishedNotCommitted:
		b.WriteString("The image below is in the registry; this run made no commit. Run the release again: it goes on from here and builds nothing anew.\n\n")
	case Failed:
		b.WriteString("No commit was made.\n\n")
	}
	d.facts().write(&b)
	if d.Chart != nil && len(d.Chart.Edits) > 0 {
		t := table{head: []string{"Chart", "Before", "After"}}
		for _, e := range d.Chart.Edits {
			t.row(code(e.File)+" "+code(e.Path), code(e.Before), code(e.After))
		}
		t.write(&b)
	}
	if d.Proof != nil {
		t := table{head: []string{"Proof", "Seen", "Time"}, right: 1}
		for _, s := range d.Proof.Steps {
			t.row(text(s.Name), text(cmp.Or(s.Error, s.Shown, "nothing")), duration(seconds(s.Seconds)))
		}
		t.write(&b)
	}
	if len(d.Timings) > 0 {
		t := table{head: []string{"Step", "Time"}, right: 1}
		for _, s := range d.Timings {
			took := duration(seconds(s.Seconds))
			if s.Cached {
				took += " (cached)"
			}
			if s.Failed {
				took += " (failed)"
			}
			t.row(text(s.Step), took)
		}
		if len(d.Timings) > 1 {
			t.row("**all**", "**"+duration(d.Total())+"**")
		}
		t.write(&b)
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

func (d Document) title() string {
	name := ""
	switch {
	case d.Image != nil && d.Image.Name != "" && d.Image.Tag != "":
		name = " " + code(d.Image.Name[strings.LastIndexByte(d.Image.Name, '/')+1:]+":"+d.Image.Tag)
	case d.Source != nil && d.Source.Tag != "":
		name = " " + code(d.Source.Tag)
	}
	switch d.Outcome {
	case Released:
		return "Released" + name
	case Proposed:
		return "Proposed" + name
	case NothingToRelease:
		return "Nothing to release:" + cmp.Or(name, " the chart is up to date")
	case PublishedNotCommitted:
		return "Published, but not committed:" + cmp.Or(name, " the image")
	}
	if name != "" {
		return "Release failed:" + name
	}
	return "Release failed"
}

func (d Document) facts() *table {
	t := &table{head: []string{"", ""}}
	if s := d.Source; s != nil {
		what := code(s.Revision)
		if s.Branch != "" {
			what += " on " + code(s.Branch)
		}
		if s.Subject != "" {
			what += ", " + text(s.Subject)
		}
		t.row("Source", what)
		if s.InputsRevision != s.Revision {
			t.row("Last change of the image", code(s.InputsRevision))
		}
		t.row("Committed", s.Time.UTC().Format(time.RFC3339))
	}
	if i := d.Image; i != nil {
		t.row("Image", code(i.Name+":"+i.Tag))
		if i.Digest != "" {
			t.row("Digest", code(i.Digest))
		}
		of := ""
		if len(i.Platforms) > 1 {
			t.row("Platforms", text(strings.Join(i.Platforms, ", ")))
			of = ", of " + text(i.Platform)
		}
		if i.CompressedBytes > 0 {
			on := ""
			if i.DiskBytes > 0 {
				on = ", " + size(i.DiskBytes) + " on disk"
			}
			t.row("Size", size(i.CompressedBytes)+" compressed"+on+of)
		}
	}
	if d.Tags != nil {
		d.Tags.rows(t)
	}
	if d.Attestation != nil {
		d.Attestation.rows(t, d.Verification)
	}
	if d.Scan != nil {
		d.Scan.rows(t)
	}
	if c := d.Commit; c != nil && c.SHA != "" {
		label := "Commit"
		if d.Outcome == NothingToRelease {
			label = "Released by commit"
		}
		t.row(label, code(c.SHA))
		if c.PullRequest != nil {
			t.row("Pull request", fmt.Sprintf("#%d, %s", c.PullRequest.Number, c.PullRequest.URL))
		}
		if c.Parent != "" && (d.Outcome == Released || d.Outcome == Proposed) {
			t.row("Parent", code(c.Parent))
		}
		if c.Remote != "" {
			t.row("Remote", code(c.Branch)+" of "+code(c.Remote))
		}
	}
	if d.ProofBundle != nil {
		d.ProofBundle.rows(t)
	}
	if d.Chart != nil && d.Chart.Version != "" {
		t.row("Chart version", code(d.Chart.Version))
	}
	if d.Artifact != nil {
		d.Artifact.rows(t)
	}
	return t
}

// table is a Markdown table.
type table struct {
	head []string
	// right is the number of columns at the end that hold numbers.
	right int
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *bytes.Buffer) {
	if len(t.rows) == 0 {
		return
	}
	rule := slices.Repeat([]string{"---"}, len(t.head))
	for i := len(rule) - t.right; i < len(rule); i++ {
		rule[i] = "---:"
	}
	for _, cells := range append([][]string{t.head, rule}, t.rows...) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteByte('\n')
}

// code quotes a text that is to be read literally, whatever it holds.
func code(s string) string {
	s = oneLine(s)
	if s == "" {
		return "(empty)"
	}
	s = strings.ReplaceAll(s, "|", `\|`)
	if !strings.Contains(s, "`") {
		return "`" + s + "`"
	}
	return "`` " + s + " ``"
}

var escape = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "#", `\#`)

// text is a text of somebody else's in which nothing is markup.
func text(s string) string { return escape.Replace(oneLine(s)) }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func size(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

func duration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
}
