// Command gitops is the one helper program of the toolchain: its subcommands run inside of the containers of a
// release and on a GitHub runner. Data goes to standard output as JSON, status to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

func main() { os.Exit(run()) }

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	// 3 is that of the program attest, for what is not signed as it has to be.
	exitMoved       = 4
	exitInterrupted = 130
)

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var usage usageError
	var ended exitError
	switch {
	case errors.As(err, &ended):
		return ended.code
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "gitops: %s\n", oneLine(err))
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "gitops: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(os.Stderr, "gitops: %s\n", oneLine(err))
	// The same command cannot succeed, another proof first can.
	if errors.Is(err, commit.ErrNotVerified) {
		return exitMoved
	}
	return exitFailed
}

func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// usageError is a command line that is wrong, as opposed to a command that failed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	var verbose bool
	root := &cobra.Command{
		Use:   "gitops",
		Short: "Release Backstage images through Git.",
		Long: `Release Backstage images through Git.

Each subcommand is one step of a release and can be tried alone:

  source → seed → preflight → (build and publish the image) → push → report

revert takes the last release back.

Results are JSON on standard output, status goes to standard error. A failure is one
sentence and exit code 1, a wrong command line exit code 2. Exit code 4 says that the
remote branch has moved since --candidate was verified: verify a new one and push that.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q; see gitops --help", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			slog.SetDefault(slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})))
		},
	}
	root.PersistentFlags().BoolVarP(&verbose, "verbose", "v", false, "say more on standard error")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(
		newSource(),
		newBump(),
		newPreflight(),
		newCommit(),
		newPropose(),
		newPush(),
		newRevert(),
		newReverted(),
		newGitHub(),
		newSeed(),
		newServeGit(),
		newServeKey(),
		newImage(),
		newReport(),
		newActions(),
		newBench(),
		newChart(),
		newCluster(),
		newManifests(),
		newArgoCD(),
		newProve(),
		newEvidence(),
		newFaults(),
		newFeatures(),
		newDeploy(),
		newPromote(),
		newDiff(),
		newAttest("proof", "Tie a release together in one signed document, and check such a document offline."),
		newAttest("verify-release", "Refuse an image that is not signed, not listed, or not of the right origin."),
	)
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	return root
}

// noArgs refuses positional arguments as a wrong command line.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s takes no argument %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
}

// oneArg wants exactly one positional argument.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] != "" {
			return nil
		}
		return usageError{fmt.Errorf("%s wants one %s; see %s --help", cmd.CommandPath(), name, cmd.CommandPath())}
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q in %s; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// required marks flags, and says which are missing as a wrong command line.
func required(cmd *cobra.Command, names ...string) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range names {
			if f := cmd.Flags().Lookup(name); missing(f) {
				return usageError{fmt.Errorf("%s wants --%s (%s); see %s --help", cmd.CommandPath(), name, f.Usage, cmd.CommandPath())}
			}
		}
		return nil
	}
}

// missing says that a flag was not given, or given without a value: a number of 0 and an empty list are none.
func missing(f *pflag.Flag) bool {
	return slices.Contains([]string{"", "0", "[]"}, f.Value.String()) && (f.Value.Type() != "string" || f.Value.String() == "")
}

// exclusive refuses flags that are given together as a wrong command line.
func exclusive(cmd *cobra.Command, names ...string) {
	also(cmd, func() error {
		var given []string
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if len(given) > 1 {
			return fmt.Errorf("%s takes one of %s; see %s --help", cmd.CommandPath(), strings.Join(given, " and "), cmd.CommandPath())
		}
		return nil
	})
}

// printJSON writes a result.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
