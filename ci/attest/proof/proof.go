// Package proof ties a release together in one signed document: the commit it was made of, the image by its digest,
// what is attached to that, the commit that named it, and what Argo CD ran of it. Whoever has the key checks it offline.
package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// PredicateType is the address of what the document means.
const PredicateType = attest.Proof

var (
	// ErrFacts says that a release's facts make no proof.
	ErrFacts = errors.New("the facts make no proof")
	// ErrNotRun says that no cluster ran the release.
	ErrNotRun = errors.New("nothing ran it: the release was not proven in a cluster")
	// ErrForgotten says that an earlier run of the release has left nothing that says whether a cluster ran it.
	ErrForgotten = errors.New("nothing says any more whether a cluster ran it")
	// ErrProposed says that the document is of a proposal: no branch has the commit.
	ErrProposed = errors.New("it is a proposal and no release")
	// ErrCandidate says that the document is of a commit that a cluster ran before it was pushed.
	ErrCandidate = errors.New("it is a candidate and no release")
	// ErrNoRelease says that the commit that names the image is not one of a release.
	ErrNoRelease = errors.New("no release made the commit that names the image")
	// ErrOtherImage and ErrOtherRevision say that it is a document on something else, and with ErrOtherSource,
	// ErrOtherCommit and ErrOtherPod which link of the chain does not fit.
	ErrOtherImage    = errors.New("it is of another image")
	ErrOtherRevision = errors.New("it is of another source commit")
	ErrOtherSource   = errors.New("the image was built from another commit")
	ErrOtherBump     = errors.New("it is of another commit that names the image")
	ErrOtherCommit   = errors.New("Argo CD ran another commit")
	ErrOtherPod      = errors.New("a pod ran another image")
	// ErrMissing says that something was not attached to the image.
	ErrMissing = errors.New("missing beside the image")
	// ErrRepository says that the repository tells another story.
	ErrRepository = errors.New("the repository does not agree")
	// ErrBroken says that a document is no proof.
	ErrBroken = errors.New("no proof of a release")
)

// What a document is of.
const (
	// Released is a release: the branch has the commit.
	Released = "released"
	// Proposed is a commit that waits in a pull request.
	Proposed = "proposed"
	// Candidate is a commit that a cluster ran, before it was pushed or proposed.
	Candidate = "candidate"
)

// Chain is what the document says.
type Chain struct {
	// Outcome is Released, Proposed or Candidate.
	Outcome string `json:"outcome"`
	// Revision is the commit that was released, InputsRevision the last one before it that changed the image.
	Revision       string `json:"revision"`
	InputsRevision string `json:"inputsRevision"`
	// Image is the image by its digest.
	Image string `json:"image"`
	// Provenance is where the image's provenance says that it comes from.
	Provenance Origin `json:"provenance"`
	// Attached are the documents beside the image, by their digests there.
	Attached []attest.Attached `json:"attached"`
	Commit   Commit            `json:"commit"`
	// ArgoCD is nil where no cluster ran it.
	ArgoCD *ArgoCD `json:"argocd,omitempty"`

	// earlier says that another run of the release made the commit.
	earlier bool
}

// Origin is a commit of a repository, and what built it.
type Origin struct {
	Repository string `json:"repository"`
	Revision   string `json:"revision"`
	Builder    string `json:"builder"`
}

// Commit is the commit that named the image.
type Commit struct {
	SHA    string `json:"sha"`
	Parent string `json:"parent"`
	// Tree is what the commit holds, the same whoever made it.
	Tree string `json:"tree,omitempty"`
	// Candidate is the commit that was proven, where GitHub made another one with the same tree.
	Candidate string `json:"candidate,omitempty"`
	Remote    string `json:"remote"`
	Branch    string `json:"branch"`
	Chart     string `json:"chart"`
	// Digest is what the chart names in it.
	Digest string `json:"digest"`
	// PullRequest is where it waits for the branch, or went through; nil where it was pushed there.
	PullRequest *PullRequest `json:"pullRequest,omitempty"`
}

