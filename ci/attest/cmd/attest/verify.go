package main

import (
	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
)

func newVerifyRelease() *cobra.Command {
	var (
		at location
		of trust
		p  policy.Policy
	)
	cmd := &cobra.Command{
		Use:   "verify-release REF",
		Short: "Refuse an image that is not signed, not listed, or not of the right origin.",
		Long: `Read an image and what is attached to it, and refuse it unless the one whose signature it has to be has
signed the image, its provenance and its SBOMs, and the provenance names the right source repository, commit
and builder. Without --revision the commit is that of the image's own label; what else is not given may be anything.
With --layers=false the content of layers is not read: whoever pulls them compares it with what is signed.

The signed proofs of releases beside it are checked as well, as proof verify does offline, and that what they name is
beside the image; the result has the verdict on each. An image has none until its commit is pushed: --require-proof
refuses one without the proof of a release that a cluster ran.

Refused by name: an image that is unsigned, signed by another key, or tampered with; an attestation that is
tampered with, on another image, or missing; a provenance of another repository, commit or builder.`,
		Example: `  attest verify-release docker.io/user/backstage-gitops@sha256:… --key cosign.pub --repository https://github.com/user/repo`,
		Args:    oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := of.verifier(cmd.Context())
			if err != nil {
				return err
			}
			i, err := at.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			verified, err := p.Verify(cmd.Context(), i, v)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), verified)
		},
	}
	at.flags(cmd)
	of.flags(cmd)
	originFlags(cmd, &p.Origin)
	cmd.Flags().BoolVar(&p.Proof, "require-proof", false, "refuse an image without the signed proof of a release that a cluster ran")
	cmd.Flags().BoolVar(&p.Layers, "layers", true, "read the image's layers, and compare them with their digests")
	return cmd
}
