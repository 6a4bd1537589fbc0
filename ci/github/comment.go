package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/google/go-github/v62/github"
)

// Comment is what is said of a pull request. There is one of a topic: the next one takes its place.
type Comment struct {
	// Number is the pull request's.
	Number int
	// Topic tells this comment from others of the same author, a word.
	Topic string
	// Body is the text, in Markdown.
	Body string
	// IfPermitted takes it for an answer that the credential may not comment.
	IfPermitted bool
}

// Commented is the outcome of Say.
type Commented struct {
	URL string `json:"url"`
	// Change is added, changed, or nothing where the comment says that already; empty with Missing.
	Change string `json:"change"`
	// Missing is why there is no comment, with IfPermitted.
	Missing string `json:"missing,omitempty"`
	// Requests is the number of requests to the API.
	Requests int64 `json:"requests"`
}

// ErrComment says what is wrong with a comment.
var ErrComment = errors.New("no comment")

// commentLimit is what GitHub takes as one comment, in characters.
const commentLimit = 65536

var topics = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]*\z`)

func (c Comment) check() error {
	switch size := utf8.RuneCountInString(c.text()); {
	case c.Number < 1:
		return fmt.Errorf("%w: %d is no number of a pull request", ErrComment, c.Number)
	case !topics.MatchString(c.Topic):
		return fmt.Errorf("%w: the topic %q is no word of a-z, 0-9 and -", ErrComment, c.Topic)
	case strings.TrimSpace(c.Body) == "":
		return fmt.Errorf("%w: it has no text", ErrComment)
	case size > commentLimit:
		return fmt.Errorf("%w: it has %d characters, and GitHub takes %d", ErrComment, size, commentLimit)
	}
	return nil
}

// marker begins a comment, where readers do not see it.
func (c Comment) marker() string { return "<!-- backstage-gitops: " + c.Topic + " -->\n" }

func (c Comment) text() string { return c.marker() + c.Body }

// Say comments on a pull request of the target, or brings the comment up to date that it made before.
func Say(ctx context.Context, t Target, comment Comment) (Commented, error) {
	if err := comment.check(); err != nil {
		return Commented{}, err
	}
	c, err := connect(ctx, t)
	if err != nil {
		return Commented{}, err
	}
	said, change, err := c.say(ctx, comment)
	if comment.IfPermitted && errors.Is(err, ErrPermission) {
		return Commented{Missing: err.Error(), Requests: c.limits.requests.Load()}, nil
	}
	if err != nil {
		return Commented{}, err
	}
	return Commented{URL: said.GetHTMLURL(), Change: change, Requests: c.limits.requests.Load()}, nil
}

func (c *client) say(ctx context.Context, comment Comment) (*github.IssueComment, string, error) {
	own, err := c.own(ctx, comment)
	if err != nil {
		return nil, "", err
	}
	text := comment.text()
	switch {
	case own == nil:
		own, _, err = c.Issues.CreateComment(ctx, c.owner, c.repo, comment.Number, &github.IssueComment{Body: &text})
		return own, "added", c.explain(ctx, pullRequests, err)
	case own.GetBody() == text:
		return own, "nothing", nil
	}
	own, _, err = c.Issues.EditComment(ctx, c.owner, c.repo, own.GetID(), &github.IssueComment{Body: &text})
	return own, "changed", c.explain(ctx, pullRequests, err)
}

// own finds the comment of the topic that this credential made before. Anybody may write the marker, so the author
// counts as well.
func (c *client) own(ctx context.Context, comment Comment) (*github.IssueComment, error) {
	var me func(*github.User) bool
	options := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{PerPage: 100}}
	for {
		page, answer, err := c.Issues.ListComments(ctx, c.owner, c.repo, comment.Number, options)
		if err != nil {
			return nil, c.explain(ctx, "", err)
		}
		for _, said := range page {
			if !strings.HasPrefix(said.GetBody(), comment.marker()) {
				continue
			}
			if me == nil {
				if me, err = c.author(ctx); err != nil {
					return nil, err
				}
			}
			if me(said.User) {
				return said, nil
			}
		}
		if answer.NextPage == 0 {
			return nil, nil
		}
		options.Page = answer.NextPage
	}
}

// author tells this credential's own comments. GitHub does not tell a workflow's token or an App who it is; theirs are
// those of bots, as which nobody else can write.
func (c *client) author(ctx context.Context) (func(*github.User) bool, error) {
	user, _, err := c.Users.Get(ctx, "")
	var answer *github.ErrorResponse
	if errors.As(err, &answer) && answer.Response.StatusCode == http.StatusForbidden {
		return func(u *github.User) bool { return u.GetType() == "Bot" }, nil
	}
	if err != nil {
		return nil, c.explain(ctx, "", err)
	}
	return func(u *github.User) bool { return u.GetLogin() == user.GetLogin() }, nil
}
