package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
)

// tokenVariable is the environment variable that holds the Git remote's token.
const tokenVariable = "GITOPS_TOKEN"

func newCommit() *cobra.Command {
	var (
		repo, base string
		rel        commit.Release
	)
	cmd := &cobra.Command{
		Use:   "commit",
		Short: "Make the commit of a release without pushing it.",
		Long: `Make the commit of a release on top of --base, without pushing it and without touching branch,
index or work tree. The same release on the same base is always the same commit. It is kept under
` + commit.CandidateRef + ` of the repository.`,
		Example: `  gitops commit --repo . --tag 1.4.0 --digest sha256:… --image docker.io/user/backstage-gitops`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := commit.Create(cmd.Context(), repo, base, rel)
			if err != nil {
				return err
			}
			sayNothing(c)
			return printJSON(cmd.OutOrStdout(), c)
		},
	}
	releaseFlags(cmd, &repo, &rel)
	cmd.Flags().StringVar(&base, "base", "HEAD", "the commit to apply the release to")
	required(cmd, "tag", "digest")
	return cmd
}

func newPush() *cobra.Command {
	var (
		repo string
		rel  commit.Release
		t    commit.Target
		with access
	)
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Commit a release on top of a remote's branch.",
		Long: `Commit a release on top of a remote's branch. Where somebody else pushes in between, the release
is applied again to the new tip, a bounded number of times; no push is ever forced. Where the
branch names tag and digest already nothing is pushed ("nothing": true).

The token of an http remote is read from ` + tokenVariable + `, or, with --app-id and --installation-id,
the private key of a GitHub App from ` + keyVariable + `. The checkout is only read.`,
		Example: `  gitops push --repo . --remote https://github.com/owner/repository.git --tag 1.4.0 --digest sha256:…`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			pushed, err := commit.Push(ctx, repo, rel, t)
			if err != nil {
				return err
			}
			if !pushed.Nothing {
				slog.Info("pushed", "commit", pushed.SHA, "branch", t.Branch, "remote", t.Remote, "attempts", pushed.Attempts)
			}
			sayNothing(pushed.Commit)
			return printJSON(cmd.OutOrStdout(), pushed)
		},
	}
	releaseFlags(cmd, &repo, &rel)
	targetFlags(cmd, &t, &with)
	cmd.Flags().IntVar(&t.Attempts, "attempts", commit.DefaultAttempts, "how often to try while others push as well")
	cmd.Flags().StringVar(&t.Candidate, "candidate", "", "push this commit, made by gitops commit, and no other")
	required(cmd, "remote", "branch", "tag", "digest")
	return cmd
}

func newPropose() *cobra.Command {
	var (
		repo, to string
		rel      commit.Release
		t        commit.Target
		with     access
	)
	cmd := &cobra.Command{
		Use:   "propose",
		Short: "Push the commit that push would make to another repository, to verify it there.",
		Long: `Make the commit that push would push to --remote now, and push it to the same branch of --to instead.
Nothing of --remote changes. Once it is verified there, push --candidate pushes this commit and no other.`,
		Example: `  gitops propose --repo . --remote https://github.com/owner/repository.git --to http://git:8080/proof.git --tag 1.4.0 --digest sha256:…`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			proposed, err := commit.Propose(ctx, repo, rel, t, to)
			if err != nil {
				return err
			}
			sayNothing(proposed.Commit)
			return printJSON(cmd.OutOrStdout(), proposed)
		},
	}
	releaseFlags(cmd, &repo, &rel)
	targetFlags(cmd, &t, &with)
	cmd.Flags().StringVar(&to, "to", "", "the repository to push it to, without a credential")
	required(cmd, "remote", "branch", "to", "tag", "digest")
	return cmd
}

