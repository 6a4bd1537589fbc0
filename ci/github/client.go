// Package github brings a release's commit to GitHub through its API, so that GitHub signs it: as a push to the
// branch, or as a pull request.
//
// The branch is read with git, and the commit made here first, as for any remote; GitHub then makes one with the same
// tree on the same parent.
package github

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v62/github"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// App signs in as an installation of a GitHub App.
type App struct {
	ID           int64
	Installation int64
	// Key is the App's private key in PEM.
	Key string
}

// client talks to one repository.
type client struct {
	*github.Client
	limits      *limits
	owner, repo string
	// token is what git reads the repository with.
	token string
}

// connect signs in. It asks GitHub nothing where there is a token.
func connect(ctx context.Context, t Target) (*client, error) {
	owner, repo, api, err := locate(t.Remote, t.API)
	if err != nil {
		return nil, err
	}
	c := &client{limits: &limits{next: http.DefaultTransport}, owner: owner, repo: repo, token: strings.TrimRight(t.Token, "\r\n")}
	var transport http.RoundTripper = c.limits
	switch {
	case t.App != (App{}):
		if t.App.ID == 0 || t.App.Installation == 0 || t.App.Key == "" {
			return nil, errors.New("a GitHub App wants its ID, the ID of its installation and its private key; give all three, or a token")
		}
		app, err := ghinstallation.New(c.limits, t.App.ID, t.App.Installation, []byte(t.App.Key))
		if err != nil {
			return nil, fmt.Errorf("%w: its private key is none; give the whole PEM file that GitHub made for the App", ErrToken)
		}
		app.BaseURL = strings.TrimSuffix(api.String(), "/")
		if c.token, err = app.Token(ctx); err != nil {
			return nil, c.explainApp(t.App, err)
		}
		transport = app
	case c.token == "":
		return nil, fmt.Errorf("%w: there is none; pass one as GITOPS_TOKEN, or sign in as a GitHub App", ErrToken)
	case strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, git.ErrToken
	}
	c.Client = github.NewClient(&http.Client{Transport: transport})
	if t.App == (App{}) {
		c.Client = c.WithAuthToken(c.token)
	}
	c.BaseURL = api
	return c, nil
}

// Token is what git signs in to a target with: for an App a token of its installation, which lasts an hour.
func Token(ctx context.Context, t Target) (string, error) {
	c, err := connect(ctx, t)
	if err != nil {
		return "", err
	}
	return c.token, nil
}

// locate finds a remote's owner and name, and the API of its host: that of github.com, or of a GitHub Enterprise
// server.
func locate(remote, api string) (owner, repo string, base *url.URL, err error) {
	if err := git.CheckRemote(remote); err != nil {
		return "", "", nil, err
	}
	u, err := url.Parse(remote)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return "", "", nil, fmt.Errorf("%w %q: GitHub's API wants https://HOST/OWNER/REPOSITORY.git", git.ErrRemote, git.Redact(remote))
	}
	dir, name := path.Split(strings.Trim(u.Path, "/"))
	owner, repo = strings.Trim(dir, "/"), strings.TrimSuffix(name, ".git")
	if owner == "" || repo == "" || strings.Contains(owner, "/") {
		return "", "", nil, fmt.Errorf("%w %q: GitHub's API wants https://HOST/OWNER/REPOSITORY.git", git.ErrRemote, git.Redact(remote))
	}
	switch {
	case api != "":
	case u.Host == "github.com":
		api = "https://api.github.com/"
	case strings.HasSuffix(u.Host, ".ghe.com"):
		api = "https://api." + u.Host + "/"
	default:
		api = u.Scheme + "://" + u.Host + "/api/v3/"
	}
	base, err = url.Parse(strings.TrimSuffix(api, "/") + "/")
	if err != nil || base.Host == "" || base.User != nil {
		return "", "", nil, fmt.Errorf("the API's address %q is no URL such as https://github.example.com/api/v3", git.Redact(api))
	}
	return owner, repo, base, nil
}

// graphQL sends a mutation that only the other API of GitHub knows.
func (c *client) graphQL(ctx context.Context, query string, variables map[string]any) error {
	address := "graphql"
	if strings.HasSuffix(c.BaseURL.Path, "/api/v3/") {
		address = "../graphql"
	}
	req, err := c.NewRequest(http.MethodPost, address, map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	var answer struct {
		Errors []struct{ Message string }
	}
	if _, err := c.Do(ctx, req, &answer); err != nil {
		return err
	}
	if len(answer.Errors) > 0 {
		return errors.New(answer.Errors[0].Message)
	}
	return nil
}

// name is owner and repository, for messages.
func (c *client) name() string { return c.owner + "/" + c.repo }

func debug(ctx context.Context, r *http.Request, status int) {
	slog.DebugContext(ctx, "github", "method", r.Method, "path", r.URL.Path, "status", status)
}
