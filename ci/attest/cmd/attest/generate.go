package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
)

func newGenerateKeyPair() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "generate-key-pair",
		Short: "Make a signing key and its public half, as cosign generate-key-pair does.",
		Long: `Make a signing key, encrypted with the password in ` + keyPasswordVariable + `, and its public half: PREFIX.key and PREFIX.pub, as
cosign generate-key-pair does. A file that is there is not overwritten.`,
		Example: `  attest generate-key-pair --output-key-prefix cosign`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password := os.Getenv(keyPasswordVariable)
			if password == "" {
				return fmt.Errorf("set %s to the password that is to encrypt the key", keyPasswordVariable)
			}
			private, public, err := attest.GenerateKey([]byte(password))
			if err != nil {
				return err
			}
			for _, file := range []struct {
				name string
				text []byte
				mode os.FileMode
			}{{prefix + ".key", private, 0o600}, {prefix + ".pub", public, 0o644}} {
				if err := writeNew(file.name, file.text, file.mode); err != nil {
					return err
				}
			}
			return printJSON(cmd.OutOrStdout(), map[string]string{"privateKey": prefix + ".key", "publicKey": prefix + ".pub"})
		},
	}
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "cosign", "what the files are called, without .key and .pub")
	return cmd
}

// writeNew writes a file that is not there yet.
func writeNew(name string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Close()
}