// PullRequest is a pull request of GitHub.
type PullRequest struct {
	Number int    `json:"number"`
	URL    string `json:"url"`
	// Merged says that the branch had the commit when the document was signed.
	Merged bool `json:"merged,omitempty"`
}

// ArgoCD is what ran.
type ArgoCD struct {
	Revision string      `json:"revision"`
	Running  []Container `json:"running"`
}

// Container is a container of a pod.
type Container struct {
	Pod     string `json:"pod"`
	Name    string `json:"name"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
}

// facts are what the steps of a release have printed; see gitops report.
type facts struct {
	Source struct {
		Revision       string `json:"revision"`
		InputsRevision string `json:"inputsRevision"`
	} `json:"source"`
	Image struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
	} `json:"image"`
	Attestation struct {
		Attached []attest.Attached `json:"attached"`
	} `json:"attestation"`
	Verification struct {
		Origin   Origin            `json:"origin"`
		Attached []attest.Attached `json:"attached"`
	} `json:"verification"`
	Commit struct {
		SHA       string `json:"commit"`
		Parent    string `json:"parent"`
		Tree      string `json:"tree"`
		Candidate string `json:"candidate"`
		// Nothing says that the commit was there before, and Source of which one it was the release then.
		Nothing bool   `json:"nothing"`
		Source  string `json:"source"`
		Remote  string `json:"remote"`
		Branch  string `json:"branch"`
		// PullRequest is as GitHub's commit has it.
		PullRequest *PullRequest `json:"pullRequest"`
		Edits       []struct {
			Path  string `json:"path"`
			After string `json:"after"`
		} `json:"edits"`
	} `json:"commit"`
	Proof *struct {
		Proven   bool   `json:"proven"`
		Revision string `json:"revision"`
		// Image is what the chart calls the image; a pod may have containers of others.
		Image   string `json:"image"`
		Running []struct {
			Name       string      `json:"name"`
			Containers []Container `json:"containers"`
		} `json:"running"`
	} `json:"proof"`
}

// New makes the chain of a release's facts, and refuses facts that do not fit together. Where an earlier run of the
// release made the commit, the facts are what is beside the image and in the repository.
func New(text []byte, chart string) (*Chain, error) {
	return read(text, chart, func(c *Chain) {
		if c.Commit.waits() {
			c.Outcome = Proposed
		}
	})
}

// NewCandidate makes the chain of a commit that a cluster ran and that nobody has pushed yet.
func NewCandidate(text []byte, chart string) (*Chain, error) {
	return read(text, chart, func(c *Chain) { c.Outcome = Candidate })
}

func read(text []byte, chart string, end func(*Chain)) (*Chain, error) {
	var f facts
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFacts, err)
	}
	c := &Chain{
		Outcome:  Released,
		Revision: f.Source.Revision, InputsRevision: f.Source.InputsRevision, Image: f.Image.Name + "@" + f.Image.Digest,
		Provenance: f.Verification.Origin, Attached: f.Attestation.Attached,
		Commit: Commit{
			SHA: f.Commit.SHA, Parent: f.Commit.Parent, Tree: f.Commit.Tree, Candidate: f.Commit.Candidate,
			Remote: f.Commit.Remote, Branch: f.Commit.Branch, Chart: chart, PullRequest: f.Commit.PullRequest,
		},
		earlier: f.Commit.Nothing,
	}
	for _, e := range f.Commit.Edits {
		if e.Path == "image.digest" {
			c.Commit.Digest = e.After
		}
	}
	if c.earlier {
		if f.Commit.Source == "" {
			return nil, fmt.Errorf("%w: %s", ErrNoRelease, f.Commit.SHA)
		}
		// Nothing was left to edit: the chart names what the facts do.
		c.Revision, c.Commit.Digest = f.Commit.Source, f.Image.Digest
	}
	if c.Attached == nil {
		c.Attached = f.Verification.Attached
	}
	if f.Proof != nil && f.Proof.Proven {
		c.ArgoCD = &ArgoCD{Revision: f.Proof.Revision}
		for _, pod := range f.Proof.Running {
			for _, container := range pod.Containers {
				if !sameName(container.Image, f.Proof.Image) {
					continue
				}
				container.Pod = pod.Name
				c.ArgoCD.Running = append(c.ArgoCD.Running, container)
			}
		}
	}
	end(c)
	// Whether it is a release and whether a cluster ran it is for who reads the document to want.
	if err := c.check(anything); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFacts, err)
	}
	return c, nil
}

// sameName says whether two references are of one image's name; a pod's may leave docker.io out.
func sameName(a, b string) bool {
	one, err := imageref.Parse(a)
	if err != nil {
		return false
	}
	other, err := imageref.Parse(b)
	return err == nil && one.Name() == other.Name()
}

// waits says that no branch has the commit yet.
func (c Commit) waits() bool { return c.PullRequest != nil && !c.PullRequest.Merged }

// Want is what a document has to be of, and what passes.
type Want struct {
	// Image is the image, NAME@sha256:… or its digest alone; empty for any.
	Image string
	// Revision is the commit that was released, in full; empty for any.
	Revision string
	// Unproven lets one pass that no cluster ran, Proposed one whose commit waits in a pull request, and Candidate one whose
	// commit nobody has pushed yet.
	Unproven, Proposed, Candidate bool
}

// anything is a document of whatever, as long as it fits together.
var anything = Want{Unproven: true, Proposed: true, Candidate: true}

// ErrWant says that nothing can be what is wanted.
var ErrWant = errors.New("there is no such image or commit")

// Check refuses what no document can be of.
func (w Want) Check() error {
	if w.Image != "" && imageref.CheckDigest(w.Image) != nil {
		if ref, err := imageref.Parse(w.Image); err != nil || imageref.CheckDigest(ref.Digest) != nil {
			return fmt.Errorf("%w: %q: name the image by its digest, NAME@sha256:…", ErrWant, w.Image)
		}
	}
	if w.Revision != "" && !commit.MatchString(w.Revision) {
		return fmt.Errorf("%w: %q: name the commit in full, as git rev-parse does", ErrWant, w.Revision)
	}
	return nil
}

var commit = regexp.MustCompile(`\A([0-9a-f]{40}|[0-9a-f]{64})\z`)

// of refuses a chain of something else.
func (c *Chain) of(w Want) error {
	name, digest, _ := strings.Cut(c.Image, "@")
	wanted, sum, named := strings.Cut(w.Image, "@")
	if !named {
		wanted, sum = "", w.Image
	}
	switch {
	case sum != "" && sum != digest, wanted != "" && !sameName(wanted, name):
		return fmt.Errorf("%w: %s, not %s", ErrOtherImage, c.Image, w.Image)
	case w.Revision != "" && w.Revision != c.Revision:
		return fmt.Errorf("%w: %s, not %s", ErrOtherRevision, c.Revision, w.Revision)
	}
	return nil
}

// check refuses a chain with a link that does not fit, and one that is less than what is wanted.
func (c *Chain) check(w Want) error {
	_, digest, _ := strings.Cut(c.Image, "@")
	switch {
	case !slices.Contains([]string{Released, Proposed, Candidate}, c.Outcome) || c.Commit.waits() != (c.Outcome == Proposed):
		return fmt.Errorf("%w: it does not say whether it is of a release or of a proposal", ErrBroken)
	case c.Outcome == Candidate && (c.Commit.PullRequest != nil || c.Commit.Candidate != "" || c.ArgoCD == nil):
		return fmt.Errorf("%w: it does not say what ran the candidate", ErrBroken)
	case c.Revision == "" || c.InputsRevision == "" || digest == "" || c.Commit.SHA == "":
		return fmt.Errorf("%w: it names no source, image or commit", ErrBroken)
	case c.Commit.Digest != digest:
		return fmt.Errorf("%w: the commit %s names %s, not %s", ErrOtherImage, c.Commit.SHA, c.Commit.Digest, digest)
	case c.Provenance.Revision != c.InputsRevision:
		return fmt.Errorf("%w: its provenance says %s, the release %s", ErrOtherSource, c.Provenance.Revision, c.InputsRevision)
	}
	if err := c.attached(); err != nil {
		return err
	}
	if c.Outcome == Proposed && !w.Proposed {
		return fmt.Errorf("%w: the commit %s waits in the pull request %s", ErrProposed, c.Commit.SHA, c.Commit.PullRequest.URL)
	}
	if c.Outcome == Candidate && !w.Candidate {
		return fmt.Errorf("%w: nobody had pushed the commit %s when it was signed", ErrCandidate, c.Commit.SHA)
	}
	if c.ArgoCD == nil {
		if w.Unproven {
			return nil
		}
		return ErrNotRun
	}
	if r := c.ArgoCD.Revision; r != c.Commit.SHA && (c.Commit.Candidate == "" || r != c.Commit.Candidate) {
		return fmt.Errorf("%w: %s, not %s", ErrOtherCommit, r, c.Commit.SHA)
	}
	if len(c.ArgoCD.Running) == 0 {
		return ErrNotRun
	}
	for _, running := range c.ArgoCD.Running {
		if !strings.HasSuffix(running.ImageID, digest) {
			return fmt.Errorf("%w: container %s of %s ran %s, not %s", ErrOtherPod, running.Name, running.Pod, running.ImageID, digest)
		}
	}
	return nil
}

// attached refuses a chain that does not name all that has to be beside the image: signature and provenance, and the SBOMs of
// each platform, where there are several.
func (c *Chain) attached() error {
	has := func(kind, platform string) bool {
		return slices.ContainsFunc(c.Attached, func(a attest.Attached) bool {
			return a.PredicateType == kind && a.Platform == platform && a.Digest != ""
		})
	}
	for _, kind := range []string{attest.Signature, attest.Provenance} {
		if !has(kind, "") {
			return fmt.Errorf("%w: its %s", ErrMissing, attest.Title(kind))
		}
	}
	var platforms []string
	for _, a := range c.Attached {
		if a.Platform != "" && !slices.Contains(platforms, a.Platform) {
			platforms = append(platforms, a.Platform)
		}
	}
	if platforms == nil {
		platforms = []string{""}
	}
	for _, platform := range platforms {
		for _, kind := range []string{attest.SPDX, attest.CycloneDX} {
			if !has(kind, platform) {
				return fmt.Errorf("%w: its %s", ErrMissing, strings.TrimSpace(attest.Title(kind)+" "+platform))
			}
		}
	}
	return nil
}

// Sign makes the signed document of a chain, a Sigstore bundle.
func (c *Chain) Sign(ctx context.Context, s *attest.Signer) ([]byte, error) {
	statement, err := c.statement()
	if err != nil {
		return nil, err
	}
	return s.Sign(ctx, statement)
}

func (c *Chain) statement() (attest.Statement, error) {
	predicate, err := json.Marshal(c)
	name, digest, _ := strings.Cut(c.Image, "@")
	return attest.NewStatement(name, strings.TrimPrefix(digest, "sha256:"), PredicateType, predicate), err
}

// Verdict is one sentence on what the document proves.
func (c *Chain) Verdict() string {
	ran := "no cluster ran it"
	if c.ArgoCD != nil {
		ran = fmt.Sprintf("Argo CD ran it from %s, in %d containers", c.ArgoCD.Revision, len(c.ArgoCD.Running))
	}
	if c.Outcome == Candidate {
		return fmt.Sprintf("a candidate and no release: the commit %s was to name %s on %s; %s", c.Commit.SHA, c.Image, c.Commit.Branch, ran)
	}
	if c.Outcome == Proposed {
		return fmt.Sprintf("a proposal and no release: the commit %s waits in the pull request %s to name %s on %s; %s", c.Commit.SHA, c.Commit.PullRequest.URL, c.Image, c.Commit.Branch, ran)
	}
	return fmt.Sprintf("a release: the commit %s names %s on %s; %s", c.Commit.SHA, c.Image, c.Commit.Branch, ran)
}

// Verify reads a document, and refuses one that is not signed as it should be, that was changed since, that does not fit
// together, or that is not what is wanted.
func Verify(text []byte, v *attest.Verifier, w Want) (*Chain, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	statement, err := v.Verify(text, "")
	if err != nil {
		return nil, err
	}
	c, err := Read(statement)
	if err != nil {
		return nil, err
	}
	return c, c.Check(w)
}

// Read reads the chain of a statement, and refuses one that does not fit together.
func Read(statement *attest.Statement) (*Chain, error) {
	if statement.PredicateType != PredicateType {
		return nil, fmt.Errorf("%w: it is a %s", ErrBroken, attest.Title(statement.PredicateType))
	}
	var c Chain
	if err := json.Unmarshal(statement.Predicate, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if err := c.check(anything); err != nil {
		return nil, err
	}
	_, digest, _ := strings.Cut(c.Image, "@")
	if len(statement.Subject) != 1 || "sha256:"+statement.Subject[0].Digest["sha256"] != digest {
		return nil, fmt.Errorf("%w: its subject is not %s", ErrOtherImage, digest)
	}
	return &c, nil
}

// Check refuses a chain that is not what is wanted.
func (c *Chain) Check(w Want) error {
	// First whether it is on what is wanted at all.
	if err := c.of(w); err != nil {
		return err
	}
	return c.check(w)
}

// In compares the chain with a clone of the repository: its commits are there, one after the other, the last one of a
// release is on its branch, and the chart there names the image.
func (c *Chain) In(ctx context.Context, repo *git.Repo) error {
	for _, sha := range []string{c.InputsRevision, c.Revision, c.Commit.SHA} {
		if _, err := repo.Run(ctx, "cat-file", "-e", sha+"^{commit}"); err != nil {
			return fmt.Errorf("%w: it has no commit %s; fetch first", ErrRepository, sha)
		}
	}
	for _, order := range [][2]string{{c.InputsRevision, c.Revision}, {c.Revision, c.Commit.SHA}} {
		before, err := repo.IsAncestor(ctx, order[0], order[1])
		if err != nil {
			return err
		}
		if !before {
			return fmt.Errorf("%w: %s is not in the history of %s", ErrRepository, order[0], order[1])
		}
	}
	if c.Outcome == Released {
		on, err := repo.Run(ctx, "for-each-ref", "--contains", c.Commit.SHA, "refs/heads/"+c.Commit.Branch, "refs/remotes/*/"+c.Commit.Branch)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRepository, err)
		}
		if on == "" {
			return fmt.Errorf("%w: %s is not on the branch %s; fetch first", ErrRepository, c.Commit.SHA, c.Commit.Branch)
		}
	}
	parent, err := repo.Run(ctx, "rev-parse", c.Commit.SHA+"^")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRepository, err)
	}
	if parent != c.Commit.Parent {
		return fmt.Errorf("%w: the parent of %s is %s, not %s", ErrRepository, c.Commit.SHA, parent, c.Commit.Parent)
	}
	if c.Commit.Tree != "" {
		tree, err := repo.Run(ctx, "rev-parse", c.Commit.SHA+"^{tree}")
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRepository, err)
		}
		if tree != c.Commit.Tree {
			return fmt.Errorf("%w: the tree of %s is %s, not %s", ErrRepository, c.Commit.SHA, tree, c.Commit.Tree)
		}
	}
	text, err := repo.Run(ctx, "show", c.Commit.SHA+":"+path.Join(c.Commit.Chart, "values.yaml"))
	if err != nil {
		return fmt.Errorf("%w: %s has no chart %s", ErrRepository, c.Commit.SHA, c.Commit.Chart)
	}
	var values struct {
		Image struct {
			Digest string `yaml:"digest"`
		} `yaml:"image"`
	}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		return fmt.Errorf("%w: %w", ErrRepository, err)
	}
	if values.Image.Digest != c.Commit.Digest {
		return fmt.Errorf("%w: the chart of %s names %q, not %s", ErrRepository, c.Commit.SHA, values.Image.Digest, c.Commit.Digest)
	}
	return nil
}
