package main

import (
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/keyserver"
)

func newServeKey() *cobra.Command {
	var dir, listen string
	cmd := &cobra.Command{
		Use:   "serve-key",
		Short: "Keep a signing key, and sign digests with it.",
		Long: `Keep a signing key in a folder, made where there is none, and sign digests with it over HTTP: what
signs releases to the embedded registry. ` + keyserver.PublicKeyPath + ` is its public key, ` + keyserver.SignPath + ` takes a SHA-256 digest and answers with
its signature. Whoever reaches the address may sign: keep it inside the session. ` + keyserver.HealthPath + ` answers
while it runs. SIGTERM and SIGINT stop it.`,
		Example: `  gitops serve-key --dir /srv/key --listen :8200`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := keyserver.New(dir)
			if err != nil {
				return err
			}
			l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("serve the key: %w", err)
			}
			slog.Info("serving a signing key", "address", l.Addr().String())
			if err := keyserver.Serve(cmd.Context(), l, h); err != nil {
				return fmt.Errorf("serve the key: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the folder of the key")
	cmd.Flags().StringVar(&listen, "listen", ":8200", "the address to listen on")
	required(cmd, "dir", "listen")
	return cmd
}
