package main

import (
	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/source"
)

func newSource() *cobra.Command {
	var (
		repo string
		o    source.Options
	)
	cmd := &cobra.Command{
		Use:   "source",
		Short: "Read from a checkout what a release of its HEAD is made of.",
		Long: `Read from a checkout what a release of its HEAD is made of: the commit, the last commit that
changed the image's inputs, and the tag.

The tag is --tag, or a version tag of Git on the inputs (v1.2.3 gives 1.2.3), or the branch and
the commit of the inputs (main-0123456789ab), or pr-7 with --pull-request 7. "tags" are all that the
image is to have, that one first: a version, but no pre-release, also has 1.2, 1 and latest unless a
newer one of that line is tagged, and an image of main has sha-0123456789ab and main.

Refused are a folder that is no checkout, one without a commit, uncommitted changes, a folder
without a Backstage app, a chart that cannot be bumped, and an invalid tag.`,
		Example: `  gitops source --repo .
  gitops source --repo . --input backstage --input ci/slim --tag 1.4.0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			facts, err := source.Read(cmd.Context(), repo, o)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), facts)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "the checkout")
	cmd.Flags().StringVar(&o.App, "app", "backstage", "the Backstage app's folder in the checkout")
	cmd.Flags().StringVar(&o.AppRepo, "app-repo", "", "the checkout that app and inputs are in (default --repo)")
	cmd.Flags().StringVar(&o.Chart, "chart", "charts/backstage", "the Helm chart's folder in the checkout")
	cmd.Flags().StringArrayVar(&o.Inputs, "input", nil, "a path the image is built from, repeatable (default the app)")
	cmd.Flags().StringVar(&o.Tag, "tag", "", "the image's tag (default derived)")
	cmd.Flags().StringVar(&o.Branch, "branch", "", "the branch to name in a derived tag where HEAD is detached, as on CI")
	cmd.Flags().IntVar(&o.PullRequest, "pull-request", 0, "tag the image of a pull request with its number")
	return cmd
}
