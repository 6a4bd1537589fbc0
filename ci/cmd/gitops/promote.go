package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/environments"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

func newPromote() *cobra.Command {
	var (
		repo, branch, running string
		asked                 argocd
		p                     environments.Promotion
	)
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Have an environment run what the one before it runs.",
		Long: `Have an environment run what the one before it runs: image.tag and image.digest of its values, in the
checkout. Every other byte stays. The order is that of charts/gitops; none is skipped.

An image that Argo CD did not see run well in the first environment is refused, --running is what
gitops argocd sync said of it; with --kubeconfig the cluster is read here, and nothing in it is
changed: one that may only get, list and watch is enough. Refused as well is an image that is older
than the one it would replace, by their versions or by the releases in the checkout's history. An
environment that is deployed from another revision than --branch is not promoted to: it does not
read what is written to that branch.`,
		Example: `  gitops argocd sync --kubeconfig kubeconfig --name backstage-dev --revision "$(git rev-parse HEAD)" > dev.json
  gitops promote --repo . --from dev --to staging --running dev.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checkout, err := environments.Read(repo)
			if err != nil {
				return err
			}
			if branch != "" {
				checkout.Branch = branch
			}
			switch {
			case running != "" && asked.kubeconfig != "":
				return usageError{fmt.Errorf("%s takes --running or --kubeconfig, not both; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
			case asked.kubeconfig != "":
				if p.Running, err = asked.status(cmd.Context(), checkout, p.From); err != nil {
					return err
				}
			case running != "":
				if p.Running, err = os.ReadFile(running); err != nil {
					return fmt.Errorf("--running: %w", err)
				}
			}
			if !p.AllowDowngrade {
				if p.History, err = checkout.History(cmd.Context()); err != nil {
					return err
				}
			}
			promoted, err := checkout.Promote(cmd.Context(), p)
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
	cmd.Flags().StringVar(&branch, "branch", "", "the branch that the checkout is of (default source.revision of charts/gitops)")
	cmd.Flags().StringVar(&asked.kubeconfig, "kubeconfig", "", "the kubeconfig of Argo CD's cluster, to read there what --running would say; read access is enough")
	cmd.Flags().StringVar(&asked.namespace, "argocd-namespace", sync.DefaultNamespace, "Argo CD's namespace")
	cmd.Flags().DurationVar(&asked.timeout, "timeout", pollTimeout, "how long Argo CD may take to be at the checkout's commit")
	cmd.Flags().BoolVar(&p.AllowUnproven, "allow-unproven", false, "take an image without --running or --kubeconfig")
	cmd.Flags().BoolVar(&p.AllowDowngrade, "allow-downgrade", false, "take an image that is older than the one it replaces")
	required(cmd, "repo", "from", "to")
	return cmd
}

// pollTimeout leaves Argo CD the time to look at Git by itself, every three minutes at the latest unless it is told to look
// less often.
const pollTimeout = 5 * time.Minute

// argocd is whom to ask what an environment runs.
type argocd struct {
	kubeconfig, namespace string
	timeout               time.Duration
}

// status is what argocd sync says of an environment's Application, at the commit that it is deployed from. It only reads:
// the cluster serves people, and whether it syncs is not for a promotion to decide.
func (a argocd) status(ctx context.Context, c *environments.Checkout, name string) ([]byte, error) {
	revision, err := c.Commit(ctx, name)
	if err != nil {
		return nil, err
	}
	w := sync.Wait{Name: c.Application(name), Namespace: a.namespace, Want: sync.Want{Revision: revision}, Timeout: a.timeout, ReadOnly: true}
	if err := w.Validate(); err != nil {
		return nil, err
	}
	client, err := kube.Connect(a.kubeconfig)
	if err != nil {
		return nil, err
	}
	result, err := w.Until(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", environments.ErrUnproven, name, err)
	}
	return json.Marshal(result)
}

func newDiff() *cobra.Command {
	var before, after, branch, format string
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
			old.Of(branch)
			next.Of(branch)
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
	cmd.Flags().StringVar(&branch, "branch", "", "the branch that the change is for (default source.revision of charts/gitops)")
	cmd.Flags().StringVar(&format, "format", "markdown", "markdown or json")
	required(cmd, "before", "after")
	return cmd
}
