// Command airgap builds and runs what ./daggerw needs on a machine that reaches
// no container registry. People call ./daggerw; this is for looking inside and
// for removing it all.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
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
				a.Cache, err = airgap.DefaultCache()
			} else {
				a.Cache, err = filepath.Abs(a.Cache)
			}
			return err
		},
	}
	cmd.PersistentFlags().StringVar(&a.Cache, "cache", "", "folder that holds everything (default: backstage-gitops/airgap in the user's cache directory)")
	up := &cobra.Command{
		Use: "up", Short: "Build what is missing and start the engine", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if a.Root, err = checkout(a.Root); err != nil {
				return err
			}
			return a.Up(cmd.Context())
		},
	}
	up.Flags().StringVar(&a.Root, "root", "", "checkout of this repository (default: the one around the working directory)")
	up.Flags().StringSliceVar(&a.Sets, "set", nil, "sets of images to have besides the core and those of earlier runs, such as cluster; a running engine gets them without a restart")
	cmd.AddCommand(
		up,
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

// checkout is the folder that holds this repository: the named one, or the one
// around the working directory. An unpacked archive is as good as a clone, so
// Git is not asked.
func checkout(named string) (string, error) {
	dir, err := filepath.Abs(named)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if info, err := os.Stat(filepath.Join(d, "ci/airgap/shims")); err == nil && info.IsDir() {
			return d, nil
		}
		if named != "" || d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is no checkout of this repository: name one with --root", dir)
		}
	}
}
