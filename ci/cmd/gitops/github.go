package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

// keyVariable is the environment variable that holds a GitHub App's private key.
const keyVariable = "GITOPS_APP_KEY"

func newGitHub() *cobra.Command {
	return group("github", "Release, and comment, through GitHub's API.", newGitHubPreflight(), newGitHubPush(), newGitHubRevert(), newGitHubCommit(), newGitHubComment(), newGitHubSigners())
}

// hub is a target on GitHub, and how a command gets there.
type hub struct {
	github.Target
	// pull has the commit wait in a pull request.
	pull bool
	wait time.Duration
}

func (h *hub) flags(f *pflag.FlagSet, timeout time.Duration) {
	f.StringVar(&h.Remote, "remote", "", "the repository's URL, https://HOST/OWNER/NAME.git, without a credential")
	f.StringVar(&h.API, "api-url", "", "the API's URL (default that of the remote's host)")
	appFlags(f, &h.App)
	f.DurationVar(&h.wait, "timeout", timeout, "the longest time to take")
}

func (h *hub) attempts(f *pflag.FlagSet) {
	f.IntVar(&h.Attempts, "attempts", commit.DefaultAttempts, "how often to try while others push as well")
}

// reach gives the target its credential and a command the time to talk to it.
func (h *hub) reach(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	if h.pull {
		h.Mode = github.ModePullRequest
	}
	h.Token, h.App.Key = os.Getenv(tokenVariable), os.Getenv(keyVariable)
	return within(cmd, h.wait)
}

func newGitHubPreflight() *cobra.Command {
	var (
		repo string
		only bool
		rel  commit.Release
		t    hub
	)
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Find out, before anything is built, whether GitHub would take a release.",
		Long: `Find out, before anything is built, whether GitHub would take a release, as preflight does, and name the
permission that the token or the App lacks: "contents: write", and with --pull-request "pull requests: write".
Without --pull-request a protected branch is no reason to refuse: its rules may let the push through. If the
credential could not open a pull request instead, "warning" says so. Nothing is left on GitHub.
With --permissions-only nothing else is looked at: what is to be pushed is no release of the checkout.

The token is read from ` + tokenVariable + `, or, with --app-id and --installation-id, the private key
of a GitHub App from ` + keyVariable + `.`,
		Example: `  gitops github preflight --repo . --remote https://github.com/owner/repository.git --image docker.io/user/backstage-gitops`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := t.reach(cmd)
			defer cancel()
			check := func() (github.Ready, error) { return github.Preflight(ctx, repo, rel, t.Target) }
			if only {
				check = func() (github.Ready, error) { return github.Permitted(ctx, t.Target) }
			}
			ready, err := check()
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), ready)
		},
	}
	sourceFlags(cmd, &repo, &rel)
	f := cmd.Flags()
	t.flags(f, 5*time.Minute)
	f.StringVar(&t.Branch, "branch", "main", "the remote's branch")
	f.BoolVar(&t.pull, "pull-request", false, "the release is to be a pull request")
	f.BoolVar(&only, "permissions-only", false, "find out only whether the token or the App may write")
	required(cmd, "remote", "branch")
	return cmd
}

