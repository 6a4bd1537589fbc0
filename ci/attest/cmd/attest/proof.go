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
Facts that do not fit together are refused. Where the commit waits in a pull request the document says that it is of a
proposal.

What signs: the key in ` + keyVariable + `, encrypted as cosign does with ` + keyPasswordVariable + `; or --key-service; or --keyless.`,
		Example: `  attest proof sign facts.json --out release.proof.json`,
		Args:    oneArg("file of facts"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := by.signer(cmd.Context())
			if err != nil {
				return err
			}
			if s == nil {
				return usageError{fmt.Errorf("%s wants something to sign with: set %s", cmd.CommandPath(), keyVariable)}
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			chain, err := proof.New(text, chart)
			if err != nil {
				return err
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
		of   trust
		repo string
		want proof.Want
	)
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a release's document offline.",
		Long: `Check a release's document: that the one whose signature it has to be has signed it, that nothing was changed since, and
that each link fits the next, from the source commit to the running containers. Neither registry nor cluster is asked,
and nothing else with --key, or with --identity and --trusted-root. With --repo the commits are compared with those of
a clone, and that of a release has to be on its branch there. The verdict says in a sentence what the document is.

Refused by name: a document that is tampered with or signed by another key; one of another image or source commit than
--image and --revision; one in which a link does not fit; one without SBOM or provenance; one that no cluster ran,
unless --unproven; one of a proposal, whose commit waits in a pull request, unless --proposed; and a repository that
tells another story.`,
		Example: `  attest proof verify release.proof.json --key cosign.pub --repo . --image docker.io/user/backstage-gitops@sha256:…
  attest proof verify release.proof.json --trusted-root trusted-root.json \
    --identity https://github.com/user/repo/.github/workflows/release.yml@refs/heads/main`,
		Args: oneArg("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := want.Check(); err != nil {
				return usageError{err}
			}
			v, err := of.verifier(cmd.Context())
			if err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			chain, err := proof.Verify(text, v, want)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if repo != "" {
				if err := chain.In(cmd.Context(), git.Open(repo)); err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
			}
			return printJSON(cmd.OutOrStdout(), verdict{chain.Verdict(), v.Signer(), chain})
		},
	}
	of.flags(cmd)
	cmd.Flags().StringVar(&want.Image, "image", "", "the image that it has to be of, NAME@sha256:… or its digest alone")
	cmd.Flags().StringVar(&want.Revision, "revision", "", "the source commit that it has to be a release of, in full")
	cmd.Flags().StringVar(&repo, "repo", "", "a clone of the repository to compare with")
	cmd.Flags().BoolVar(&want.Unproven, "unproven", false, "accept a release that no cluster ran")
	cmd.Flags().BoolVar(&want.Proposed, "proposed", false, "accept a proposal, whose commit waits in a pull request")
	return cmd
}

// verdict is the result of attest proof verify.
type verdict struct {
	// Verdict is one sentence on what the document is.
	Verdict  string `json:"verdict"`
	SignedBy string `json:"signedBy"`
	*proof.Chain
}
