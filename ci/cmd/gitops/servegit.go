package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/gitserver"
)

func newServeGit() *cobra.Command {
	var (
		listen string
		c      gitserver.Config
	)
	cmd := &cobra.Command{
		Use:   "serve-git",
		Short: "Serve Git repositories over smart HTTP, with pushes allowed.",
		Long: `Serve the bare repositories of a folder over smart HTTP (git http-backend), with pushes allowed.
Where ` + tokenVariable + ` is set, every request must bring it as the password.
` + gitserver.HealthPath + ` answers while the server runs. SIGTERM and SIGINT stop it once the requests under way are done.`,
		Example: `  gitops serve-git --root /srv/git --create backstage-gitops.git --listen :8080
  git clone http://localhost:8080/backstage-gitops.git`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Token = os.Getenv(tokenVariable)
			h, err := gitserver.New(cmd.Context(), c)
			if err != nil {
				return err
			}
			l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("serve Git: %w", err)
			}
			slog.Info("serving Git", "root", c.Root, "address", l.Addr().String())
			if err := gitserver.Serve(cmd.Context(), l, h); err != nil {
				return fmt.Errorf("serve Git: %w", err)
			}
			slog.Info("stopped")
			return nil
		},
	}
	cmd.Flags().StringVar(&c.Root, "root", "", "the folder of the repositories")
	cmd.Flags().StringArrayVar(&c.Create, "create", nil, "make this bare repository where it is missing, NAME.git, repeatable")
	cmd.Flags().StringVar(&c.Branch, "branch", "main", "the first branch of a repository that is made")
	cmd.Flags().StringVar(&listen, "listen", ":8080", "the address to listen on")
	required(cmd, "root", "listen")
	return cmd
}
