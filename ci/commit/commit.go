// Package commit makes the commit of a release without a work tree and brings it to a remote without losing anybody
// else's push. The same release on the same parent is always the same commit.
package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// CandidateRef keeps the last candidate of a repository from being collected as garbage.
const CandidateRef = "refs/gitops/candidate"

// The author of every release commit: a release made anywhere, by anybody, is the same commit.
const (
	authorName  = "Backstage GitOps"
	authorEmail = "release@backstage-gitops.invalid"
)

// Release is what a commit says: this chart now names this image, built from this source.
type Release struct {
	// Chart is the chart's folder in the repository, charts/backstage.
	Chart string
	// Image is the image's name without tag and digest.
	Image string
	// Pin is the image's tag and digest.
	Pin bump.Pin
	// Source is the commit that was released; empty means HEAD of the repository.
	Source string
}

// Commit is a release commit, or the one that was there already.
type Commit struct {
	// SHA is the commit; with Nothing, the one since which the chart has named the image.
	SHA string `json:"commit"`
	// Parent is the parent of SHA, empty for a first commit.
	Parent string `json:"parent"`
	// Base is the commit that the release was applied to.
	Base string `json:"base"`
	// Source is the commit that was released; with Nothing what SHA says of that, empty where it is no release's.
	Source string `json:"source"`
	// Nothing says that the chart at Base names the image already, so no commit was made.
	Nothing bool `json:"nothing"`
	// Edits are the scalars before and after, empty with Nothing.
	Edits []bump.Edit `json:"edits"`
	// Version is the chart's version after the release.
	Version string `json:"chartVersion"`
	// Tree is the tree of SHA. Unlike SHA it is the same whoever makes the commit, and when.
	Tree string `json:"tree,omitempty"`
	// Files are the files of Edits as they are in Tree.
	Files []File `json:"-"`
}

// File is a file of a commit's tree.
type File struct {
	// Path is that from the root of the tree, Mode Git's, 100644 or 100755.
	Path, Mode string
	Text       []byte
}

// Create makes the commit of a release on top of base in the repository of dir and keeps it under CandidateRef. No
// branch moves, and the work tree and index are not read or written.
func Create(ctx context.Context, dir, base string, rel Release) (Commit, error) {
	r := git.Open(dir)
	if err := rel.Pin.Check(); err != nil {
		return Commit{}, err
	}
	rel, err := rel.checked(ctx, r)
	if err != nil {
		return Commit{}, err
	}
	onto, err := resolve(ctx, r, base)
	if err != nil {
		return Commit{}, fmt.Errorf("the base: %w", err)
	}
	c, err := create(ctx, r, onto, rel)
	if err != nil || c.Nothing {
		return c, err
	}
	_, err = r.Run(ctx, "update-ref", CandidateRef, c.SHA)
	return c, err
}

// checked checks all of a release but its pin, and names its source commit in full.
func (rel Release) checked(ctx context.Context, r *git.Repo) (Release, error) {
	if rel.Image != "" {
		if _, err := imageref.ParseName(rel.Image); err != nil {
			return rel, err
		}
	}
	var err error
	if rel.Chart, err = inside(rel.Chart); err != nil {
		return rel, err
	}
	if rel.Source == "" {
		rel.Source = "HEAD"
	}
	sha, err := resolve(ctx, r, rel.Source)
	if err != nil {
		return rel, fmt.Errorf("the released commit: %w", err)
	}
	rel.Source = sha
	return rel, nil
}

// inside makes the folder of a chart relative to the repository, and refuses one that leaves it.
func inside(chart string) (string, error) {
	chart = path.Clean(filepath.ToSlash(chart))
	if path.IsAbs(chart) || chart == ".." || strings.HasPrefix(chart, "../") {
		return chart, fmt.Errorf("the chart %q is not inside of the repository", chart)
	}
	return chart, nil
}

// resolve names a commit in full.
func resolve(ctx context.Context, r *git.Repo, revision string) (string, error) {
	sha, err := r.Run(ctx, "rev-parse", "--verify", "--end-of-options", revision+"^{commit}")
	var e *git.Error
	if errors.As(err, &e) {
		return "", fmt.Errorf("%s is not a commit of %s (git: %s)", revision, r.Dir(), git.Reason(e.Stderr))
	}
	return sha, err
}

