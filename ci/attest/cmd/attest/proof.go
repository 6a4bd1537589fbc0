package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

func newProof() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proof",
		Short: "Tie a release together in one signed document, and check such a document offline.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q in %s; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProofSign(), newProofVerify())
	return cmd
}

func newProofSign() *cobra.Command {
	var (
		by         signing
		chart, out string
	)
	cmd := &cobra.Command{
		Use:   "sign FACTS",
		Short: "Sign one document of what a release did.",
		Long: `Sign one document of what a release did: source commit, image digest, the digests of what is attached to it, bump
commit, the revision that Argo CD ran, and the image IDs of the running containers. FACTS are those of gitops report.
Facts that do not fit together are refused.

What signs: the key in ` + keyVariable + `, encrypted as cosign does with ` + keyPasswordVariable + `; or --key-service; or --keyless.`,
		Example: `  attest proof sign facts.json --out release.proof.json`,
		Args:    oneArg("file of facts"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			chain, err := proof.New(text, chart)
			if err != nil {
				return err
			}
			s, err := by.signer(cmd.Context())
			if err != nil {
				return err
			}
			if s == nil {
				return usageError{fmt.Errorf("%s wants something to sign with: set %s", cmd.CommandPath(), keyVariable)}
			}
			bundle, err := chain.Sign(cmd.Context(), s)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, bundle, 0o644); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), chain)
		},
	}
	by.flags(cmd)
	cmd.Flags().StringVar(&chart, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&out, "out", "release.proof.json", "the file to write")
	return cmd
}

func newProofVerify() *cobra.Command {
	var (
		of       trust
		repo     string
		unproven bool
	)
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a release's document offline.",
		Long: `Check a release's document: that the one whose signature it has to be has signed it, that nothing was changed since, and
that each link fits the next, from the source commit to the running containers. Neither registry nor cluster is asked.
With --repo the commits are compared with those of a clone.

Refused by name: a document that is tampered with or signed by another key; one of another image, another commit or
another pod than it says; one without SBOM or provenance; one that no cluster ran, unless --unproven; and a
repository that tells another story.`,
		Example: `  attest proof verify release.proof.json --key cosign.pub --repo .`,
		Args:    oneArg("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := of.verifier(cmd.Context())
			if err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			chain, err := proof.Verify(text, v, unproven)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if repo != "" {
				if err := chain.In(cmd.Context(), git.Open(repo)); err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
			}
			return printJSON(cmd.OutOrStdout(), chain)
		},
	}
	of.flags(cmd)
	cmd.Flags().StringVar(&repo, "repo", "", "a clone of the repository to compare with")
	cmd.Flags().BoolVar(&unproven, "unproven", false, "accept a release that no cluster ran")
	return cmd
}
