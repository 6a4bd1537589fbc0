package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newPublicKey() *cobra.Command {
	var by signing
	var out string
	cmd := &cobra.Command{
		Use:   "public-key",
		Short: "Write the public half of a signing key.",
		Long: `Write the public half of a signing key, PEM: of the one in ` + keyVariable + `, or of --key-service. It is what
verify-release and cosign verify take as --key.`,
		Example: `  attest public-key --out cosign.pub`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := by.signer(cmd.Context())
			if err != nil {
				return err
			}
			if s == nil || s.Verifier.PublicKey == "" {
				return usageError{fmt.Errorf("%s wants a key: set %s, or give --key-service", cmd.CommandPath(), keyVariable)}
			}
			if err := os.WriteFile(out, []byte(s.Verifier.PublicKey), 0o644); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), map[string]string{"publicKey": out, "signedBy": s.Verifier.Signer()})
		},
	}
	by.flags(cmd)
	cmd.Flags().StringVar(&out, "out", "cosign.pub", "the file to write")
	return cmd
}
