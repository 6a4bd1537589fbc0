// Command attest lists what an image is made of, signs statements on it, keeps them beside it in its registry, and
// verifies what is there. It is a program of its own beside gitops, see ../../README.md. Data goes to standard output as
// JSON, status to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
)

func main() { os.Exit(run()) }

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitInterrupted = 130
)

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "attest: %s\n", oneLine(err))
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "attest: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(os.Stderr, "attest: %s\n", oneLine(err))
	if refused(err) {
		return exitRefused
	}
	return exitFailed
}

// refused says of an error that what was looked at could be read, and is not signed as it has to be: the right one may
// sign it yet. Of what was tampered with that is not so.
func refused(err error) bool {
	return slices.ContainsFunc([]error{policy.ErrUnsigned, policy.ErrMissing, attest.ErrOtherKey, errUnmerged, provenance.ErrRevision, provenance.ErrSource, provenance.ErrBuilder, proof.ErrForgotten, proof.ErrNoRelease, proof.ErrNone},
		func(of error) bool { return errors.Is(err, of) })
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// usageError is a command line that is wrong, as opposed to a command that failed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "attest",
		Short: "Say what an image is, signed, beside it in its registry.",
		Long: `Say what an image is, signed, beside it in its registry, and verify what is said.

Results are JSON on standard output, status goes to standard error. A failure is one
sentence and exit code 1, a wrong command line exit code 2, what is not signed as it has to be exit code 3.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q; see attest --help", args[0])}
			}
			return nil
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return refuseEmpty(cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(newImage(), newScan(), newVerifyRelease(), newSign(), newVerify(), newProof(), newGenerateKeyPair(), newPublicKey(), newSigner())
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	return root
}

// refuseEmpty refuses a flag that is given but empty, as of a variable that is not set: taken for not given, it would sign
// nothing, or accept anything.
func refuseEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			err = usageError{fmt.Errorf("--%s is given but empty: give it a value, or leave it out; see %s --help", f.Name, cmd.CommandPath())}
		}
	})
	return err
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

// noArgs wants no positional argument.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
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
