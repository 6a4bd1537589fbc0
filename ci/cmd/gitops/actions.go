package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/actions"
	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

func newActions() *cobra.Command {
	return group("actions", "Tell GitHub Actions how a release, or another call, went.", newActionsReport(), newActionsResult())
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

Anywhere else the Markdown is printed. Where the release failed, so does this.`,
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
			return told(d.Failure(), job(cmd, repo).Report(d))
		},
	}
	cmd.Flags().StringVar(&file, "report", "-", "the report's JSON, - for standard input")
	repoFlag(cmd, &repo)
	return cmd
}

func newActionsResult() *cobra.Command {
	var file, repo string
	cmd := &cobra.Command{
		Use:   "result",
		Short: "Write how another call than a release went as summary, outputs and annotation of a GitHub Actions job.",
		Long: `Write how a rollback, a promotion or a proof went for the job of GitHub Actions that this runs in, as report
does for a release: an object with "title" (what it was), "failure" (one sentence, empty where it succeeded), "summary"
(Markdown) and "outputs" (names and values). The values of ` + tokenVariable + `, ` + passwordVariable + ` and
` + keyVariable + ` are masked, and taken out of every text.

Anywhere else the Markdown is printed. Where the call failed, so does this.`,
		Example: `  gitops actions result --result result.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := readResult(cmd, file, "result")
			if err != nil {
				return err
			}
			return told(r.Failure, job(cmd, repo).Tell(r))
		},
	}
	cmd.Flags().StringVar(&file, "result", "-", "the result's JSON, - for standard input")
	repoFlag(cmd, &repo)
	return cmd
}

// readResult reads the result of a call, without the secrets in it. What is what the command calls the file.
func readResult(cmd *cobra.Command, file, what string) (r actions.Result, err error) {
	text, err := readInput(cmd.InOrStdin(), file)
	if err != nil {
		return r, fmt.Errorf("read the %s: %w", what, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s is no result: %w", file, err)
	}
	if r.Title == "" {
		return r, fmt.Errorf("%s is no result: it has no title; take result.json of the exported job folder", file)
	}
	return r.Redacted(secrets()...)
}

func repoFlag(cmd *cobra.Command, repo *string) {
	cmd.Flags().StringVar(repo, "repo", ".", "the checkout, whose files may be annotated")
}

// job is the one that this runs in.
func job(cmd *cobra.Command, repo string) actions.Job {
	return actions.Job{Log: cmd.OutOrStdout(), Getenv: os.Getenv, Checkout: os.DirFS(repo), Secrets: secrets()}
}

// told fails where what was told is a failure: nothing else makes the job fail.
func told(failure string, err error) error {
	if err == nil && failure != "" {
		err = errors.New(failure)
	}
	return err
}