func create(ctx context.Context, r *git.Repo, base string, rel Release) (Commit, error) {
	values, chart, err := readChart(ctx, r, base, rel.Chart)
	if err != nil {
		return Commit{}, err
	}
	after, edits, err := bump.Apply(bump.Files{Values: values.Text, Chart: chart.Text}, rel.Pin)
	if err != nil {
		return Commit{}, atCommit(rel.Chart, base, err)
	}
	version, err := bump.Version(after.Chart)
	if err != nil {
		return Commit{}, atCommit(rel.Chart, base, err)
	}
	c := Commit{Base: base, Source: rel.Source, Edits: edits, Version: version}
	if len(edits) == 0 {
		c.Nothing, c.Edits = true, []bump.Edit{}
		err := c.former(ctx, r, values.Path, rel.Pin)
		return c, err
	}
	values.Text, chart.Text = after.Values, after.Chart
	if c.SHA, c.Tree, err = write(ctx, r, base, rel.Source, rel.Message(), values, chart); err != nil {
		return Commit{}, err
	}
	c.Parent, c.Files = base, []File{values, chart}
	return c, nil
}

// former finds the commit since which the chart's values name the image: edits of others may have followed it.
func (c *Commit) former(ctx context.Context, r *git.Repo, values string, pin bump.Pin) error {
	out, err := r.Run(ctx, "log", "--format=%H %T %P", c.Base, "--", values)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if c.SHA != "" {
			text, err := readEntry(ctx, r, fields[0], values)
			if err != nil {
				break // not there yet
			}
			if named, err := bump.Read(text.Text); err != nil || named != pin {
				break
			}
		}
		c.SHA, c.Tree, c.Parent = fields[0], fields[1], ""
		if len(fields) > 2 {
			c.Parent = fields[2]
		}
	}
	c.Source = ""
	if c.SHA == "" {
		return nil
	}
	trailers, err := r.Run(ctx, "log", "-1", "--format=%(trailers:key="+SourceTrailer+",valueonly,separator=%x20)", c.SHA)
	if err != nil {
		return err
	}
	for _, source := range strings.Fields(trailers) {
		if strings.Trim(source, "0123456789abcdef") != "" {
			continue
		}
		if before, err := r.IsAncestor(ctx, source, c.SHA); err == nil && before {
			c.Source = source
		}
	}
	return nil
}

// write makes the commit that replaces files of base, by the author of releases and with the date of another commit:
// nothing in it tells where or when it was made.
func write(ctx context.Context, r *git.Repo, base, dated, message string, files ...File) (sha, tree string, err error) {
	if tree, err = writeTree(ctx, r, base, files...); err != nil {
		return "", "", err
	}
	date, err := r.Run(ctx, "log", "-1", "--format=%ct", dated)
	if err != nil {
		return "", "", err
	}
	out, err := r.Do(ctx, git.Command{
		Args:  []string{"commit-tree", "--no-gpg-sign", "-p", base, "-F", "-", tree},
		Stdin: strings.NewReader(message),
		Env: []string{
			"GIT_AUTHOR_NAME=" + authorName, "GIT_AUTHOR_EMAIL=" + authorEmail, "GIT_AUTHOR_DATE=" + date + " +0000",
			"GIT_COMMITTER_NAME=" + authorName, "GIT_COMMITTER_EMAIL=" + authorEmail, "GIT_COMMITTER_DATE=" + date + " +0000",
		},
	})
	return strings.TrimSpace(string(out)), tree, err
}

// atCommit says where a chart is that cannot be bumped.
func atCommit(chart, commit string, err error) error {
	return fmt.Errorf("%s at %.12s: %w", chart, commit, err)
}

// SkipCI at the end of a message's first line keeps GitHub Actions from starting a workflow for the commit.
const SkipCI = " [skip ci]"

// Title is the first line of the commit's message, without SkipCI.
func (rel Release) Title() string {
	name := path.Base(rel.Chart)
	if name == "." {
		name = "chart"
	}
	return fmt.Sprintf("chore(release): %s %s", name, rel.Pin.Tag)
}

