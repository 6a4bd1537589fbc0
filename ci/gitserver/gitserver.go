// Package gitserver serves Git repositories over smart HTTP through the real git http-backend, with pushes allowed.
package gitserver

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// HealthPath answers 200 while the server runs, without a token.
const HealthPath = "/healthz"

// Config is what a server needs to know.
type Config struct {
	// Root holds the repositories: Root/NAME.git is served as /NAME.git.
	Root string
	// Create lists bare repositories to make where they are missing.
	Create []string
	// Branch is the first branch of a repository that is made; empty means main.
	Branch string
	// Token, where set, is the password that every request must bring, with any user name.
	Token string
}

var repositoryName = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]*\.git\z`)

// New makes the missing repositories and returns the handler that serves them all.
func New(ctx context.Context, c Config) (http.Handler, error) {
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return nil, err
	}
	for _, name := range c.Create {
		if !repositoryName.MatchString(name) {
			return nil, fmt.Errorf("%q is not a repository's name; write NAME.git", name)
		}
	}
	claimed, err := claim(root, func() error {
		for _, name := range c.Create {
			if err := unlock(filepath.Join(root, name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range c.Create {
		if err := create(ctx, filepath.Join(root, name), cmp.Or(c.Branch, "main")); err != nil {
			return nil, fmt.Errorf("create %s: %w", name, err)
		}
	}
	program, err := backendProgram(ctx, root)
	if err != nil {
		return nil, err
	}
	backend := &cgi.Handler{
		Path:   program,
		Dir:    root,
		Env:    environ(root),
		Logger: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
		Stderr: logWriter{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc(HealthPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.Handle("/", authorized(c.Token, spooled(backend)))
	return &server{Handler: mux, claimed: claimed}, nil
}

// server holds on to its claim for as long as it is in use.
type server struct {
	http.Handler
	claimed *os.File
}

// backendProgram finds git http-backend, which some distributions package apart from git.
func backendProgram(ctx context.Context, root string) (string, error) {
	dir, err := git.Open(root).Run(ctx, "--exec-path")
	if err != nil {
		return "", err
	}
	program, err := exec.LookPath(filepath.Join(dir, "git-http-backend"))
	if err != nil {
		return "", fmt.Errorf("git http-backend is missing; install the package that holds it, git or git-daemon: %w", err)
	}
	return program, nil
}

// create is safe to interrupt: git init completes a repository that is there in part.
func create(ctx context.Context, dir, branch string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err := git.Open(dir).Run(ctx, "init", "--quiet", "--bare", "--template=", "--initial-branch="+branch, dir)
	return err
}

// environ is all that git http-backend sees of this process, settings included.
func environ(root string) []string {
	env := []string{
		"GIT_PROJECT_ROOT=" + root,
		"GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"LC_ALL=C",
		"HOME=" + root,
		"PATH=" + os.Getenv("PATH"),
	}
	settings := [][2]string{
		{"http.receivepack", "true"},
		{"safe.directory", "*"},
		{"receive.autogc", "true"},
		{"gc.autoDetach", "false"},
		{"core.fsync", "committed,reference"},
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)))
	for i, s := range settings {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+s[0], "GIT_CONFIG_VALUE_"+n+"="+s[1])
	}
	return env
}

func authorized(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(password), []byte(token)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Git"`)
			http.Error(w, "a token is required", http.StatusUnauthorized)
			return
		}
		// The credential has done its work; the CGI program gets the request without it.
		r.Header.Del("Authorization")
		next.ServeHTTP(w, r)
	})
}

// spooled gives each request a length: CGI cannot take the chunked body that git sends for a large push.
func spooled(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 {
			next.ServeHTTP(w, r)
			return
		}
		file, err := os.CreateTemp("", "gitops-push-*.pack")
		if err != nil {
			http.Error(w, "no space for the request", http.StatusInsufficientStorage)
			slog.Error("spool a request", "error", err)
			return
		}
		defer func() {
			if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
				slog.Error("remove a spooled request", "error", err)
			}
		}()
		size, err := io.Copy(file, r.Body)
		if err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err != nil {
			http.Error(w, "the request could not be read to its end", http.StatusInsufficientStorage)
			slog.Error("spool a request", "error", err)
			return
		}
		whole := r.Clone(r.Context())
		whole.Body, whole.ContentLength, whole.TransferEncoding = file, size, nil
		next.ServeHTTP(w, whole)
	})
}

// Serve answers on a listener until ctx ends, and then lets the requests under way finish.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(logWriter{}, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("requests were still under way after 10 s: %w", err), server.Close())
	}
	return nil
}

// logWriter passes on what git http-backend writes to its standard error.
type logWriter struct{}

func (logWriter) Write(p []byte) (int, error) {
	slog.Warn("git http-backend", "message", string(bytes.TrimSpace(p)))
	return len(p), nil
}
