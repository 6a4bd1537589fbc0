package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// ErrOutdated says that others have changed on the remote branch what a change is about.
var ErrOutdated = errors.New("the remote branch has another version of the file by now")

// Change is a commit that is no release.
type Change struct {
	// Title is the first line of its message.
	Title string
	// Name is by which its commits are known from those of other changes, such as promote/staging; it has no blanks.
	Name string
}

// PushChange brings what the work tree of dir changes in its files to the target, as Push does: on top of the branch's
// tip, and again on top of the new tip where somebody else was faster. A file that others have changed there since the
// checkout's HEAD is refused. The repository of dir is only read; where nothing is changed, the remote is not asked.
func PushChange(ctx context.Context, dir string, change Change, t Target) (result Pushed, err error) {
	if change.Title == "" || change.Name == "" || strings.ContainsAny(change.Title+change.Name, "\r\n") || strings.ContainsAny(change.Name, " \t") {
		return Pushed{}, fmt.Errorf("a change wants a title of one line, and a name without blanks: got %q and %q", change.Title, change.Name)
	}
	from := git.Open(dir)
	d, err := read(ctx, from)
	if err != nil {
		return Pushed{}, err
	}
	if len(d.files) == 0 {
		return Pushed{Commit: d.nothing(d.head), Remote: t.Remote, Branch: t.Branch}, nil
	}
	r, done, err := scratch(ctx, from, t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Pushed{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	d.Message = Message{Title: change.Title, Key: ChangeTrailer, Of: change.Name + "@"}
	d.Trailers = fmt.Sprintf("%s: %s%s\n", d.Key, d.Of, d.head)
	p := &pusher{Repo: r, message: d.Message, target: t}
	p.make = func(ctx context.Context, tip string) (Commit, error) { return d.on(ctx, r, tip, t) }
	return p.push(ctx)
}

// draft is what a work tree changes in its files.
type draft struct {
	Message
	head string
	// former are the files as HEAD has them.
	files, former []File
}

// read reads a checkout.
func read(ctx context.Context, r *git.Repo) (*draft, error) {
	head, err := resolve(ctx, r, "HEAD")
	if err != nil {
		return nil, err
	}
	out, err := r.Do(ctx, git.Command{Args: []string{"diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", "HEAD"}})
	if err != nil {
		return nil, err
	}
	d := &draft{head: head}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		former, err := readEntry(ctx, r, head, name)
		if err != nil {
			return nil, err
		}
		file := former
		if file.Text, err = os.ReadFile(filepath.Join(r.Dir(), filepath.FromSlash(name))); err != nil {
			return nil, err
		}
		if !bytes.Equal(file.Text, former.Text) {
			d.files, d.former = append(d.files, file), append(d.former, former)
		}
	}
	return d, nil
}

// nothing is the answer where a commit has all that the draft changes.
func (d *draft) nothing(sha string) Commit {
	return Commit{SHA: sha, Base: sha, Source: d.head, Nothing: true}
}

// on makes the commit on top of a tip.
func (d *draft) on(ctx context.Context, r *git.Repo, tip string, t Target) (Commit, error) {
	if err := contained(ctx, r, d.head, tip, t); err != nil {
		return Commit{}, err
	}
	c := Commit{Parent: tip, Base: tip, Source: d.head}
	for i, file := range d.files {
		now, err := readEntry(ctx, r, tip, file.Path)
		switch former := d.former[i]; {
		case err != nil && !errors.Is(err, bump.ErrChart):
			return Commit{}, err
		case err != nil, now.Mode != former.Mode, !bytes.Equal(now.Text, former.Text) && !bytes.Equal(now.Text, file.Text):
			return Commit{}, fmt.Errorf("%w: %s in %s of %s was changed since %.12s, which the checkout is at; fetch it, and start again",
				ErrOutdated, file.Path, t.Branch, t.Remote, d.head)
		case bytes.Equal(now.Text, former.Text):
			c.Files = append(c.Files, file)
		}
	}
	if len(c.Files) == 0 {
		return d.nothing(tip), nil
	}
	var err error
	c.SHA, c.Tree, err = write(ctx, r, tip, d.head, d.String(), c.Files...)
	return c, err
}