func newGitHubPush() *cobra.Command {
	var (
		repo, facts string
		rel         commit.Release
		t           hub
	)
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Have GitHub commit a release on top of a branch, or open a pull request.",
		Long: `Have GitHub commit a release on top of a branch, as push does, through its API: GitHub then signs
the commit of an App or of a workflow's own token. The commit has another name than the one that
propose or commit makes, and the same tree ("tree") on the same parent; --candidate is compared so.

With --pull-request the commit goes to a branch of its own instead, and a pull request is opened, or
the one that is open for that branch is updated. So it does where the branch is protected, and says
so as "fallback".

The token is read from ` + tokenVariable + `, or, with --app-id and --installation-id, the private key
of a GitHub App from ` + keyVariable + `. It wants the permissions "contents: write" and, for a pull
request, "pull requests: write". GitHub's rate limits are waited for until --timeout.`,
		Example: `  gitops github push --repo . --remote https://github.com/owner/repository.git --tag 1.4.0 --digest sha256:…
  gitops github push --pull-request --label release --auto-merge squash --remote https://github.example.com/owner/repository.git --tag 1.4.0 --digest sha256:…`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := t.reach(cmd)
			defer cancel()
			if facts != "" {
				in, err := readInput(cmd.InOrStdin(), facts)
				if err != nil {
					return fmt.Errorf("read the facts: %w", err)
				}
				t.Pull.Body = func(c commit.Pushed) (string, error) { return proposed(in, c) }
			}
			pushed, err := github.Push(ctx, repo, rel, t.Target)
			if err != nil {
				return err
			}
			if !pushed.Nothing {
				slog.Info("pushed", "commit", pushed.SHA, "mode", pushed.Mode, "remote", t.Remote, "attempts", pushed.Attempts, "requests", pushed.Requests)
			}
			sayNothing(pushed.Commit)
			return printJSON(cmd.OutOrStdout(), pushed)
		},
	}
	releaseFlags(cmd, &repo, &rel)
	f := cmd.Flags()
	t.flags(f, commit.DefaultTimeout)
	f.StringVar(&t.Branch, "branch", "main", "the remote's branch")
	t.attempts(f)
	f.StringVar(&t.Candidate, "candidate", "", "push the tree of this commit, made by gitops commit, and no other")
	f.BoolVar(&t.pull, "pull-request", false, "open or update a pull request instead of pushing to the branch")
	f.StringVar(&t.Pull.Head, "head", "", "the pull request's branch (default gitops/CHART/BRANCH)")
	f.StringVar(&t.Pull.Title, "title", "", "the pull request's title (default the commit's first line)")
	f.StringVar(&facts, "facts", "", "the facts of gitops report, whose Markdown is the pull request's text")
	f.StringArrayVar(&t.Pull.Labels, "label", nil, "a label of the pull request, repeatable")
	f.StringVar(&t.Pull.Merge, "auto-merge", "", "have the pull request merged as soon as it may: merge, squash or rebase; for a workflow's own token that starts no workflow")
	required(cmd, "remote", "branch", "tag", "digest")
	return cmd
}

func newGitHubRevert() *cobra.Command {
	var (
		repo string
		rb   commit.Rollback
		t    hub
	)
	cmd := &cobra.Command{
		Use:   "revert",
		Short: "Have GitHub commit that the last release of a chart is taken back, or open a pull request.",
		Long: `Have GitHub make the commit with which revert takes the last release of a chart back, on top of a branch: GitHub
then signs the commit of an App or of a workflow's own token. With --pull-request, or where the branch is protected
("fallback" says so), the commit goes to a branch of its own instead, and a pull request is opened, or the one that is
open for that branch is updated; the release is taken back once that is merged.

The token is read from ` + tokenVariable + `, or, with --app-id and --installation-id, the private key
of a GitHub App from ` + keyVariable + `. It wants the permissions "contents: write" and, for a pull
request, "pull requests: write".`,
		Example: `  gitops revert --repo . --remote https://github.com/owner/repository.git --to http://git:8080/proof.git
  gitops github revert --repo . --remote https://github.com/owner/repository.git --candidate SHA --release SHA`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := t.reach(cmd)
			defer cancel()
			reverted, err := github.Revert(ctx, repo, rb, t.Target)
			if err != nil {
				return err
			}
			slog.Info("reverted", "release", reverted.Reverted.Reverted.Tag, "to", reverted.Restored.Tag, "commit", reverted.SHA, "mode", reverted.Mode, "remote", t.Remote, "attempts", reverted.Attempts)
			return printJSON(cmd.OutOrStdout(), reverted)
		},
	}
	rollbackFlags(cmd, &repo, &rb)
	f := cmd.Flags()
	t.flags(f, commit.DefaultTimeout)
	f.StringVar(&t.Branch, "branch", "main", "the remote's branch")
	t.attempts(f)
	f.StringVar(&t.Candidate, "candidate", "", "push the tree of this commit, made by revert --to, and no other")
	f.BoolVar(&t.pull, "pull-request", false, "open or update a pull request instead of pushing to the branch")
	f.StringVar(&t.Pull.Head, "head", "", "the pull request's branch (default rollback/CHART/BRANCH)")
	f.StringArrayVar(&t.Pull.Labels, "label", nil, "a label of the pull request, repeatable")
	required(cmd, "remote", "branch")
	return cmd
}

// proposed is the report of a release whose commit waits in a pull request.
func proposed(facts []byte, c commit.Pushed) (string, error) {
	var f report.Facts
	if err := json.Unmarshal(facts, &f); err != nil {
		return "", fmt.Errorf("%w: %w", report.ErrFacts, err)
	}
	f.Commit, f.Outcome = &c, report.Proposed
	d, err := report.New(f, secrets()...)
	return string(d.Markdown()), err
}