func newPreflight() *cobra.Command {
	var (
		repo string
		rel  commit.Release
		t    commit.Target
		with access
	)
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Find out, before anything is built, whether a release could be pushed.",
		Long: `Find out, before anything is built, whether a release could be pushed: the remote answers, takes
the token for a push, has the checkout's HEAD on its branch, and its chart can be bumped. Nothing is
written. "chart" is what the branch names now.`,
		Example: `  gitops preflight --repo . --remote https://github.com/owner/repository.git --image docker.io/user/backstage-gitops`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			ready, err := commit.Preflight(ctx, repo, rel, t)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), ready)
		},
	}
	sourceFlags(cmd, &repo, &rel)
	targetFlags(cmd, &t, &with)
	required(cmd, "remote", "branch")
	return cmd
}

func newSeed() *cobra.Command {
	var (
		repo string
		t    commit.Target
		with access
	)
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Make a branch of the embedded remote hold the checkout's HEAD.",
		Long: `Make a branch of the embedded remote hold the checkout's HEAD: an empty remote gets it, a branch
that has HEAD in its history is left alone, and any other is moved to HEAD. A tip that HEAD does
not descend from is kept under ` + commit.FormerRefs + `SHA.

Not for a remote that people push to.`,
		Example: `  gitops seed --repo . --remote http://git:8080/backstage-gitops.git --branch main`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			seeded, err := commit.Seed(ctx, repo, t)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), seeded)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "the checkout")
	targetFlags(cmd, &t, &with)
	required(cmd, "remote", "branch")
	return cmd
}

func sayNothing(c commit.Commit) {
	if c.Nothing {
		slog.Info("nothing to release: the chart names this image already", "commit", c.SHA)
	}
}

func releaseFlags(cmd *cobra.Command, repo *string, rel *commit.Release) {
	sourceFlags(cmd, repo, rel)
	pinFlags(cmd, &rel.Pin)
}

func sourceFlags(cmd *cobra.Command, repo *string, rel *commit.Release) {
	cmd.Flags().StringVar(repo, "repo", ".", "the checkout")
	cmd.Flags().StringVar(&rel.Chart, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&rel.Image, "image", "", "the image's name without tag, for the commit's message")
	cmd.Flags().StringVar(&rel.Source, "source", "", "the commit that is released (default HEAD)")
}

// access is how a command gets to its remote.
type access struct {
	app  github.App
	api  string
	wait time.Duration
}

func targetFlags(cmd *cobra.Command, t *commit.Target, with *access) {
	f := cmd.Flags()
	f.StringVar(&t.Remote, "remote", "", "the remote's URL, without a credential")
	f.StringVar(&t.Branch, "branch", "main", "the remote's branch")
	f.StringVar(&t.Credential.Username, "username", "x-access-token", "the user name to send with the token of "+tokenVariable)
	f.DurationVar(&with.wait, "timeout", commit.DefaultTimeout, "the longest time to take")
	f.StringVar(&with.api, "api-url", "", "the URL of GitHub's API, for an App (default that of the remote's host)")
	appFlags(f, &with.app)
}

func appFlags(f *pflag.FlagSet, app *github.App) {
	f.Int64Var(&app.ID, "app-id", 0, "the GitHub App to sign in as, with the key of "+keyVariable)
	f.Int64Var(&app.Installation, "installation-id", 0, "the App's installation")
}

// within is a command's context for as long as it may take.
func within(cmd *cobra.Command, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("%s took longer than %s", cmd.CommandPath(), wait))
}

// reach gives a target its token and a command the time to talk to it.
func (a *access) reach(cmd *cobra.Command, t *commit.Target) (context.Context, context.CancelFunc, error) {
	ctx, cancel := within(cmd, a.wait)
	t.Credential.Token = os.Getenv(tokenVariable)
	if a.app == (github.App{}) {
		return ctx, cancel, nil
	}
	a.app.Key = os.Getenv(keyVariable)
	var err error
	if t.Credential.Token, err = github.Token(ctx, github.Target{Remote: t.Remote, API: a.api, App: a.app}); err != nil {
		cancel()
	}
	return ctx, cancel, err
}
