// Package githubtest is a GitHub for tests: the endpoints that a release uses, over real bare Git repositories, which
// git itself can read and judge. It answers as a GitHub Enterprise server does: the API below /api/v3/ and at
// /api/graphql, and the repositories at /OWNER/NAME.git.
package githubtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v4"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/gitserver"
)

// Config is what there is on the server at first.
type Config struct {
	// Root holds the repositories, as Root/OWNER/NAME.git.
	Root string
	// Repositories lists repositories to make where they are missing, OWNER/NAME.
	Repositories []string
	Tokens       []Token
	Apps         []App
	// Protected are the branches that take pull requests only, and what the server says to a push.
	Protected map[string]string
	// AutoMerge lets pull requests be merged by themselves.
	AutoMerge bool
}

// Token is a credential and what it may do.
type Token struct {
	Value string
	// Login is whom it belongs to.
	Login string
	// Permissions are those of a fine-grained token or an App: contents, pull_requests, actions, each read or write.
	Permissions map[string]string
	// Scopes, where not nil, make it a classic token.
	Scopes []string
	// Bot says that it is that of an App or a workflow, whose commits the server signs.
	Bot bool
	// Expired says that the server does not take it any more.
	Expired bool
}

// App is a GitHub App with one installation.
type App struct {
	ID, Installation int64
	Key              *rsa.PublicKey
	Permissions      map[string]string
	// Suspended says that the organisation has suspended the installation.
	Suspended bool
}

// Pull is a pull request.
type Pull struct {
	Number      int
	State       string
	Title, Body string
	Head, Base  string
	Labels      []string
	// AutoMerge is how it is to be merged by itself, and MergeBody the message then.
	AutoMerge, MergeBody string
	Login, MergedSHA     string
	Comments             []Comment
}

// Comment is what somebody has said of a pull request.
type Comment struct {
	ID          int64
	Login, Body string
}

// Request is a request that the server got, git's own included.
type Request struct{ Method, Path string }

// Server is an http.Handler.
type Server struct {
	config  Config
	mux     *http.ServeMux
	git     map[string]http.Handler
	mu      sync.Mutex // holds what follows, and one update of a repository at a time
	tokens  []Token
	pulls   map[string][]*Pull
	said    int64 // the number of comments
	runs    map[string][]Run
	seen    []Request
	instead func(http.ResponseWriter, *http.Request) bool
}

// New makes the missing repositories. They are empty; give them a first commit with git, at Dir.
func New(ctx context.Context, c Config) (*Server, error) {
	s := &Server{config: c, mux: http.NewServeMux(), git: map[string]http.Handler{}, tokens: slices.Clone(c.Tokens), pulls: map[string][]*Pull{}, runs: map[string][]Run{}}
	owners := map[string][]string{}
	for _, name := range c.Repositories {
		owner, repo, ok := strings.Cut(name, "/")
		if !ok {
			return nil, fmt.Errorf("%q is no OWNER/NAME", name)
		}
		owners[owner] = append(owners[owner], repo+".git")
	}
	for owner, repos := range owners {
		root := filepath.Join(c.Root, owner)
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, err
		}
		h, err := gitserver.New(ctx, gitserver.Config{Root: root, Create: repos})
		if err != nil {
			return nil, err
		}
		s.git[owner] = http.StripPrefix("/"+owner, h)
	}
	const repo = "/api/v3/repos/{owner}/{repo}"
	s.mux.HandleFunc("POST /api/v3/app/installations/{id}/access_tokens", s.installation)
	s.mux.HandleFunc("POST /api/graphql", s.graphQL)
	s.mux.HandleFunc("GET /api/v3/user", s.user)
	for pattern, e := range map[string]endpoint{
		"GET " + repo: {"metadata=read", s.repository, true},
		"GET " + repo + "/git/ref/heads/{ref...}":                   {"contents=read", s.reference, true},
		"GET " + repo + "/branches/{branch...}":                     {"contents=read", s.branch, true},
		"GET " + repo + "/git/commits/{sha}":                        {"contents=read", s.getCommit, true},
		"POST " + repo + "/git/blobs":                               {"contents=write", s.blob, true},
		"POST " + repo + "/git/trees":                               {"contents=write", s.tree, true},
		"POST " + repo + "/git/commits":                             {"contents=write", s.commit, true},
		"POST " + repo + "/git/refs":                                {"contents=write", s.createRef, false},
		"PATCH " + repo + "/git/refs/heads/{ref...}":                {"contents=write", s.updateRef, false},
		"GET " + repo + "/pulls":                                    {"pull_requests=read", s.listPulls, false},
		"POST " + repo + "/pulls":                                   {"pull_requests=write", s.createPull, false},
		"PATCH " + repo + "/pulls/{number}":                         {"pull_requests=write", s.updatePull, false},
		"PUT " + repo + "/pulls/{number}/merge":                     {"contents=write", s.mergePull, false},
		"POST " + repo + "/issues/{number}/labels":                  {"pull_requests=write", s.addLabels, false},
		"GET " + repo + "/issues/{number}/comments":                 {"pull_requests=read", s.listComments, false},
		"POST " + repo + "/issues/{number}/comments":                {"pull_requests=write", s.addComment, false},
		"PATCH " + repo + "/issues/comments/{id}":                   {"pull_requests=write", s.editComment, false},
		"GET " + repo + "/actions/runs":                             {"actions=read", s.listRuns, false},
		"POST " + repo + "/actions/workflows/{workflow}/dispatches": {"actions=write", s.dispatch, false},
	} {
		s.mux.Handle(pattern, s.api(e))
	}
	s.mux.HandleFunc("/{owner}/{repo}/", s.serveGit)
	return s, nil
}

// Dir is where a repository is, OWNER/NAME.
func (s *Server) Dir(name string) string { return filepath.Join(s.config.Root, name+".git") }

// Requests are all requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Pulls are the pull requests of a repository, OWNER/NAME.
func (s *Server) Pulls(name string) []Pull {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Pull
	for _, p := range s.pulls[name] {
		pull := *p
		pull.Comments = slices.Clone(p.Comments)
		all = append(all, pull)
	}
	return all
}

// Comment has somebody comment on a pull request of a repository, OWNER/NAME.
func (s *Server) Comment(name string, number int, login, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.comment(s.pulls[name][number-1], login, body)
}

// Intercept has a function see every request first; where it returns true it has answered.
func (s *Server) Intercept(instead func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// PrimaryLimit answers that the rate limit is used up until a time.
func PrimaryLimit(w http.ResponseWriter, until time.Time) {
	w.Header().Set("X-RateLimit-Limit", "5000")
	w.Header().Set("X-RateLimit-Remaining", "0")
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(until.Unix(), 10))
	fail(w, http.StatusForbidden, "API rate limit exceeded for installation ID 1.")
}

// SecondaryLimit answers that requests come too fast, and when to come back.
func SecondaryLimit(w http.ResponseWriter, after time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())))
	fail(w, http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
}

// Fail answers with an error as GitHub writes one.
func Fail(w http.ResponseWriter, code int, message string) { fail(w, code, message) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, Request{r.Method, r.URL.Path})
	instead := s.instead
	s.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	s.mux.ServeHTTP(w, r)
}

// call is a request to the API of one repository.
type call struct {
	*http.Request
	name  string // OWNER/NAME
	repo  *git.Repo
	token Token
	// header is the answer's.
	header http.Header
}

type endpoint struct {
	wants string
	serve func(*call) (int, any, error)
	// free says that it needs no lock: objects are only ever added.
	free bool
}

// refusal is an error with the status that GitHub answers.
type refusal struct {
	code    int
	message string
}

func (e refusal) Error() string { return e.message }

func refuse(code int, format string, args ...any) error {
	return refusal{code, fmt.Sprintf(format, args...)}
}

