package report

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Rollback is what a rollback did.
type Rollback struct {
	// Image is the image's name without tag and digest.
	Image string `json:"image"`
	// Revert is the output of gitops revert, or of gitops reverted.
	Revert *commit.Reverted `json:"revert"`
	// Tags is the output of gitops image retag, nil where the tags of the registry were to be left alone.
	Tags *Retagged `json:"tags"`
	// Finished says that the revert is that of an earlier rollback, which ended before its tags were given back; without
	// a revert that there was none to finish.
	Finished bool `json:"finished"`
	// Verified is a section on the image's signature, Markdown.
	Verified string `json:"verified"`
}

// Retagged are the tags of the registry that a rollback has given back, and those that it could not.
type Retagged struct {
	Tags Tags     `json:"tags"`
	Left []string `json:"left"`
}

// Markdown is the report. The secrets are taken out of it.
func (r Rollback) Markdown(secrets ...string) ([]byte, error) {
	v := r.Revert
	if r.Finished && r.Image != "" && v == nil {
		return []byte("## Nothing to finish\n\nNo rollback is the last word on what the chart names: nothing was taken back, and no tag was moved.\n"), nil
	}
	if r.Image == "" || v == nil || v.SHA == "" || v.Restored.Digest == "" || v.Reverted.SHA == "" {
		return nil, fmt.Errorf("%w: a rollback wants its image and its revert", ErrFacts)
	}
	var b bytes.Buffer
	waits := v.PullRequest != nil && !v.PullRequest.Merged
	switch {
	case r.Finished:
		fmt.Fprintf(&b, "## Finished the rollback to %s\n\n", code(v.Restored.Tag))
		if r.Tags == nil || len(r.Tags.Tags) == 0 {
			b.WriteString("The commit below is there, and no tag of the registry was left to give back. Nothing else was taken back.\n\n")
			break
		}
		b.WriteString("An earlier rollback pushed the commit below and ended before it gave the registry's tags back. That is done now, and nothing else was taken back: roll back again for one release further back.\n\n")
	case waits:
		fmt.Fprintf(&b, "## Proposed the rollback to %s\n\n", code(v.Restored.Tag))
		b.WriteString("The commit below waits in a pull request, and nothing is taken back before that is merged. Then `rollback --finish` gives the registry's tags back.\n\n")
	default:
		fmt.Fprintf(&b, "## Rolled back to %s\n\n", code(v.Restored.Tag))
	}
	t := table{head: []string{"", ""}}
	t.row("Image", code(r.Image+"@"+v.Restored.Digest))
	t.row("Taken back", code(v.Reverted.Tag)+", commit "+code(v.Reverted.SHA))
	t.row("Commit", code(v.SHA))
	t.row("Remote", code(v.Branch)+" of "+code(git.Redact(v.Remote)))
	if waits {
		t.row("Pull request", fmt.Sprintf("#%d, %s", v.PullRequest.Number, v.PullRequest.URL))
	} else {
		r.Tags.rows(&t)
	}
	if v.Restored.Version != "" {
		t.row("Chart in the registry", "version "+code(v.Restored.Version)+" names this image; a newer one names what was taken back, until the next release")
	} else {
		t.row("Chart in the registry", "none that was released with this image is known; the newest names what was taken back, until the next release")
	}
	t.write(&b)
	b.WriteString(r.Verified)
	out := strings.TrimRight(b.String(), "\n") + "\n"
	for _, s := range secrets {
		if s != "" {
			out = strings.ReplaceAll(out, s, "***")
		}
	}
	return []byte(out), nil
}

func (r *Retagged) rows(t *table) {
	if r == nil {
		t.row("Tags given back", "none: they were to be left as they are")
		return
	}
	if len(r.Tags) == 0 {
		t.row("Tags given back", "none: none that suits this image was that of what was taken back")
	} else {
		t.row("Tags given back", codes(r.Tags.names()))
	}
	if len(r.Left) > 0 {
		t.row("Tags left with what was taken back", codes(r.Left)+": not lines of this image")
	}
}

func codes(texts []string) string {
	quoted := make([]string, len(texts))
	for n, s := range texts {
		quoted[n] = code(s)
	}
	return strings.Join(quoted, ", ")
}
