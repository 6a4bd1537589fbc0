package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

func newReport() *cobra.Command {
	var facts, jsonFile, markdownFile string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write a release's report from what its steps printed.",
		Long: `Write a release's report as JSON and Markdown from what its steps printed: an object with
"source" (the output of gitops source), "image" (name, tag, and the output of gitops image inspect),
"attestation" and "verification" (the outputs of attest image and attest verify-release), "scan" (that of attest scan),
"commit" (the output of gitops push or gitops github push), "tags" (that of gitops image tag), "reason" and "timings"
([{"step", "seconds"}]), each left out where the step did not run. The outcome is released, nothing-to-release, published-not-committed
or failed; it follows from the facts unless "outcome" says it. A commit that waits in a pull request
is proposed.

The values of ` + tokenVariable + `, ` + passwordVariable + ` and ` + keyVariable + ` are taken out of every text.`,
		Example: `  gitops report --facts facts.json --json report.json --markdown report.md`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin(), facts)
			if err != nil {
				return fmt.Errorf("read the facts: %w", err)
			}
			var f report.Facts
			if err := json.Unmarshal(in, &f); err != nil {
				return fmt.Errorf("%w: %w", report.ErrFacts, err)
			}
			d, err := report.New(f, secrets()...)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := printJSON(&text, d); err != nil {
				return err
			}
			if err := writeOutput(jsonFile, text.Bytes()); err != nil {
				return err
			}
			if err := writeOutput(markdownFile, d.Markdown()); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text.Bytes())
			return err
		},
	}
	cmd.AddCommand(newReportRollback(), newReportResult())
	cmd.Flags().StringVar(&facts, "facts", "-", "the file with the facts, - for standard input")
	cmd.Flags().StringVar(&jsonFile, "json", "", "write the report here as JSON as well")
	cmd.Flags().StringVar(&markdownFile, "markdown", "", "write the report here as Markdown")
	return cmd
}

func newReportRollback() *cobra.Command {
	var facts string
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Write a rollback's report from what its steps printed.",
		Long: `Write a rollback's report as Markdown from what its steps printed: an object with "image" (its name), "revert"
(the output of gitops revert), "tags" (that of gitops image retag, left out where no tag was to be given back),
"finished" (the revert is that of an earlier rollback) and "verified" (a section on the image's signature).

The values of ` + tokenVariable + `, ` + passwordVariable + ` and ` + keyVariable + ` are taken out of it.`,
		Example: `  gitops report rollback --facts facts.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin(), facts)
			if err != nil {
				return fmt.Errorf("read the facts: %w", err)
			}
			var f report.Rollback
			if err := json.Unmarshal(in, &f); err != nil {
				return fmt.Errorf("%w: %w", report.ErrFacts, err)
			}
			text, err := f.Markdown(secrets()...)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&facts, "facts", "-", "the file with the facts, - for standard input")
	return cmd
}

func newReportResult() *cobra.Command {
	var facts, jsonFile, markdownFile string
	cmd := &cobra.Command{
		Use:   "result",
		Short: "Write how another call than a release went, as JSON and Markdown.",
		Long: `Write how a rollback or another call went, as gitops actions result takes it: an object with "title", "failure",
"summary" and "outputs".

The values of ` + tokenVariable + `, ` + passwordVariable + ` and ` + keyVariable + ` are taken out of every text.`,
		Example: `  gitops report result --facts facts.json --json result.json --markdown report.md`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := readResult(cmd, facts, "facts")
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := printJSON(&text, r); err != nil {
				return err
			}
			if err := writeOutput(jsonFile, text.Bytes()); err != nil {
				return err
			}
			if err := writeOutput(markdownFile, []byte(r.Markdown())); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text.Bytes())
			return err
		},
	}
	cmd.Flags().StringVar(&facts, "facts", "-", "the file with the facts, - for standard input")
	cmd.Flags().StringVar(&jsonFile, "json", "", "write the result here as JSON as well")
	cmd.Flags().StringVar(&markdownFile, "markdown", "", "write the report here as Markdown")
	return cmd
}

// secrets are what no text may show.
func secrets() []string {
	return []string{os.Getenv(tokenVariable), os.Getenv(passwordVariable), os.Getenv(keyVariable)}
}

func readInput(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

func writeOutput(file string, text []byte) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
