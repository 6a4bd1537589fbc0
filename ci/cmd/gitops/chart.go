package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

func newChart() *cobra.Command {
	return group("chart", "Lint, render and package a Helm chart, without a cluster.",
		newChartLint(), newChartRender(), newChartPackage())
}

// linted is the result of gitops chart lint.
type linted struct {
	Findings []chart.Finding `json:"findings"`
}

func newChartLint() *cobra.Command {
	var (
		dir    string
		values []string
	)
	cmd := &cobra.Command{
		Use:   "lint",
		Short: "Look for mistakes in a chart.",
		Long: `Look for mistakes in a chart: those that helm lint --strict finds, calls of fail and required, values
that the schema refuses, fields that Kubernetes does not know, and objects rendered twice.

Every finding is printed. A warning or an error among them fails the command, an info does not.`,
		Example: `  gitops chart lint --chart charts/backstage --values charts/backstage/ci/ingress-values.yaml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := chart.Lint(cmd.Context(), dir, values...)
			if err != nil {
				return err
			}
			if err := printJSON(cmd.OutOrStdout(), linted{Findings: append([]chart.Finding{}, findings...)}); err != nil {
				return err
			}
			switch failed := chart.Failed(findings); len(failed) {
			case 0:
			case 1:
				return fmt.Errorf("chart %s: %s", dir, failed[0])
			default:
				return fmt.Errorf("chart %s has %d mistakes, the first: %s", dir, len(failed), failed[0])
			}
			slog.Info("no mistakes found", "chart", dir)
			return nil
		},
	}
	chartFlags(cmd, &dir, &values)
	return cmd
}

func newChartRender() *cobra.Command {
	var (
		dir     string
		values  []string
		release chart.Release
	)
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the objects that a chart would install.",
		Long: `Print the objects that a chart would install, as one stream of YAML documents in the order in which
Helm installs them, hooks last.`,
		Example: `  gitops chart render --chart charts/backstage --values my-values.yaml | kubectl diff -f -`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rendered, err := chart.Render(cmd.Context(), dir, release, values...)
			if err != nil {
				return fmt.Errorf("render %s: %w", dir, err)
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), rendered.String()); err != nil {
				return fmt.Errorf("write the result: %w", err)
			}
			return nil
		},
	}
	chartFlags(cmd, &dir, &values)
	cmd.Flags().StringVar(&release.Name, "name", "backstage", "the release's name")
	cmd.Flags().StringVar(&release.Namespace, "namespace", "backstage-system", "the release's namespace")
	return cmd
}

// packaged is the result of gitops chart package.
type packaged struct {
	File string `json:"file"`
}

func newChartPackage() *cobra.Command {
	var dir, out, at string
	cmd := &cobra.Command{
		Use:   "package",
		Short: "Write a chart as NAME-VERSION.tgz.",
		Long: `Write a chart as NAME-VERSION.tgz. The same chart at the same --time is the same file, byte for byte;
a release takes the time of its source commit.`,
		Example: `  gitops chart package --chart charts/backstage --out dist --time "$(git show -s --format=%cI)"`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			modTime, err := time.Parse(time.RFC3339, at)
			if err != nil {
				return usageError{fmt.Errorf("--time %q is no time like 2026-11-23T09:35:00Z; see %s --help", at, cmd.CommandPath())}
			}
			file, err := chart.Package(cmd.Context(), dir, out, modTime)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), packaged{File: file})
		},
	}
	cmd.Flags().StringVar(&dir, "chart", "charts/backstage", "the chart's folder")
	cmd.Flags().StringVar(&out, "out", ".", "the folder to write into, made where it is missing")
	cmd.Flags().StringVar(&at, "time", "", "the time of all files in the package, RFC 3339")
	required(cmd, "chart", "out", "time")
	return cmd
}

func chartFlags(cmd *cobra.Command, dir *string, values *[]string) {
	cmd.Flags().StringVar(dir, "chart", "charts/backstage", "the chart's folder")
	cmd.Flags().StringArrayVar(values, "values", nil, "a values file, repeatable; a later one wins")
	required(cmd, "chart")
}
