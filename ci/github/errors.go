package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v62/github"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

var (
	// ErrToken says that GitHub does not take the token, or that there is none.
	ErrToken = errors.New("GitHub does not take the credential")
	// ErrPermission says what the token may not do.
	ErrPermission = errors.New("the credential lacks a permission")
	// ErrForbidden says that the organisation of the repository keeps the token or the App out.
	ErrForbidden = errors.New("the organisation does not let this credential in")
	// ErrProtected says that the branch takes pull requests only.
	ErrProtected = errors.New("the branch is protected")
	// ErrTree says that GitHub made another tree than was made, and maybe proven, here.
	ErrTree = errors.New("GitHub made another tree")
)

// What a call wants, as GitHub and workflows name it.
const (
	contents     = "contents: write"
	pullRequests = "pull requests: write"
)

var (
	raced     = regexp.MustCompile(`(?i)not a fast[ -]forward|reference update failed|reference (already exists|does not exist)|pull request already exists|cannot lock ref|expected .* but is at`)
	protected = regexp.MustCompile(`(?i)protected branch|rule violations?|through a pull request|required status check|approving review|not authorized to push|merge queue|verified signatures`)
	forbidden = regexp.MustCompile(`(?i)access restrictions|forbids access|SAML|IP allow list|suspended|third-party application`)
	archived  = regexp.MustCompile(`(?i)was archived`)
	workflows = regexp.MustCompile(`(?i)GitHub Actions is not permitted to create`)
)

// explain says in one sentence why GitHub did not do what it was asked for, and what to do. Wanted is the permission
// of the call, empty where it reads.
func (c *client) explain(ctx context.Context, wanted string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var answer *github.ErrorResponse
	if !errors.As(err, &answer) {
		return c.unanswered(err)
	}
	code, said := answer.Response.StatusCode, message(answer)
	switch {
	case code >= http.StatusInternalServerError:
		return fmt.Errorf("%s: %w (GitHub: %d %s)", c.name(), git.ErrUnreachable, code, said)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("%w: it has expired, was revoked or is none; make a new one and pass it as GITOPS_TOKEN (GitHub: %s)", ErrToken, said)
	case protected.MatchString(said): // also with 409, which a race has otherwise
		return fmt.Errorf("%s: %w (GitHub: %s)", c.name(), ErrProtected, said)
	case code == http.StatusConflict, raced.MatchString(said):
		return fmt.Errorf("%s: %w (GitHub: %s)", c.name(), git.ErrRaced, said)
	case workflows.MatchString(said):
		return fmt.Errorf("%s: %w: allow it in the settings under Actions, General, Workflow permissions (GitHub: %s)", c.name(), ErrPermission, said)
	case code == http.StatusForbidden && (forbidden.MatchString(said) || answer.Response.Header.Get("X-GitHub-SSO") != ""):
		return fmt.Errorf("%s: %w; an owner approves it in the organisation's settings (GitHub: %s)", c.name(), ErrForbidden, said)
	case archived.MatchString(said):
		return fmt.Errorf("%s: %w: unarchive the repository, or release elsewhere (GitHub: %s)", c.name(), git.ErrRefused, said)
	case wanted != "" && (code == http.StatusForbidden || code == http.StatusNotFound):
		return fmt.Errorf("%s: %w: %s (GitHub: %d %s)", c.name(), ErrPermission, missing(answer.Response.Header, wanted), code, said)
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: %w; check the name, and that the token or the App has been given this repository (GitHub: %s)", c.name(), git.ErrNotFound, said)
	case code == http.StatusForbidden:
		return fmt.Errorf("%s: %w: %s (GitHub: %s)", c.name(), ErrPermission, missing(answer.Response.Header, "contents: read"), said)
	}
	return fmt.Errorf("%s: GitHub refuses (%d): %s", c.name(), code, said)
}

// missing names the permission that a call wants, as the answer has it or else as we know it.
func missing(h http.Header, wanted string) string {
	scopes, accepted := h.Get("X-OAuth-Scopes"), h.Get("X-Accepted-GitHub-Permissions")
	if _, classic := h["X-Oauth-Scopes"]; scopes != "" || classic && accepted == "" {
		return fmt.Sprintf("the token has the scopes %q and wants %q, which holds %q; make one with it", scopes, "repo", wanted)
	}
	// Alternatives stand behind a semicolon: "contents=write; contents=write,workflows=write".
	if first, _, _ := strings.Cut(accepted, ";"); first != "" {
		wanted = strings.NewReplacer("=", ": ", "_", " ", ",", ", ").Replace(strings.TrimSpace(first))
	}
	return fmt.Sprintf("grant it %q, in a workflow under permissions", wanted)
}

// unanswered is an error without an answer. The text of the request is left out of it.
func (c *client) unanswered(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w: %w", c.name(), git.ErrUnreachable, err)
	}
	return err
}

// explainApp says why GitHub gave an App no token.
func (c *client) explainApp(app App, err error) error {
	var e *ghinstallation.HTTPError
	if !errors.As(err, &e) {
		return c.unanswered(err)
	}
	if e.Response == nil {
		return c.unanswered(e.RootCause)
	}
	answer := github.ErrorResponse{Response: e.Response}
	// An answer that is no JSON leaves the status to go by.
	_ = json.NewDecoder(io.LimitReader(e.Response.Body, 1<<16)).Decode(&answer)
	_ = e.Response.Body.Close()
	said := message(&answer)
	switch code := e.Response.StatusCode; {
	case code == http.StatusUnauthorized:
		return fmt.Errorf("%w: the App %d has another private key, or there is no such App (GitHub: %s)", ErrToken, app.ID, said)
	case code == http.StatusNotFound:
		return fmt.Errorf("%w: the App %d has no installation %d; install it for %s and give the number in the address of its settings (GitHub: %s)", ErrToken, app.ID, app.Installation, c.owner, said)
	case code == http.StatusForbidden:
		return fmt.Errorf("%s: %w; an owner approves it in the organisation's settings (GitHub: %s)", c.owner, ErrForbidden, said)
	case code >= http.StatusInternalServerError:
		return fmt.Errorf("%s: %w (GitHub: %d %s)", c.owner, git.ErrUnreachable, code, said)
	default:
		return fmt.Errorf("%s: GitHub refuses (%d): %s", c.owner, code, said)
	}
}

// message is all that an answer says, in one line.
func message(answer *github.ErrorResponse) string {
	said := []string{answer.Message}
	for _, e := range answer.Errors {
		said = append(said, e.Message)
	}
	text := strings.Join(strings.Fields(strings.Join(said, " ")), " ")
	if text == "" {
		text = http.StatusText(answer.Response.StatusCode)
	}
	return text
}
