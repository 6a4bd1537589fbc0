package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

func newRevert() *cobra.Command {
	var (
		repo, to string
		rb       commit.Rollback
		t        commit.Target
		with     access
	)
	cmd := &cobra.Command{
		Use:   "revert",
		Short: "Take the last release of a chart back.",
		Long: `Take the last release of a chart back: on top of the remote's branch, a commit that has the chart
name the image that it named before. Commits that came after the release stay; the chart's version
goes on. Twice is one release further back. Where somebody else pushes in between the commit is
made again, a bounded number of times, unless another release is the last one then.

With --to the commit is pushed to the same branch of that repository instead, to be verified there.
--candidate and --release push what was verified and nothing else: "commit" and "reverted.commit"
of what --to printed.

The token of an http remote is read from ` + tokenVariable + `, or, with --app-id and --installation-id,
the private key of a GitHub App from ` + keyVariable + `. The checkout is only read.`,
		Example: `  gitops revert --repo . --remote https://github.com/owner/repository.git --to http://git:8080/proof.git
  gitops revert --repo . --remote https://github.com/owner/repository.git --candidate SHA --release SHA`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to != "" && t.Candidate != "" {
				return usageError{fmt.Errorf("%s takes --to or --candidate, not both; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
			}
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			if to != "" {
				proposed, err := commit.ProposeRevert(ctx, repo, rb, t, to)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), proposed)
			}
			reverted, err := commit.Revert(ctx, repo, rb, t)
			if err != nil {
				return err
			}
			slog.Info("reverted", "release", reverted.Reverted.Tag, "to", reverted.Restored.Tag, "commit", reverted.SHA, "branch", t.Branch, "remote", t.Remote, "attempts", reverted.Attempts)
			return printJSON(cmd.OutOrStdout(), reverted)
		},
	}
	rollbackFlags(cmd, &repo, &rb)
	targetFlags(cmd, &t, &with)
	cmd.Flags().StringVar(&to, "to", "", "the repository to push the commit to instead, without a credential")
	cmd.Flags().IntVar(&t.Attempts, "attempts", commit.DefaultAttempts, "how often to try while others push as well")
	cmd.Flags().StringVar(&t.Candidate, "candidate", "", "push this commit, made with --to, and no other")
	required(cmd, "remote", "branch")
	return cmd
}

// rollbackFlags say what is to be taken back.
func rollbackFlags(cmd *cobra.Command, repo *string, rb *commit.Rollback) {
	cmd.Flags().StringVar(repo, "repo", ".", "the checkout")
	cmd.Flags().StringVar(&rb.Chart, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&rb.Image, "image", "", "the image's name without tag, for the commit's message (default image.repository of the chart)")
	cmd.Flags().StringVar(&rb.Release, "release", "", "revert this release commit and no other (default the last)")
}

func newReverted() *cobra.Command {
	var (
		repo string
		rb   commit.Rollback
		t    commit.Target
		with access
	)
	cmd := &cobra.Command{
		Use:   "reverted",
		Short: "Tell which release was taken back last, where nothing was released since.",
		Long: `Tell which release revert has taken back last, where the remote's branch still names the image that it went
back to: nothing was released since, and the chart was not edited. Otherwise the result is null. Nothing is written.

The token of an http remote is read from ` + tokenVariable + `, or, with --app-id and --installation-id,
the private key of a GitHub App from ` + keyVariable + `.`,
		Example: `  gitops reverted --repo . --remote https://github.com/owner/repository.git`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			found, err := commit.LastRevert(ctx, repo, rb, t)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), found)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "the checkout")
	cmd.Flags().StringVar(&rb.Chart, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&rb.Image, "image", "", "the image's name without tag")
	targetFlags(cmd, &t, &with)
	required(cmd, "remote", "branch")
	return cmd
}
