package main

import (
	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
)

// signed is the result of attest sign and attest verify.
type signed struct {
	Ref string `json:"ref"`
	// Signed says whether anything signs it; SignedBy is the key or the identity.
	Signed   bool              `json:"signed"`
	SignedBy string            `json:"signedBy,omitempty"`
	Attached []attest.Attached `json:"attached,omitempty"`
}

func newSign() *cobra.Command {
	var (
		at location
		by signing
	)
	cmd := &cobra.Command{
		Use:   "sign REF",
		Short: "Sign a chart, or whatever else a registry holds that is no image.",
		Long: `Sign what a registry holds under a digest, and attach the signature to it, as attest image does for an
image. What signs is the same; without anything that does the result says so. A second call changes nothing.`,
		Example: `  attest sign docker.io/user/backstage@sha256:…`,
		Args:    oneArg("reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := by.signer(cmd.Context())
			if err != nil {
				return err
			}
			i, err := at.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			result := signed{Ref: i.Ref()}
			if s != nil {
				result.Signed, result.SignedBy = true, s.Verifier.Signer()
				if result.Attached, err = i.Attach(cmd.Context(), s, i.Statement(attest.Signature, []byte("{}"))); err != nil {
					return err
				}
			}
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	at.flags(cmd)
	by.flags(cmd)
	return cmd
}

func newVerify() *cobra.Command {
	var (
		at location
		of trust
	)
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Refuse a chart, or whatever else attest sign signs, without the right signature.",
		Long: `Read what a registry holds under a digest, and refuse it unless the one whose signature it has to be has
signed it. For an image verify-release asks for more.`,
		Example: `  attest verify docker.io/user/backstage@sha256:… --key cosign.pub`,
		Args:    oneArg("reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := of.verifier(cmd.Context())
			if err != nil {
				return err
			}
			i, err := at.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			found, err := policy.Signed(cmd.Context(), i, v)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), signed{Ref: i.Ref(), Signed: true, SignedBy: v.Signer(), Attached: []attest.Attached{*found}})
		},
	}
	at.flags(cmd)
	of.flags(cmd)
	return cmd
}
