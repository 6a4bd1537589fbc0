package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
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
	cmd.AddCommand(newProofSign(), newProofFetch(), newProofVerify())
	return cmd
}

// sealed is the result of attest proof sign and attest proof fetch.
type sealed struct {
	// Digest is that of the document beside the image, empty where it is in the file alone; Kept says that it was there before.
	Digest string `json:"digest,omitempty"`
	Kept   bool   `json:"kept,omitempty"`
	// Verdict is one sentence on what the document is.
	Verdict  string `json:"verdict"`
	SignedBy string `json:"signedBy"`
	*proof.Chain
}

func newProofSign() *cobra.Command {
	var (
		at                  location
		by                  signing
		chart, out, attach  string
		candidate, unproven bool
	)
	cmd := &cobra.Command{
		Use:   "sign FACTS",
		Short: "Sign one document of what a release did.",
		Long: `Sign one document of what a release did: source commit, image digest, the digests of what is attached to it, bump
commit, the revision that Argo CD ran, and the image IDs of the running containers. FACTS are those of gitops report.
Facts that do not fit together are refused. Where the commit waits in a pull request the document says that it is of a
proposal; with --candidate, that nobody has pushed the commit yet.

With --attach it is put beside the image as well, and one that is there already of the same commit stays. What a release
needs to sign its document after it was interrupted is there then: what ran is taken from the document of the candidate,
which has the commit's tree and its parent. Where there is none it is refused, exit code 3; with --unproven the document
says that no cluster ran it.

What signs: the key in ` + keyVariable + `, encrypted as cosign does with ` + keyPasswordVariable + `; or --key-service; or --keyless.`,
		Example: `  attest proof sign facts.json --out release.proof.json
  attest proof sign facts.json --attach docker.io/user/backstage-gitops@sha256:…`,
		Args: oneArg("file of facts"),
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
			read := proof.New
			if candidate {
				read = proof.NewCandidate
			}
			chain, err := read(text, chart)
			if err != nil {
				return err
			}
			result := sealed{SignedBy: s.Verifier.Signer(), Chain: chain}
			var bundle []byte
			if attach == "" {
				bundle, err = chain.Sign(cmd.Context(), s)
			} else {
				bundle, err = result.attach(cmd.Context(), &at, attach, s, unproven)
			}
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, bundle, 0o644); err != nil {
				return err
			}
			result.Verdict = result.Chain.Verdict()
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	at.flags(cmd)
	by.flags(cmd)
	cmd.Flags().StringVar(&chart, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&out, "out", "release.proof.json", "the file to write")
	cmd.Flags().StringVar(&attach, "attach", "", "the image to put the document beside, NAME@sha256:…")
	cmd.Flags().BoolVar(&candidate, "candidate", false, "say that nobody has pushed the commit yet")
	cmd.Flags().BoolVar(&unproven, "unproven", false, "sign a release of which nothing says any more whether a cluster ran it")
	return cmd
}

// attach puts the document beside its image.
func (r *sealed) attach(ctx context.Context, at *location, ref string, s *attest.Signer, unproven bool) ([]byte, error) {
	i, err := at.open(ctx, ref)
	if err != nil {
		return nil, err
	}
	d, kept, err := r.Chain.Attach(ctx, i, s, unproven)
	if err != nil {
		return nil, err
	}
	r.Digest, r.Kept, r.Chain = d.Digest, kept, d.Chain
	return d.Text, nil
}

func newProofFetch() *cobra.Command {
	var (
		at          location
		of          trust
		out, commit string
		want        proof.Want
	)
	cmd := &cobra.Command{
		Use:   "fetch REF",
		Short: "Fetch the signed document of a release from beside its image.",
		Long: `Fetch the signed document of a release from beside its image, and write it to a file. It is checked as proof verify does,
and one that is not what it has to be is refused by name of what is wrong. Where documents of several commits are there,
as of releases to several branches, --commit says which.`,
		Example: `  attest proof fetch docker.io/user/backstage-gitops@sha256:… --key cosign.pub --out release.proof.json`,
		Args:    oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := want.Check(); err != nil {
				return usageError{err}
			}
			v, err := of.verifier(cmd.Context())
			if err != nil {
				return err
			}
			i, err := at.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			d, err := proof.Find(cmd.Context(), i, v, want, commit)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, d.Text, 0o644); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), sealed{Digest: d.Digest, Verdict: d.Verdict(), SignedBy: v.Signer(), Chain: d.Chain})
		},
	}
	at.flags(cmd)
	of.flags(cmd)
	wantFlags(cmd, &want)
	cmd.Flags().StringVar(&commit, "commit", "", "the commit that names the image, in full")
	cmd.Flags().StringVar(&out, "out", "release.proof.json", "the file to write")
	return cmd
}

// wantFlags are those on what a document may be.
func wantFlags(cmd *cobra.Command, want *proof.Want) {
	cmd.Flags().StringVar(&want.Revision, "revision", "", "the source commit that it has to be a release of, in full")
	cmd.Flags().BoolVar(&want.Unproven, "unproven", false, "accept a release that no cluster ran")
	cmd.Flags().BoolVar(&want.Proposed, "proposed", false, "accept a proposal, whose commit waits in a pull request")
	cmd.Flags().BoolVar(&want.Candidate, "candidate", false, "accept a candidate, whose commit nobody had pushed")
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
unless --unproven; one of a proposal, whose commit waits in a pull request, unless --proposed; one of a candidate, whose
commit nobody had pushed, unless --candidate; and a repository that tells another story.`,
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
			return printJSON(cmd.OutOrStdout(), sealed{Verdict: chain.Verdict(), SignedBy: v.Signer(), Chain: chain})
		},
	}
	of.flags(cmd)
	cmd.Flags().StringVar(&want.Image, "image", "", "the image that it has to be of, NAME@sha256:… or its digest alone")
	wantFlags(cmd, &want)
	cmd.Flags().StringVar(&repo, "repo", "", "a clone of the repository to compare with")
	return cmd
}