func newGitHubCommit() *cobra.Command {
	var (
		repo, file string
		c          github.Change
		t          hub
	)
	cmd := &cobra.Command{
		Use:   "commit",
		Short: "Have GitHub commit what the checkout changes, or open a pull request.",
		Long: `Have GitHub commit what the checkout's files change on top of its HEAD, which has to be in the branch.
Where others push as well it is applied again to their tip, unless they changed the same file. With
--pull-request, or where the branch is protected, the commit goes to the branch --head, and a pull
request is opened, or the one that is open for that branch is updated; where that holds the change
already nothing is added ("kept": true), and where somebody else has committed to it nothing is done.

The token is read from ` + tokenVariable + `, or, with --app-id and --installation-id, the private key
of a GitHub App from ` + keyVariable + `. It wants the permissions "contents: write" and, for a pull
request, "pull requests: write".`,
		Example: `  gitops promote --from dev --to staging --running dev.json
  gitops github commit --pull-request --remote https://github.com/owner/repository.git --head promote/staging --title "chore(promote): staging"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := t.reach(cmd)
			defer cancel()
			if file != "" {
				text, err := readInput(cmd.InOrStdin(), file)
				if err != nil {
					return fmt.Errorf("read the text: %w", err)
				}
				c.Body = string(text)
			}
			pushed, err := github.Commit(ctx, repo, c, t.Target)
			if err != nil {
				return err
			}
			if pushed.Nothing {
				slog.Info("nothing to commit: the branch has all that the checkout changes")
			}
			return printJSON(cmd.OutOrStdout(), pushed)
		},
	}
	f := cmd.Flags()
	f.StringVar(&repo, "repo", ".", "the checkout")
	t.flags(f, commit.DefaultTimeout)
	f.StringVar(&t.Branch, "branch", "main", "the remote's branch")
	f.StringVar(&c.Head, "head", "", "the pull request's branch")
	f.StringVar(&c.Title, "title", "", "the commit's message and the pull request's title, one line")
	f.StringVar(&file, "file", "", "the pull request's text, in Markdown; - is standard input")
	f.BoolVar(&t.pull, "pull-request", false, "open or update a pull request instead of committing to the branch")
	t.attempts(f)
	required(cmd, "repo", "remote", "branch", "head", "title")
	return cmd
}

func newGitHubComment() *cobra.Command {
	var (
		c    github.Comment
		t    hub
		file string
	)
	cmd := &cobra.Command{
		Use:   "comment",
		Short: "Comment on a pull request, in place of the last comment of the topic.",
		Long: `Comment on a pull request. There is one comment of a topic: the next one takes its place. Comments of
others stay, whatever they say. A credential that may not comment is a failure, unless --if-permitted: then
"missing" says what it lacks.

The token is read from ` + tokenVariable + `, or, with --app-id and --installation-id, the private key
of a GitHub App from ` + keyVariable + `. It wants the permission "pull requests: write".`,
		Example: `  gitops diff --before ../main | gitops github comment --remote https://github.com/owner/repository.git --number 7 --topic diff --file -`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := t.reach(cmd)
			defer cancel()
			text, err := readInput(cmd.InOrStdin(), file)
			if err != nil {
				return fmt.Errorf("read the comment: %w", err)
			}
			c.Body = string(text)
			said, err := github.Say(ctx, t.Target, c)
			if err != nil {
				return err
			}
			if said.Missing != "" {
				slog.Warn("there is no comment", "reason", said.Missing)
			} else {
				slog.Info("commented", "url", said.URL, "change", said.Change)
			}
			return printJSON(cmd.OutOrStdout(), said)
		},
	}
	f := cmd.Flags()
	t.flags(f, 2*time.Minute)
	f.IntVar(&c.Number, "number", 0, "the pull request's number")
	f.StringVar(&c.Topic, "topic", "", "what the comment is about, a word")
	f.StringVar(&file, "file", "-", "the text, in Markdown; - is standard input")
	f.BoolVar(&c.IfPermitted, "if-permitted", false, "succeed where the credential may not comment, and say so")
	required(cmd, "remote", "number", "topic")
	return cmd
}

func newGitHubSigners() *cobra.Command {
	var workflow, branch, tag string
	cmd := &cobra.Command{
		Use:   "signers",
		Short: "Name the identities by which a workflow may have signed an image without a key.",
		Long: `Name the identities by which a workflow may have signed an image without a key: for a version its runs for
the version's tag of Git, and its runs for the branch. GitHub is not asked.`,
		Example: `  gitops github signers --workflow https://github.com/owner/repository/.github/workflows/release.yml --tag 1.4.0`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			identities, err := github.Signers(workflow, branch, tag)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), map[string][]string{"identities": identities})
		},
	}
	f := cmd.Flags()
	f.StringVar(&workflow, "workflow", "", "the workflow that releases; with @refs/heads/BRANCH that identity alone")
	f.StringVar(&branch, "branch", "main", "the branch that is released")
	f.StringVar(&tag, "tag", "", "the image's tag")
	required(cmd, "workflow", "branch", "tag")
	return cmd
}
