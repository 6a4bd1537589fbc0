package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

// attestProgram is the program that signs and verifies, beside this one: what it links would double what every other
// command is compiled from.
const attestProgram = "attest"

// newAttest is a command of that program.
func newAttest(name, short string) *cobra.Command {
	return &cobra.Command{
		Use:                name,
		Short:              short,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := exec.LookPath(attestProgram)
			if err != nil {
				return fmt.Errorf("%s wants the program %s beside gitops: build it by go build -C ci/attest -o FOLDER ./cmd/attest", cmd.CommandPath(), attestProgram)
			}
			run := exec.CommandContext(cmd.Context(), path, append([]string{name}, args...)...)
			run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
			run.Stdin, run.Stdout, run.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			err = run.Run()
			var ended *exec.ExitError
			if errors.As(err, &ended) && ended.Exited() {
				return exitError{ended.ExitCode()}
			}
			return err
		},
	}
}

// exitError is the exit code of a program that has said itself why.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }
