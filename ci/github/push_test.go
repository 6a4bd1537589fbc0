package github_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

func TestPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	head := w.git("rev-parse", "HEAD")
	candidate, err := commit.Create(t.Context(), w.dir, "HEAD", release(1))
	if err != nil {
		t.Fatal(err)
	}
	w.target.Candidate = candidate.SHA
	p := w.pushed(1)
	if p.Nothing || p.Parent != head || p.Attempts != 1 || p.Mode != github.ModePush || !p.Verified || p.Fallback != "" || p.PullRequest != nil || len(p.Edits) != 4 {
		t.Errorf("%+v", p)
	}
	if p.Candidate != candidate.SHA || p.SHA == candidate.SHA {
		t.Errorf("the commit is %s, made here as %s; want another than the candidate %s", p.SHA, p.Candidate, candidate.SHA)
	}
	if got := w.there("rev-parse", "main", "main^", "main^{tree}"); got != p.SHA+"\n"+head+"\n"+candidate.Tree {
		t.Errorf("commit, parent and tree are\n%s", got)
	}
	if got, want := w.there("show", "-s", "--format=%B", "main"), w.git("show", "-s", "--format=%B", candidate.SHA); got != want {
		t.Errorf("the message is\n%s\nwant\n%s", got, want)
	}
	if got := w.there("show", "-s", "--format=%an, %cn", "main"); got != "github-actions[bot], GitHub" {
		t.Errorf("made by %s; GitHub signs only what it names the author of", got)
	}
	all, writes := w.writes()
	if want := []string{"POST git/trees", "POST git/commits", "PATCH git/refs/heads/main"}; all > 6 || p.Requests != int64(len(want)) || !slices.Equal(writes, want) {
		t.Errorf("%d requests, %d to the API: %v", all, p.Requests, w.server.Requests())
	}
	w.sound()

	// The image is named: nothing is written.
	w.target.Candidate = ""
	again := w.pushed(1)
	if !again.Nothing || again.SHA != p.SHA || again.Requests != 0 || again.Candidate != "" {
		t.Errorf("again: %+v", again)
	}
}

// TestPushKeepsBytes: what JSON or a text field could change on the way arrives as it is, mode and neighbours too.
func TestPushKeepsBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	odd := strings.ReplaceAll(values, "\n", "\r\n") + "a: \"<&>\" # \U0001f680 \\u0041\t"
	w.save("odd", map[string]string{"charts/backstage/values.yaml": odd, "charts/backstage/values.yaml.bak": "x", "größe": "1"})
	w.git("update-index", "--chmod=+x", "charts/backstage/values.yaml")
	w.git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "mode")
	w.git("push", "-q", w.bare.Dir(), "HEAD:main")
	p := w.pushed(1)
	got, err := w.bare.Do(t.Context(), git.Command{Args: []string{"cat-file", "blob", "main:charts/backstage/values.yaml"}})
	if want := strings.NewReplacer(`"latest"`, `"t1"`, `""`, `"`+digest(1)+`"`).Replace(odd); err != nil || string(got) != want {
		t.Errorf("values, %v:\n%q\nwant\n%q", err, got, want)
	}
	if got := w.there("diff", "--raw", "--abbrev=1", "--no-renames", "main^", "main"); strings.Count(got, "\n") != 1 || !strings.Contains(got, ":100755 100755") {
		t.Errorf("it changes\n%s", got)
	}
	if got := w.there("rev-parse", "main^{tree}"); got != p.Tree {
		t.Errorf("the tree is %s; want %s", got, p.Tree)
	}
}

// TestPushOntoAnother: a branch that has moved costs a fetch, and no more requests than are allowed.
func TestPushOntoAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source := w.git("rev-parse", "HEAD")
	theirs := w.save("theirs", map[string]string{"file": "2", "charts/backstage/values.yaml": values + "extra: 1\n"})
	w.git("push", "-q", w.bare.Dir(), "HEAD:main")
	w.git("reset", "-q", "--hard", source)
	w.git("reflog", "expire", "--expire=all", "--all")
	w.git("gc", "-q", "--prune=now")
	p := w.pushed(1)
	if p.Parent != theirs || p.Source != source {
		t.Errorf("%+v; want the parent %s", p, theirs)
	}
	if got := w.there("show", "main:charts/backstage/values.yaml"); !strings.Contains(got, "extra: 1") || !strings.Contains(got, `tag: "t1"`) {
		t.Errorf("values:\n%s", got)
	}
	if all, _ := w.writes(); all > 6 {
		t.Errorf("%d requests: %v", all, w.server.Requests())
	}
	// What was verified was verified on top of another commit.
	candidate, err := commit.Create(t.Context(), w.dir, source, release(2))
	if err != nil {
		t.Fatal(err)
	}
	w.target.Candidate = candidate.SHA
	if _, err := w.push(2); !errors.Is(err, commit.ErrNotVerified) {
		t.Errorf("got %v; want %v", err, commit.ErrNotVerified)
	}
}

// TestRace: releases from all sides meet at one branch, as patient as gitops is unless told otherwise; all of them are in
// its history at the end, each once.
func TestRace(t *testing.T) {
	t.Parallel()
	const releases = 50
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), commit.DefaultTimeout)
	defer cancel()
	pushed := make([]github.Pushed, releases)
	var wg sync.WaitGroup
	for n := range releases {
		wg.Go(func() {
			var err error
			if pushed[n], err = github.Push(ctx, w.dir, release(n), w.target); err != nil {
				t.Errorf("release %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	history := strings.Fields(w.there("rev-list", "--first-parent", "main"))
	if len(history) != 1+releases {
		t.Errorf("%d commits; want %d", len(history), 1+releases)
	}
	most := 0
	for n, p := range pushed {
		if !slices.Contains(history, p.SHA) {
			t.Errorf("release %d (%s) is lost", n, p.SHA)
		}
		most = max(most, p.Attempts)
	}
	if most < 2 {
		t.Errorf("nobody raced: every push took at most %d attempt", most)
	}
	t.Logf("the slowest took %d attempts", most)
	if got := w.there("show", "main:charts/backstage/Chart.yaml"); !strings.Contains(got, "version: 0.1.50") {
		t.Errorf("the chart is\n%s", got)
	}
	w.sound()
}

// TestLostAnswer: a branch that GitHub moved without being able to say so is found moved, and not moved again.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var once sync.Once
	w.server.Intercept(func(out http.ResponseWriter, r *http.Request) (answered bool) {
		if r.Method == http.MethodPatch {
			once.Do(func() {
				var in struct{ SHA string }
				decode(t, r, &in)
				w.there("update-ref", "refs/heads/main", in.SHA)
				githubtest.Fail(out, http.StatusBadGateway, "Server Error")
				answered = true
			})
		}
		return answered
	})
	p := w.pushed(1)
	if got := w.there("rev-list", "main"); !strings.HasPrefix(got, p.SHA+"\n") || strings.Count(got, "\n") != 1 || p.Attempts != 2 {
		t.Errorf("%+v; the history is\n%s", p, got)
	}
}

// TestLimits: GitHub's limits are waited for as long as the context has the time.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(http.ResponseWriter){
		"primary":   func(w http.ResponseWriter) { githubtest.PrimaryLimit(w, time.Now().Add(time.Second)) },
		"secondary": func(w http.ResponseWriter) { githubtest.SecondaryLimit(w, time.Second) },
		"too many": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			githubtest.Fail(w, http.StatusTooManyRequests, "Too many requests")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var once sync.Once
			w.server.Intercept(func(out http.ResponseWriter, r *http.Request) (answered bool) {
				if strings.HasSuffix(r.URL.Path, "/git/commits") {
					once.Do(func() { limit(out); answered = true })
				}
				return answered
			})
			if p := w.pushed(1); p.Requests != 4 || p.Attempts != 1 {
				t.Errorf("%+v", p)
			}
		})
	}
	for name, limit := range map[string]func(http.ResponseWriter){
		"primary, too long":   func(w http.ResponseWriter) { githubtest.PrimaryLimit(w, time.Now().Add(time.Hour)) },
		"secondary, too long": func(w http.ResponseWriter) { githubtest.SecondaryLimit(w, time.Hour) },
		"without a time": func(w http.ResponseWriter) {
			githubtest.Fail(w, http.StatusForbidden, "You have exceeded a secondary rate limit.")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch {
					limit(out)
					return true
				}
				return false
			})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			before := w.there("rev-parse", "main")
			_, err := github.Push(ctx, w.dir, release(1), w.target)
			if !errors.Is(err, github.ErrLimited) || !strings.Contains(err.Error(), "UTC") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			if got := w.there("rev-parse", "main"); got != before {
				t.Errorf("the branch moved to %s", got)
			}
		})
	}
}

// TestLastOfTheLimit: the last request that a limit allows is no reason to stop; GitHub says when the next may come.
func TestLastOfTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
		out.Header().Set("X-RateLimit-Limit", "5000")
		out.Header().Set("X-RateLimit-Remaining", "0")
		out.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		return false
	})
	w.pushed(1)
}

func key(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
}

func TestApp(t *testing.T) {
	t.Parallel()
	private, text := key(t)
	_, other := key(t)
	app := githubtest.App{ID: 7, Installation: 9, Key: &private.PublicKey, Permissions: writer.Permissions}
	for name, c := range map[string]struct {
		app       github.App
		suspended bool
		want      error
		text      string
	}{
		"signs in":               {app: github.App{ID: 7, Installation: 9, Key: text}},
		"another key":            {app: github.App{ID: 7, Installation: 9, Key: other}, want: github.ErrToken, text: "the App 7 has another private key"},
		"no such installation":   {app: github.App{ID: 7, Installation: 8, Key: text}, want: github.ErrToken, text: "no installation 8; install it for acme"},
		"no key at all":          {app: github.App{ID: 7, Installation: 9, Key: "k3y"}, want: github.ErrToken, text: "PEM file"},
		"no installation":        {app: github.App{ID: 7, Key: text}, text: "give all three"},
		"a key alone":            {app: github.App{Key: text}, text: "give all three"},
		"organisation forbids":   {app: github.App{ID: 7, Installation: 9, Key: text}, suspended: true, want: github.ErrForbidden, text: "suspended"},
		"another App, their key": {app: github.App{ID: 8, Installation: 9, Key: text}, want: github.ErrToken, text: "no such App"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := app
			app.Suspended = c.suspended
			w := newWorld(t, func(g *githubtest.Config) { g.Tokens, g.Apps = nil, []githubtest.App{app} })
			w.target.Token, w.target.App = "", c.app
			p, err := w.push(1)
			if c.text == "" {
				if err != nil || !p.Verified || w.there("show", "-s", "--format=%an", "main") != "app-7[bot]" {
					t.Errorf("%+v, %v", p, err)
				}
				return
			}
			refused(t, err, c.want, c.text)
			if c.app.Key != "" && strings.Contains(err.Error(), c.app.Key) {
				t.Errorf("the key is in %v", err)
			}
		})
	}
}

// refused wants one sentence of an error.
func refused(t *testing.T, err, want error, text string) {
	t.Helper()
	if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v; want %v with %q", err, want, text)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	said := func(code int, message string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet || !strings.HasPrefix(r.URL.Path, "/api/") {
				return false
			}
			githubtest.Fail(w, code, message)
			return true
		}
	}
	for name, c := range map[string]struct {
		token     githubtest.Token
		target    func(*github.Target)
		intercept func(http.ResponseWriter, *http.Request) bool
		want      error
		text      string
	}{
		"an expired token": {token: githubtest.Token{Expired: true, Permissions: writer.Permissions}, want: github.ErrToken, text: "it has expired, was revoked or is none; make a new one and pass it as GITOPS_TOKEN"},
		"no token":         {target: func(t *github.Target) { t.Token = "" }, want: github.ErrToken, text: "pass one as GITOPS_TOKEN"},
		"a token of two lines": {
			target: func(t *github.Target) { t.Token = "a\nb" }, want: git.ErrToken,
		},
		"a fine-grained token that may read":   {token: githubtest.Token{Permissions: map[string]string{"contents": "read"}}, want: github.ErrPermission, text: `grant it "contents: write"`},
		"a workflow's token that may read":     {token: githubtest.Token{Permissions: map[string]string{"contents": "read"}, Bot: true}, want: github.ErrPermission, text: "Resource not accessible by integration"},
		"a classic token without its scope":    {token: githubtest.Token{Scopes: []string{"read:org"}}, want: github.ErrPermission, text: `has the scopes "read:org" and wants "repo"`},
		"a repository that is not there":       {target: func(t *github.Target) { t.Remote = strings.Replace(t.Remote, "portal", "nope", 1) }, want: git.ErrNotFound, text: "acme/nope: there is no repository there, or the token may not see it; check the name"},
		"a token that may not see it":          {token: githubtest.Token{Permissions: map[string]string{"issues": "write"}}, want: git.ErrNotFound},
		"an address without an owner":          {target: func(t *github.Target) { t.Remote = "https://github.com/portal" }, want: git.ErrRemote, text: "https://HOST/OWNER/REPOSITORY.git"},
		"an address of ssh":                    {target: func(t *github.Target) { t.Remote = "ssh://git@github.com/acme/portal.git" }, want: git.ErrRemote, text: "https://HOST/OWNER/REPOSITORY.git"},
		"an address with a credential":         {target: func(t *github.Target) { t.Remote = "https://me:pw@github.com/acme/portal.git" }, want: git.ErrRemote, text: "carries a credential"},
		"an API that is no address":            {target: func(t *github.Target) { t.API = "api" }, text: "is no URL"},
		"no such branch":                       {target: func(t *github.Target) { t.Branch = "nope" }, want: git.ErrNoBranch},
		"a mode that is none":                  {target: func(t *github.Target) { t.Mode = "force" }, text: `the mode "force" is none of`},
		"a merge that is none":                 {target: func(t *github.Target) { t.Pull.Merge = "force" }, text: `"force" is none of`},
		"an organisation that restricts apps":  {intercept: said(403, "Although you appear to have the correct authorization credentials, the `acme` organization has enabled OAuth App access restrictions"), want: github.ErrForbidden, text: "an owner approves it"},
		"an organisation that forbids a token": {intercept: said(403, "`acme` forbids access via a personal access token (classic)."), want: github.ErrForbidden},
		"a repository that is archived":        {intercept: said(403, "Repository was archived so is read-only."), want: git.ErrRefused, text: "unarchive the repository"},
		"a server that fails":                  {intercept: said(503, "Service unavailable"), want: git.ErrUnreachable, text: "503"},
		"an answer that nobody knows":          {intercept: said(418, "I'm a teapot"), text: "acme/portal: GitHub refuses (418): I'm a teapot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(g *githubtest.Config) {
				if c.token.Permissions != nil || c.token.Scopes != nil {
					c.token.Value = bot
					g.Tokens = []githubtest.Token{c.token}
				}
			})
			if c.target != nil {
				c.target(&w.target)
			}
			w.server.Intercept(c.intercept)
			before := w.there("for-each-ref")
			_, err := w.push(1)
			refused(t, err, c.want, c.text)
			if after := w.there("for-each-ref"); after != before {
				t.Errorf("the repository changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestAnotherTree: what GitHub made of the edits is compared with what was made, and proven, here.
func TestAnotherTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.there("rev-parse", "main^{tree}")
	w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/git/trees") {
			out.WriteHeader(http.StatusCreated)
			_, _ = out.Write([]byte(`{"sha":"` + first + `"}`))
			return true
		}
		return false
	})
	_, err := w.push(1)
	refused(t, err, github.ErrTree, "nothing was pushed")
}

// TestAppStaysHidden: neither an App's key nor the token that it is given are in a log, an error, a result or what GitHub
// stores. It is not parallel, as it reads the log.
func TestAppStaysHidden(t *testing.T) {
	var log bytes.Buffer
	former := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(former) })
	private, text := key(t)
	w := edited(t, "2", func(g *githubtest.Config) {
		g.Tokens, g.Apps = nil, []githubtest.App{{ID: 7, Installation: 9, Key: &private.PublicKey, Permissions: writer.Permissions}}
	})
	w.target.Token, w.target.Mode = "", github.ModePullRequest
	w.target.App = github.App{ID: 7, Installation: 9, Key: text}
	p, err := w.change()
	if err != nil {
		t.Fatal(err)
	}
	token, err := github.Token(t.Context(), w.target)
	if err != nil || !strings.HasPrefix(token, "ghs_") {
		t.Fatalf("%q, %v", token, err)
	}
	w.target.App.Installation = 8
	_, err = w.change()
	refused(t, err, github.ErrToken, "no installation 8")
	said := []string{jsonOf(t, p), err.Error(), log.String(), w.there("log", "-p", "--all"), jsonOf(t, w.server.Pulls(name))}
	secrets := strings.Fields(text)[4:6] // lines of the key itself
	for _, s := range said {
		for _, secret := range append(secrets, token, "ghs_") {
			if strings.Contains(s, secret) {
				t.Errorf("a secret is in %s", strings.ReplaceAll(s, secret, "CANARY"))
			}
		}
	}
	if !strings.Contains(log.String(), "path=/api/v3/app/installations/9/access_tokens status=201") {
		t.Errorf("the log has no sign-in, so it proves nothing:\n%s", log.String())
	}
}

// TestTokenStaysHidden: a canary for a token is in no log, no error, no result and nothing that GitHub stores. It is
// not parallel, as it reads the log.
func TestTokenStaysHidden(t *testing.T) {
	const canary = "ghs_c4n4ry/+token"
	var log bytes.Buffer
	former := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(former) })
	w := newWorld(t, func(g *githubtest.Config) {
		g.Tokens[0].Value = canary
		g.Protected = map[string]string{"release": "Changes must be made through a pull request."}
	})
	w.git("push", "-q", w.bare.Dir(), "HEAD:refs/heads/release")
	w.target.Token = canary + "\n"
	var said []string
	for _, branch := range []string{"main", "release"} {
		w.target.Branch = branch
		said = append(said, jsonOf(t, w.pushed(1)))
	}
	w.target.Token = "wr0ng-c4n4ry"
	_, err := w.push(2)
	refused(t, err, github.ErrToken, "")
	w.target.Token = canary
	w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/git/trees") {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		return false
	})
	_, lost := w.push(3)
	refused(t, lost, git.ErrUnreachable, "")
	said = append(said, err.Error(), lost.Error(), log.String())
	for _, s := range said {
		if strings.Contains(s, "c4n4ry") {
			t.Errorf("the canary is in %s", s)
		}
	}
	if !strings.Contains(log.String(), "msg=github method=POST path=/api/v3/repos/acme/portal/git/trees status=201") {
		t.Errorf("the log has no request, so it proves nothing:\n%s", log.String())
	}
}