// api checks a request's token and permission, and writes what its endpoint answers.
func (s *Server) api(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := s.token(bearer(r))
		if !ok {
			fail(w, http.StatusUnauthorized, "Bad credentials")
			return
		}
		if token.Scopes != nil {
			w.Header().Set("X-OAuth-Scopes", strings.Join(token.Scopes, ", "))
			w.Header().Set("X-Accepted-OAuth-Scopes", "repo")
		}
		c := &call{Request: r, name: r.PathValue("owner") + "/" + r.PathValue("repo"), token: token, header: w.Header()}
		if _, err := os.Stat(s.Dir(c.name)); err != nil {
			fail(w, http.StatusNotFound, "Not Found")
			return
		}
		c.repo = git.Open(s.Dir(c.name))
		w.Header().Set("X-Accepted-GitHub-Permissions", e.wants)
		if !token.may(e.wants) {
			if token.Scopes != nil {
				w.Header().Del("X-Accepted-GitHub-Permissions")
				fail(w, http.StatusNotFound, "Not Found")
				return
			}
			fail(w, http.StatusForbidden, "Resource not accessible by "+map[bool]string{true: "integration", false: "personal access token"}[token.Bot])
			return
		}
		if !e.free {
			s.mu.Lock()
		}
		code, body, err := e.serve(c)
		if !e.free {
			s.mu.Unlock()
		}
		var no refusal
		switch {
		case errors.As(err, &no):
			fail(w, no.code, no.message)
		case err != nil:
			fail(w, http.StatusInternalServerError, err.Error())
		default:
			answer(w, code, body)
		}
	})
}

// may says whether a token has a permission, contents=write.
func (t Token) may(wanted string) bool {
	name, level, _ := strings.Cut(wanted, "=")
	if t.Scopes != nil {
		return level == "read" || slices.Contains(t.Scopes, "repo")
	}
	has := t.Permissions[name]
	return name == "metadata" || has == level || has == "write"
}

func (s *Server) token(value string) (Token, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.tokens, func(t Token) bool { return value != "" && t.Value == value && !t.Expired })
	if i < 0 {
		return Token{}, false
	}
	return s.tokens[i], true
}

func bearer(r *http.Request) string {
	_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return value
}

// serveGit serves a repository to git, with the token as the password.
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request) {
	h, ok := s.git[r.PathValue("owner")]
	_, password, _ := r.BasicAuth()
	token, known := s.token(password)
	pushes := strings.HasSuffix(r.URL.Path, "/git-receive-pack") || r.URL.Query().Get("service") == "git-receive-pack"
	switch {
	case !known:
		w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		http.Error(w, "Invalid username or token.", http.StatusUnauthorized)
	case !ok, !token.may("contents=read"):
		http.Error(w, "Repository not found.", http.StatusNotFound)
	case pushes && !token.may("contents=write"):
		http.Error(w, "Permission to "+r.PathValue("repo")+" denied to "+token.Login+".", http.StatusForbidden)
	default:
		h.ServeHTTP(w, r)
	}
}

// installation gives an App a token for its installation.
func (s *Server) installation(w http.ResponseWriter, r *http.Request) {
	var app App
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(bearer(r), claims, func(*jwt.Token) (any, error) {
		for _, a := range s.config.Apps {
			if strconv.FormatInt(a.ID, 10) == claims.Issuer {
				app = a
				return a.Key, nil
			}
		}
		return nil, errors.New("no such App")
	}, jwt.WithValidMethods([]string{"RS256"}))
	switch {
	case err != nil:
		fail(w, http.StatusUnauthorized, "A JSON web token could not be decoded")
	case strconv.FormatInt(app.Installation, 10) != r.PathValue("id"):
		fail(w, http.StatusNotFound, "Not Found")
	case app.Suspended:
		fail(w, http.StatusForbidden, "This installation has been suspended")
	default:
		t := Token{Value: "ghs_" + rand.Text(), Login: "app-" + claims.Issuer + "[bot]", Permissions: app.Permissions, Bot: true}
		s.mu.Lock()
		s.tokens = append(s.tokens, t)
		s.mu.Unlock()
		answer(w, http.StatusCreated, map[string]any{"token": t.Value, "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "permissions": t.Permissions})
	}
}

func (c *call) decode(v any) error {
	if err := json.NewDecoder(c.Body).Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	return nil
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]any{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(code)})
}

func (c *call) login() string { return cmp.Or(c.token.Login, "somebody") }
