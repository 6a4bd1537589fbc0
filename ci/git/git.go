// Package git runs the real git with an environment of its own: no system or user configuration, no prompts, no
// hooks of the checkout, English messages, and a credential that is in neither arguments nor files.
package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Repo is a repository on disk.
type Repo struct {
	dir    string
	gitDir string
	config []setting
	hidden []string
}

type setting struct{ key, value string }

// Open names the repository of a directory: a checkout, or a bare repository. Nothing is read yet.
func Open(dir string) *Repo {
	return &Repo{dir: dir}
}

// Dir is the directory that was opened.
func (r *Repo) Dir() string { return r.dir }

// Credential signs in to an HTTP remote.
type Credential struct {
	// Username is what the remote wants beside a token; GitHub takes any.
	Username string
	// Token is a secret; it is passed on by environment only and taken out of everything git says.
	Token string
}

// ErrToken says that a token cannot be sent as it is.
var ErrToken = errors.New("the token holds a line break or another control character")

// With returns the repository with a credential for one remote and no other.
func (r *Repo) With(remote string, c Credential) (*Repo, error) {
	token := strings.TrimRight(c.Token, "\r\n")
	if token == "" {
		return r, nil
	}
	if strings.ContainsFunc(token+c.Username, func(x rune) bool { return x < ' ' || x == 0x7f }) {
		return nil, ErrToken
	}
	basic := base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + token))
	with := *r
	with.hidden = append(slices.Clone(r.hidden), basic, token, url.QueryEscape(token), url.PathEscape(token))
	with.config = append(slices.Clone(r.config), setting{"http." + remote + ".extraHeader", "Authorization: Basic " + basic})
	return &with, nil
}

// Scratch makes a bare repository in dir that borrows the objects of r: what it fetches and commits stays there,
// and neither the files nor the configuration of r are written or read.
func (r *Repo) Scratch(ctx context.Context, dir string) (*Repo, error) {
	objects, err := r.Run(ctx, "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return nil, err
	}
	format, err := r.Run(ctx, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, err
	}
	s := &Repo{dir: dir, gitDir: dir, hidden: r.hidden, config: r.config}
	if _, err := s.Run(ctx, "init", "--quiet", "--bare", "--template=", "--object-format="+format, dir); err != nil {
		return nil, err
	}
	info := filepath.Join(dir, "objects", "info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(info, "alternates"), []byte(objects+"\n"), 0o644); err != nil {
		return nil, err
	}
	shallow, err := r.Run(ctx, "rev-parse", "--path-format=absolute", "--git-path", "shallow")
	if err != nil {
		return nil, err
	}
	if list, err := os.ReadFile(shallow); err == nil {
		if err := os.WriteFile(filepath.Join(dir, "shallow"), list, 0o644); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Command is one call of git.
type Command struct {
	Args  []string
	Stdin io.Reader
	// Env is added to git's environment, for example GIT_INDEX_FILE=….
	Env []string
}

// Run calls git and returns its output without the final line break.
func (r *Repo) Run(ctx context.Context, args ...string) (string, error) {
	out, err := r.Do(ctx, Command{Args: args})
	return strings.TrimRight(string(out), "\n"), err
}

// Do calls git and returns its output as it is. The error of a call that ended badly is an *Error.
func (r *Repo) Do(ctx context.Context, c Command) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", c.Args...)
	if info, err := os.Stat(r.dir); err == nil && info.IsDir() {
		cmd.Dir = r.dir
	} else if r.gitDir == "" {
		return nil, fmt.Errorf("git %s: %s is not a directory", c.Args[0], r.dir)
	}
	cmd.Env = append(r.environ(), c.Env...)
	cmd.Stdin = c.Stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A group of its own, so that a cancelled git takes its transport helpers along, which wait on a silent remote
	// for longer; at SIGTERM git removes its lock files.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	start := time.Now()
	err := cmd.Run()
	slog.DebugContext(ctx, "git", "args", r.scrub(strings.Join(c.Args, " ")), "took", time.Since(start))
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("git %s: %w", c.Args[0], context.Cause(ctx))
	}
	return nil, &Error{Command: c.Args[0], Stdout: r.scrub(stdout.String()), Stderr: r.scrub(stderr.String()), Err: err}
}

// IsAncestor says whether a commit is in the history of another.
func (r *Repo) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	_, err := r.Run(ctx, "merge-base", "--is-ancestor", a, b)
	if Exit(err) == 1 {
		return false, nil
	}
	return err == nil, err
}

// Exit is the exit code of an error of Do, -1 for any other error.
func Exit(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Error is a call of git that ended badly. The credential is taken out of its texts.
type Error struct {
	Command string
	Stdout  string
	Stderr  string
	Err     error
}

func (e *Error) Unwrap() error { return e.Err }

// Error is one line: what git gave as the reason.
func (e *Error) Error() string {
	reason := Reason(e.Stderr)
	if reason == "" {
		reason = e.Err.Error()
	}
	return "git " + e.Command + ": " + reason
}

// Reason picks from what git wrote the lines that give a reason, and makes one line of them.
func Reason(stderr string) string {
	var fatal, rest []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "hint:"), strings.HasPrefix(line, "To "), strings.HasPrefix(line, "warning:"):
		case strings.HasPrefix(line, "fatal: "), strings.HasPrefix(line, "error: "):
			fatal = append(fatal, line[len("fatal: "):])
		default:
			rest = append(rest, line)
		}
	}
	if len(fatal) > 0 {
		return strings.Join(slices.Compact(fatal), "; ")
	}
	return strings.Join(rest, "; ")
}

func (r *Repo) scrub(s string) string {
	for _, secret := range r.hidden {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}

// environ is this process' environment without what would steer or expose git, and with fixed settings.
func (r *Repo) environ() []string {
	keep := []string{"GIT_SSL_", "GIT_SSH", "GIT_EXEC_PATH", "GIT_HTTP_"}
	var env []string
	for _, kv := range os.Environ() {
		kept := slices.ContainsFunc(keep, func(p string) bool { return strings.HasPrefix(kv, p) })
		if kept || !strings.HasPrefix(kv, "GIT_") && !strings.HasPrefix(kv, "GITOPS_") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			env = append(env, kv)
		}
	}
	env = append(env,
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=",
		"SSH_ASKPASS=",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_ALLOW_PROTOCOL=http:https:ssh:file",
	)
	if os.Getenv("GIT_SSH_COMMAND") == "" && os.Getenv("GIT_SSH") == "" {
		env = append(env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes")
	}
	if r.gitDir != "" {
		env = append(env, "GIT_DIR="+r.gitDir)
	}
	config := append([]setting{
		// A container's checkout belongs to another user than root.
		{"safe.directory", "*"},
		// A checkout's own configuration must not run programs of its choice here.
		{"core.hooksPath", os.DevNull},
		{"core.fsmonitor", "false"},
		{"credential.helper", ""},
		{"core.quotePath", "false"},
		{"gc.auto", "0"},
		{"maintenance.auto", "false"},
		{"i18n.commitEncoding", "UTF-8"},
		{"fetch.recurseSubmodules", "false"},
		{"push.recurseSubmodules", "no"},
		{"push.gpgSign", "false"},
		{"http.lowSpeedLimit", "1"},
		{"http.lowSpeedTime", "60"},
	}, r.config...)
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, s := range config {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+s.key, "GIT_CONFIG_VALUE_"+n+"="+s.value)
	}
	return env
}
