package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

var (
	// ErrRemote says that a text cannot be used as a remote's address.
	ErrRemote = errors.New("invalid Git remote")
	// ErrNoBranch says that the remote has no such branch.
	ErrNoBranch = errors.New("no such branch")
	// ErrRaced says that the branch moved under a push; fetch and try again.
	ErrRaced = errors.New("the branch has moved")
	// ErrRefused says that the remote took the push and declined it: a hook, a protected branch.
	ErrRefused = errors.New("the remote refuses the push")
	// ErrUnauthorized says that the remote wants another credential.
	ErrUnauthorized = errors.New("the remote wants another credential")
	// ErrNotFound says that there is no repository at the address.
	ErrNotFound = errors.New("there is no repository there, or the token may not see it")
	// ErrUnreachable says that the remote did not answer, or not to the end.
	ErrUnreachable = errors.New("the remote does not answer")
)

// CheckRemote refuses an address that is no http, https, ssh or file remote, and one that carries a credential.
func CheckRemote(remote string) error {
	switch {
	case remote == "":
		return fmt.Errorf("%w: it is empty", ErrRemote)
	case strings.HasPrefix(remote, "-"), strings.Contains(remote, "::"), strings.ContainsFunc(remote, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%w %q: give a URL such as https://github.com/owner/repository.git", ErrRemote, Redact(remote))
	case !strings.Contains(remote, "://"):
		return nil
	}
	u, err := url.Parse(remote)
	if err != nil {
		// The text of the error would hold the address with whatever credential is in it.
		return fmt.Errorf("%w: it is no URL", ErrRemote)
	}
	switch u.Scheme {
	case "http", "https", "ssh", "file":
	default:
		return fmt.Errorf("%w %q: the scheme is none of https, http, ssh and file", ErrRemote, Redact(remote))
	}
	if _, password := u.User.Password(); password || u.User != nil && u.Scheme != "ssh" {
		return fmt.Errorf("%w %q: the address carries a credential; pass the token as GITOPS_TOKEN instead", ErrRemote, Redact(remote))
	}
	return nil
}

var userinfo = regexp.MustCompile(`://[^/?#\s]*@`)

// Redact takes a credential out of an address.
func Redact(remote string) string { return userinfo.ReplaceAllString(remote, "://") }

// Fetch brings a branch of a remote here and returns its tip.
func (r *Repo) Fetch(ctx context.Context, remote, branch string) (string, error) {
	const here = "refs/gitops/fetched"
	_, err := r.Run(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--end-of-options", remote, "+refs/heads/"+branch+":"+here)
	if err != nil {
		return "", remoteError(remote, branch, err)
	}
	return r.Run(ctx, "rev-parse", "--verify", "--end-of-options", here+"^{commit}")
}

// Push updates refs of a remote, all of them or none; the first refspec is that of the branch. A lease is the tip
// that the branch must still have; without one the push must be a fast-forward.
func (r *Repo) Push(ctx context.Context, remote, branch string, lease *string, refspecs ...string) error {
	args := []string{"push", "--porcelain", "--no-verify", "--no-follow-tags"}
	if lease != nil {
		args = append(args, "--force-with-lease=refs/heads/"+branch+":"+*lease)
	}
	if len(refspecs) > 1 {
		args = append(args, "--atomic")
	}
	args = append(append(args, "--end-of-options", remote), refspecs...)
	if _, err := r.Run(ctx, args...); err != nil {
		return remoteError(remote, branch, err)
	}
	return nil
}

// MayPush asks a remote whether it would take a push to a branch from this credential, and pushes nothing.
func (r *Repo) MayPush(ctx context.Context, remote, branch, tip string) error {
	_, err := r.Run(ctx, "push", "--dry-run", "--porcelain", "--no-verify", "--no-follow-tags", "--end-of-options", remote, tip+":refs/heads/"+branch)
	if err != nil {
		err = remoteError(remote, branch, err)
	}
	if errors.Is(err, ErrRaced) {
		return nil // somebody pushes right now; the credential was taken
	}
	return err
}

// lost are the words for an update that came second: git's own, and those of servers with a lock of their own.
var lost = regexp.MustCompile(`(?i)fetch first|non-fast-forward|stale info|cannot lock ref|failed to lock|failed to update ref|incorrect old value|reference already exists|remote ref updated|unable to update local ref`)

var causes = []struct {
	words *regexp.Regexp
	err   error
}{
	{regexp.MustCompile(`couldn't find remote ref`), ErrNoBranch},
	{regexp.MustCompile(`(?i)could not read (Username|Password)|Authentication failed|access denied|error: 40[13]\b|Permission denied|prompts disabled`), ErrUnauthorized},
	{regexp.MustCompile(`(?i)error: 404\b|repository .* not found|does not appear to be a git repository|not a git repository|does not exist`), ErrNotFound},
	{regexp.MustCompile(`(?i)could not resolve|connect|timed out|too slow|hung up|early EOF|unable to access|error: (429|5\d\d)\b|SSL|TLS|curl|RPC failed|broken pipe`), ErrUnreachable},
}

// remoteError says in one sentence why a call to a remote ended badly.
func remoteError(remote, branch string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	for line := range strings.Lines(e.Stdout) {
		flag, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		_, summary, ok := strings.Cut(rest, "\t")
		if flag != "!" || !ok {
			continue
		}
		if lost.MatchString(summary) {
			return fmt.Errorf("push to %s of %s: %w: %s", branch, remote, ErrRaced, summary)
		}
		if strings.Contains(summary, "atomic") {
			continue // the others of the push give the reason
		}
		_, reason, _ := strings.Cut(summary, "(")
		reason = strings.TrimSuffix(reason, ")")
		if said := remoteLines(e.Stderr); said != "" {
			reason += ": " + said
		}
		return fmt.Errorf("push to %s of %s: %w: %s", branch, remote, ErrRefused, reason)
	}
	for _, c := range causes {
		if c.words.MatchString(e.Stderr) {
			switch c.err {
			case ErrNoBranch:
				return fmt.Errorf("%w: %s in %s", c.err, branch, remote)
			case ErrUnauthorized:
				return fmt.Errorf("%s of %s: %w; pass a token that may write there, --token of release or GITOPS_TOKEN of gitops (git: %s)", e.Command, remote, c.err, Reason(e.Stderr))
			}
			return fmt.Errorf("%s of %s: %w (git: %s)", e.Command, remote, c.err, Reason(e.Stderr))
		}
	}
	return fmt.Errorf("%s of %s: %w", e.Command, remote, err)
}

// remoteLines joins what the other side said, a hook's message.
func remoteLines(stderr string) string {
	var said []string
	for line := range strings.Lines(stderr) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "remote:"); ok && strings.TrimSpace(text) != "" {
			said = append(said, strings.TrimSpace(text))
		}
	}
	return strings.Join(said, "; ")
}
