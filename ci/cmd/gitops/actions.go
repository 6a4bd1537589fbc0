package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/actions"
	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

func newActions() *cobra.Command {
	return group("actions", "Tell GitHub Actions how a release went.", newActionsReport())
}

func newActionsReport() *cobra.Command {
	var file, repo string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write a report as outputs, summary and annotation of a GitHub Actions job.",
		Long: `Write a report, as gitops report --json wrote it, for the job of GitHub Actions that this runs in: the
outputs image, digest, tag, commit and released, the Markdown as the job's summary, an annotation of
the file and line that is at fault where the reason names one, and the report in a group of the
log. The values of ` + tokenVariable + `, ` + passwordVariable + ` and ` + keyVariable + ` are masked.

Anywhere else the Markdown is printed.`,
		Example: `  gitops actions report --report report.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin(), file)
			if err != nil {
				return fmt.Errorf("read the report: %w", err)
			}
			var d report.Document
			if err := json.Unmarshal(in, &d); err != nil {
				return fmt.Errorf("%s is no report: %w", file, err)
			}
			if d.SchemaVersion != report.SchemaVersion || d.Outcome == "" {
				return fmt.Errorf("%s is no report of version %d; make it with gitops report --json", file, report.SchemaVersion)
			}
			return actions.Job{Log: cmd.OutOrStdout(), Getenv: os.Getenv, Checkout: os.DirFS(repo), Secrets: secrets()}.Report(d)
		},
	}
	cmd.Flags().StringVar(&file, "report", "-", "the report's JSON, - for standard input")
	cmd.Flags().StringVar(&repo, "repo", ".", "the checkout, whose files may be annotated")
	return cmd
}
