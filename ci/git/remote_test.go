package git

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckRemote(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in  string
		bad bool
	}{
		"https":                    {in: "https://github.com/owner/repository.git"},
		"http with port":           {in: "http://git:8080/a.git"},
		"ssh":                      {in: "ssh://git@github.com/owner/repository.git"},
		"scp-like":                 {in: "git@github.com:owner/repository.git"},
		"file":                     {in: "file:///srv/a.git"},
		"path":                     {in: "/srv/a.git"},
		"empty":                    {in: "", bad: true},
		"option":                   {in: "--upload-pack=touch /tmp/x", bad: true},
		"program":                  {in: "ext::sh -c date", bad: true},
		"helper":                   {in: "fd::17", bad: true},
		"ftp":                      {in: "ftp://example.com/a.git", bad: true},
		"token":                    {in: "https://canary@github.com/a.git", bad: true},
		"user and token":           {in: "https://x:canary@github.com/a.git", bad: true},
		"password for ssh":         {in: "ssh://git:canary@github.com/a.git", bad: true},
		"token and broken address": {in: "https://x:canary@github.com:port/a.git", bad: true},
		"token and broken escape":  {in: "https://x:canary%zz@github.com/a.git", bad: true},
		"token and another scheme": {in: "ftp://x:canary@example.com/a.git", bad: true},
		"token and a space":        {in: "https://x:canary@example.com/a b.git", bad: true},
		"line break":               {in: "https://example.com/a.git\nx", bad: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckRemote(c.in)
			if (err != nil) != c.bad || err != nil && !errors.Is(err, ErrRemote) {
				t.Fatalf("CheckRemote(%q) = %v; want bad %t", c.in, err, c.bad)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the credential shows: %v", err)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://user:canary@github.com/a.git":   "https://github.com/a.git",
		"https://canary@github.com/a.git":        "https://github.com/a.git",
		"https://u:can@ry@github.com/a@b.git":    "https://github.com/a@b.git",
		"https://github.com/a@b.git":             "https://github.com/a@b.git",
		"ssh://git@github.com/a.git":             "ssh://github.com/a.git",
		"git@github.com:a.git":                   "git@github.com:a.git",
		"see https://x:canary@a/b and http://c/": "see https://a/b and http://c/",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q; want %q", in, got, want)
		}
	}
}

// TestRemoteError reads what Git and well-known servers write, word for word.
func TestRemoteError(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		stdout, stderr string
		want           error
		text           string
	}{
		"another push was faster": {
			stdout: "To https://github.com/o/r.git\n!\tabc:refs/heads/main\t[rejected] (fetch first)\nDone\n",
			stderr: "error: failed to push some refs to 'https://github.com/o/r.git'\nhint: Updates were rejected\n",
			want:   ErrRaced,
		},
		"history has gone apart": {
			stdout: "!\tabc:refs/heads/main\t[rejected] (non-fast-forward)\n", want: ErrRaced,
		},
		"a lease is out of date": {
			stdout: "!\tabc:refs/heads/main\t[rejected] (stale info)\n", want: ErrRaced,
		},
		"GitHub, lost the lock": {
			stdout: "!\tabc:refs/heads/main\t[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)\n", want: ErrRaced,
		},
		"newer Git, another value": {
			stdout: "!\tabc:refs/heads/main\t[remote rejected] (incorrect old value provided)\n", want: ErrRaced,
		},
		"atomic, one of two is late": {
			stdout: "!\tabc:refs/releases/1\t[rejected] (atomic push failed)\n!\tabc:refs/heads/main\t[rejected] (stale info)\n", want: ErrRaced,
		},
		"GitHub, protected branch": {
			stdout: "!\tabc:refs/heads/main\t[remote rejected] (push declined due to repository rule violations)\n",
			stderr: "remote: error: GH013: Repository rule violations found for refs/heads/main.\nremote: \nremote: - Changes must be made through a pull request.\nerror: failed to push some refs to 'https://github.com/o/r'\n",
			want:   ErrRefused, text: "push declined due to repository rule violations: error: GH013: Repository rule violations found for refs/heads/main.; - Changes must be made through a pull request.",
		},
		"shallow": {
			stdout: "!\tabc:refs/heads/main\t[remote rejected] (shallow update not allowed)\n", want: ErrRefused, text: "shallow update not allowed",
		},
		"GitHub, bad token": {
			stderr: "remote: Invalid username or token. Password authentication is not supported for Git operations.\nfatal: Authentication failed for 'https://github.com/o/r.git/'\n",
			want:   ErrUnauthorized, text: "GITOPS_TOKEN",
		},
		"GitHub, token may not write": {
			stderr: "remote: Permission to o/r.git denied to u.\nfatal: unable to access 'https://github.com/o/r.git/': The requested URL returned error: 403\n",
			want:   ErrUnauthorized,
		},
		"no token": {
			stderr: "fatal: could not read Username for 'https://github.com': terminal prompts disabled\n", want: ErrUnauthorized,
		},
		"ssh, no key": {
			stderr: "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.\n", want: ErrUnauthorized,
		},
		"GitLab, bad token": {
			stderr: "remote: HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect\nfatal: Authentication failed for 'https://gitlab.com/o/r.git/'\n",
			want:   ErrUnauthorized,
		},
		"GitHub, no such repository": {
			stderr: "remote: Repository not found.\nfatal: repository 'https://github.com/o/r.git/' not found\n", want: ErrNotFound,
		},
		"no such folder": {
			stderr: "fatal: '/srv/a.git' does not appear to be a git repository\nfatal: Could not read from remote repository.\n", want: ErrNotFound,
		},
		"no such branch": {stderr: "fatal: couldn't find remote ref refs/heads/main\n", want: ErrNoBranch},
		"unknown host":   {stderr: "fatal: unable to access 'https://x/': Could not resolve host: x\n", want: ErrUnreachable},
		"server broken":  {stderr: "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\nfatal: the remote end hung up unexpectedly\n", want: ErrUnreachable},
		"unknown certificate": {
			stderr: "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none\n", want: ErrUnreachable, text: "certificate verification failed",
		},
		"something else": {stderr: "fatal: bad object HEAD\n", text: "git push: bad object HEAD"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := remoteError("https://github.com/o/r.git", "main", &Error{Command: "push", Stdout: c.stdout, Stderr: c.stderr, Err: errors.New("exit status 1")})
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v; want %v, %q", err, c.want, c.text)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hint:") {
				t.Errorf("unfit to be shown: %q", err)
			}
		})
	}
}
