package github_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

// commented is a world with a pull request, and how to comment on it.
func commented(t *testing.T, change ...func(*githubtest.Config)) (*world, func(github.Comment) (github.Commented, error)) {
	t.Helper()
	w := asking(t, change...)
	w.pushed(1)
	return w, func(c github.Comment) (github.Commented, error) {
		if c.Number == 0 {
			c.Number = 1
		}
		if c.Topic == "" {
			c.Topic = "diff"
		}
		return github.Say(t.Context(), w.target, c)
	}
}

// bodies are the comments of the pull request, with their authors.
func bodies(w *world) []string {
	var all []string
	for _, c := range w.server.Pulls(name)[0].Comments {
		all = append(all, c.Login+": "+c.Body)
	}
	return all
}

func TestComment(t *testing.T) {
	t.Parallel()
	people := func(c *githubtest.Config) { c.Tokens[0].Bot, c.Tokens[0].Login = false, "alice" }
	for who, change := range map[string][]func(*githubtest.Config){"github-actions[bot]": nil, "alice": {people}} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			w, say := commented(t, change...)
			// Others write the same marker, and there is more than fits a page.
			w.server.Comment(name, 1, "mallory", "<!-- backstage-gitops: diff -->\nmine")
			for i := range 120 {
				w.server.Comment(name, 1, "bob", fmt.Sprint(i))
			}
			for i, step := range []struct {
				body, change string
				requests     int64
			}{{"one", "added", 4}, {"one", "nothing", 3}, {"two", "changed", 4}} {
				got, err := say(github.Comment{Body: step.body})
				if err != nil {
					t.Fatal(err)
				}
				if got.Change != step.change || got.Requests != step.requests || !strings.Contains(got.URL, "/acme/portal/pull/1#issuecomment-") {
					t.Errorf("%d: %+v, want it %s with %d requests", i, got, step.change, step.requests)
				}
			}
			if _, err := say(github.Comment{Topic: "other", Body: "three"}); err != nil {
				t.Fatal(err)
			}
			all := bodies(w)
			own := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, who+": ") })
			if want := []string{who + ": <!-- backstage-gitops: diff -->\ntwo", who + ": <!-- backstage-gitops: other -->\nthree"}; !slices.Equal(own, want) {
				t.Errorf("it has said %q, want %q", own, want)
			}
			if len(all) != 123 || all[0] != "mallory: <!-- backstage-gitops: diff -->\nmine" {
				t.Errorf("what others have said has changed: %d comments, the first %q", len(all), all[0])
			}
		})
	}
}

func TestCommentRefused(t *testing.T) {
	t.Parallel()
	fork := githubtest.Token{Value: "fork", Login: "github-actions[bot]", Bot: true, Permissions: map[string]string{"contents": "read", "pull_requests": "read"}}
	cases := map[string]struct {
		comment github.Comment
		token   string
		server  func(http.ResponseWriter, *http.Request) bool
		want    error
		text    string
	}{
		"no number":            {comment: github.Comment{Number: -1, Body: "x"}, want: github.ErrComment, text: "-1 is no number of a pull request"},
		"no text":              {comment: github.Comment{Body: " \n"}, want: github.ErrComment, text: "it has no text"},
		"too much text":        {comment: github.Comment{Body: strings.Repeat("ü", 65536)}, want: github.ErrComment, text: "GitHub takes 65536"},
		"a topic with a break": {comment: github.Comment{Topic: "a -->\n", Body: "x"}, want: github.ErrComment, text: "no word"},
		"no such pull request": {comment: github.Comment{Number: 7, Body: "x"}, want: git.ErrNotFound},
		"a token of a fork":    {comment: github.Comment{Body: "x"}, token: fork.Value, want: github.ErrPermission, text: `grant it "pull requests: write"`},
		"an answer from a broken server": {comment: github.Comment{Body: "x"}, want: git.ErrUnreachable, server: func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/comments") {
				githubtest.Fail(w, http.StatusBadGateway, "Server Error")
				return true
			}
			return false
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, say := commented(t, func(g *githubtest.Config) { g.Tokens = append(g.Tokens, fork) })
			if c.token != "" {
				w.target.Token = c.token
			}
			if c.server != nil {
				w.server.Intercept(c.server)
			}
			_, err := say(c.comment)
			refused(t, err, c.want, c.text)
			// What the credential may not do is no failure where somebody says so, and everything else is.
			c.comment.IfPermitted = true
			got, err := say(c.comment)
			if c.want != github.ErrPermission {
				refused(t, err, c.want, c.text)
			} else if err != nil || !strings.Contains(got.Missing, c.text) || got.URL != "" || got.Change != "" {
				t.Errorf("if permitted: %+v, %v", got, err)
			}
			if got := bodies(w); len(got) != 0 {
				t.Errorf("it has said %q", got)
			}
		})
	}
}