// Trailers are the lines of the commit's message that a machine can read: git log --format='%(trailers:key=Digest)'.
func (rel Release) Trailers() string {
	var b strings.Builder
	if rel.Image != "" {
		fmt.Fprintf(&b, "Image: %s:%s\n", rel.Image, rel.Pin.Tag)
	}
	fmt.Fprintf(&b, "%s: %s\n%s: %s\n", digestTrailer, rel.Pin.Digest, SourceTrailer, rel.Source)
	return b.String()
}

// Message is the commit's message, a conventional commit.
func (rel Release) Message() string { return rel.message().String() }

func (rel Release) message() Message {
	return Message{Title: rel.Title(), Trailers: rel.Trailers(), Key: SourceTrailer}
}

// Message is what a commit says, and how commits of its kind are known from all others: each names in a trailer the
// commit that it is made of.
type Message struct {
	// Title is the first line, without SkipCI.
	Title string
	// Trailers are the lines that a machine can read, that of Key among them; of a revert git's own words stand before
	// them.
	Trailers string
	// Key is that trailer's, and Of what stands before the commit in it.
	Key, Of string
}

// String is the message of a commit on a branch that people pull.
func (m Message) String() string { return m.Title + SkipCI + "\n\n" + m.Trailers }

// Proposed is the message of a commit on the branch of a pull request: GitHub would start no checks for one that says
// SkipCI, and could never merge it.
func (m Message) Proposed() string { return m.Title + "\n\n" + m.Trailers }

// The trailers by which a release commit is known again; a revert has no source.
const (
	digestTrailer = "Digest"
	// SourceTrailer names the released commit in the message of a release's commit.
	SourceTrailer = "Source-Revision"
	// ChangeTrailer names a change that is no release, and the commit that it was made on: NAME@COMMIT.
	ChangeTrailer = "Change"
)

// readChart reads the two files of a chart that a bump edits.
func readChart(ctx context.Context, r *git.Repo, commit, chart string) (values, meta File, err error) {
	if values, err = readEntry(ctx, r, commit, path.Join(chart, bump.ValuesFile)); err != nil {
		return File{}, File{}, err
	}
	meta, err = readEntry(ctx, r, commit, path.Join(chart, bump.ChartFile))
	return values, meta, err
}

func readEntry(ctx context.Context, r *git.Repo, commit, p string) (File, error) {
	out, err := r.Run(ctx, "--literal-pathspecs", "ls-tree", commit, "--", p)
	if err != nil {
		return File{}, err
	}
	mode, _, _ := strings.Cut(out, " ")
	switch mode {
	case "100644", "100755":
	case "":
		return File{}, fmt.Errorf("%w: there is no %s at %.12s", bump.ErrChart, p, commit)
	default:
		return File{}, fmt.Errorf("%w: %s at %.12s is not a regular file", bump.ErrChart, p, commit)
	}
	text, err := r.Do(ctx, git.Command{Args: []string{"cat-file", "blob", commit + ":" + p}})
	return File{Path: p, Mode: mode, Text: text}, err
}

// writeTree is the tree of a commit with some files replaced, made in an index of its own.
func writeTree(ctx context.Context, r *git.Repo, base string, files ...File) (tree string, err error) {
	dir, err := os.MkdirTemp("", "gitops-index-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index")}
	if _, err := r.Do(ctx, git.Command{Args: []string{"read-tree", base}, Env: index}); err != nil {
		return "", err
	}
	var list bytes.Buffer
	for _, f := range files {
		sha, err := r.Do(ctx, git.Command{Args: []string{"hash-object", "-w", "--no-filters", "--stdin"}, Stdin: bytes.NewReader(f.Text)})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&list, "%s %s\t%s\x00", f.Mode, bytes.TrimSpace(sha), f.Path)
	}
	if _, err := r.Do(ctx, git.Command{Args: []string{"update-index", "-z", "--index-info"}, Stdin: &list, Env: index}); err != nil {
		return "", err
	}
	out, err := r.Do(ctx, git.Command{Args: []string{"write-tree"}, Env: index})
	return strings.TrimSpace(string(out)), err
}
