package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

func newChart() *cobra.Command {
	return group("chart", "Lint, render, package and publish a Helm chart, without a cluster.",
		newChartLint(), newChartRender(), newChartPackage(), newChartPublish())
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

// publishedChart is the result of gitops chart publish.
type publishedChart struct {
	// Name is that of the artifact, Ref the same under its version.
	Name    string `json:"name"`
	Ref     string `json:"ref"`
	Version string `json:"version"`
	// Digest is empty where the version is there already with another content.
	Digest string `json:"digest,omitempty"`
	// Revision is the last commit that changed the chart.
	Revision string `json:"revision"`
	// Kept says that the version was there before.
	Kept bool `json:"kept,omitempty"`
}

func newChartPublish() *cobra.Command {
	var (
		repo, folder, beside, revision string
		unlessThere                    bool
		p                              image.Publication
		t                              commit.Target
		with                           access
		o                              image.Options
	)
	cmd := &cobra.Command{
		Use:   "publish --beside IMAGE",
		Short: "Push the chart of a remote's branch to a registry, as Helm pulls it.",
		Long: `Push the chart of a remote's branch to a registry, as an OCI artifact that Helm pulls, and print its
digest. It is called as helm push would call it: by the chart's own name, in the folder of the image that
--beside names; where that is the image, with -chart after it. Its tag is the chart's version, its time that of
the last commit that changed it.

A version that is there with another content is refused, and nothing is pushed; with --unless-there it is
left alone, with --retag replaced. With --registry-username the password is read from
` + passwordVariable + `; otherwise the docker CLI's own sign-in is used. The token of an http remote is
read from ` + tokenVariable + `.`,
		Example: `  gitops chart publish --beside docker.io/user/backstage-gitops --remote https://github.com/owner/repository.git
  helm pull oci://docker.io/user/backstage --version 0.2.0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx, cancel, err := with.reach(cmd, &t)
			if err != nil {
				return err
			}
			defer cancel()
			dir, err := os.MkdirTemp("", "chart-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			exported, err := commit.Export(ctx, repo, t, revision, folder, dir)
			if err != nil {
				return err
			}
			artifact, err := chart.NewArtifact(ctx, filepath.Join(dir, folder), exported.Time)
			if err != nil {
				return err
			}
			o.Password = os.Getenv(passwordVariable)
			name := artifact.NameBeside(beside)
			result := publishedChart{Name: name, Ref: name + ":" + artifact.Tag(), Version: artifact.Version, Revision: exported.Revision}
			published, err := image.PublishArtifact(ctx, artifact, result.Ref, p, o)
			switch {
			case errors.Is(err, image.ErrTaken) && unlessThere:
				slog.Info("this version of the chart is published already, before its last change; the next release publishes that", "chart", result.Ref)
				result.Kept = true
			case errors.Is(err, image.ErrTaken):
				return fmt.Errorf("%s: another chart is published under this version already: raise version in its Chart.yaml", result.Ref)
			case err != nil:
				return err
			default:
				result.Digest, result.Kept = published.Digest, published.Tags[0].Kept
			}
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "the checkout")
	cmd.Flags().StringVar(&folder, "chart", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&beside, "beside", "", "the name of the image in whose folder of the registry it goes")
	cmd.Flags().StringVar(&revision, "revision", "", "the commit whose chart it is (default the branch's tip)")
	cmd.Flags().BoolVar(&unlessThere, "unless-there", false, "leave a version alone that is there with another content")
	cmd.Flags().BoolVar(&p.Retag, "retag", false, "replace a version that is there with another content")
	targetFlags(cmd, &t, &with)
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "talk http to the registry")
	cmd.Flags().StringVar(&o.Username, "registry-username", "", "the registry's user name")
	required(cmd, "beside", "remote", "branch")
	exclusive(cmd, "unless-there", "retag")
	return cmd
}

func chartFlags(cmd *cobra.Command, dir *string, values *[]string) {
	cmd.Flags().StringVar(dir, "chart", "charts/backstage", "the chart's folder")
	cmd.Flags().StringArrayVar(values, "values", nil, "a values file, repeatable; a later one wins")
	required(cmd, "chart")
}
