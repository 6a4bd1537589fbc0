// Command airgap builds and runs what ./daggerw needs on a machine that reaches
// no container registry. People call ./daggerw; this is for looking inside and
// for removing it all.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/airgap"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "airgap: interrupted; what is built stays, the same command continues")
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "airgap:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	var a airgap.Airgap
	cmd := &cobra.Command{
		Use:   "airgap",
		Short: "Supply Dagger to a machine that reaches no container registry",
		Long: `Builds the Dagger CLI, its engine and the base images from Go modules, Debian
packages and npm packages, and runs the engine under runc with a mirror that
serves the images under their official names. ./daggerw calls it where it is
needed; everything is kept in one cache directory.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.Progress = cmd.ErrOrStderr()
			var err error
			if a.Cache == "" {
				if a.Cache, err = airgap.DefaultCache(); err != nil {
					return err
				}
			}
			if a.Root == "" {
				out, err := exec.CommandContext(cmd.Context(), "git", "rev-parse", "--show-toplevel").Output()
				if err != nil {
					return errors.New("not in a checkout of this repository: name it with --root")
				}
				a.Root = strings.TrimSpace(string(out))
			}
			return nil
		},
	}
	cmd.PersistentFlags().StringVar(&a.Cache, "cache", "", "folder that holds everything (default: backstage-gitops/airgap in the user's cache directory)")
	cmd.PersistentFlags().StringVar(&a.Root, "root", "", "checkout of this repository (default: the one around the working directory)")
	cmd.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Build what is missing and start the engine", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.Up(cmd.Context()) },
		},
		&cobra.Command{
			Use: "stop", Short: "Stop the engine and keep what was built", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.Stop(cmd.Context()) },
		},
		&cobra.Command{
			Use: "down", Short: "Stop everything and remove every file it made", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.Down(cmd.Context()) },
		},
		&cobra.Command{
			Use: "pins", Short: "Print what the supply is made of, in which version and why", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return airgap.WritePins(cmd.OutOrStdout()) },
		},
	)
	return cmd
}
