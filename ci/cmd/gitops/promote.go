package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/environments"
)

func newPromote() *cobra.Command {
	var (
		repo, running string
		p             environments.Promotion
	)
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Have an environment run what the one before it runs.",
		Long: `Have an environment run what the one before it runs: image.tag and image.digest of its values, in the
checkout. Every other byte stays. The order is that of charts/gitops; none is skipped.

An image that Argo CD did not see run well in the first environment is refused, --running is what
gitops argocd sync said of it. So is one that is older than the one it would replace, by their
versions or by the releases in the checkout's history.`,
		Example: `  gitops argocd sync --kubeconfig kubeconfig --name backstage-dev --revision "$(git rev-parse HEAD)" > dev.json
  gitops promote --repo . --from dev --to staging --running dev.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checkout, err := environments.Read(repo)
			if err != nil {
				return err
			}
			if running != "" {
				if p.Running, err = os.ReadFile(running); err != nil {
					return fmt.Errorf("--running: %w", err)
				}
			}
			if !p.AllowDowngrade {
				if p.History, err = checkout.History(cmd.Context()); err != nil {
					return err
				}
			}
			promoted, err := checkout.Promote(p)
			if err != nil {
				return err
			}
			if promoted.Nothing {
				slog.Info("nothing to promote: the environment names this image already", "environment", p.To)
			}
			return printJSON(cmd.OutOrStdout(), promoted)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "the checkout")
	cmd.Flags().StringVar(&p.From, "from", "", "the environment that runs the image")
	cmd.Flags().StringVar(&p.To, "to", "", "the environment that is to run it, the next one")
	cmd.Flags().StringVar(&running, "running", "", "the result of gitops argocd sync for the first one")
	cmd.Flags().BoolVar(&p.AllowUnproven, "allow-unproven", false, "take an image without --running")
	cmd.Flags().BoolVar(&p.AllowDowngrade, "allow-downgrade", false, "take an image that is older than the one it replaces")
	required(cmd, "repo", "from", "to")
	return cmd
}

func newDiff() *cobra.Command {
	var before, after, format string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show what a change renders differently in each environment.",
		Long: `Show what a change renders differently in each environment of charts/gitops: both checkouts are rendered
with Helm, as Argo CD would, without a cluster. The Markdown is for a pull request's comment.`,
		Example: `  git worktree add ../main origin/main && gitops diff --before ../main --after .`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "markdown" && format != "json" {
				return usageError{fmt.Errorf("--format is markdown or json, not %q; see %s --help", format, cmd.CommandPath())}
			}
			old, err := environments.Read(before)
			if err != nil {
				return err
			}
			next, err := environments.Read(after)
			if err != nil {
				return err
			}
			differences, err := environments.Diff(cmd.Context(), old, next)
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), differences)
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), environments.Markdown(differences)); err != nil {
				return fmt.Errorf("write the result: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&before, "before", "", "the checkout without the change")
	cmd.Flags().StringVar(&after, "after", ".", "the checkout with the change")
	cmd.Flags().StringVar(&format, "format", "markdown", "markdown or json")
	required(cmd, "before", "after")
	return cmd
}
