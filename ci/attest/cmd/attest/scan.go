package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/scan"
)

// scanned is the result of attest scan.
type scanned struct {
	Image string `json:"image"`
	// Packages counts what was looked up.
	Packages int          `json:"packages"`
	Scan     *scan.Result `json:"scan"`
}

func newScan() *cobra.Command {
	var (
		at   location
		look scanning
	)
	cmd := &cobra.Command{
		Use:   "scan REF",
		Short: "Look up what an image is made of in a vulnerability database.",
		Long: `Look up what an image is made of in a vulnerability database as it is now, as image does before it attaches
anything. Nothing is attached. Where there is no database, or it cannot be reached, the result says that nothing was scanned,
or with --require-scan it is an error; one that is broken is an error.

With --username the registry's password is read from ` + passwordVariable + `; otherwise the docker CLI's own
sign-in is used.`,
		Example: `  attest scan docker.io/user/backstage-gitops@sha256:… --vulnerability-database https://grype.anchore.io/databases --fail-on high`,
		Args:    oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ignore, err := look.ignores()
			if err != nil {
				return err
			}
			i, err := at.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			documents, err := sbom.Make(cmd.Context(), sbom.Image{Name: i.Name, Digest: i.Digest(), Created: i.Created, Content: i.Content})
			if err != nil {
				return err
			}
			result := scanned{Image: i.Ref(), Packages: documents.Total()}
			if result.Scan, err = look.scan(cmd.Context(), documents.SPDX, ignore); err != nil {
				return fmt.Errorf("%s: %w", i.Ref(), err)
			}
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	at.flags(cmd)
	look.flags(cmd)
	return cmd
}

// scanning is how vulnerabilities are looked up.
type scanning struct {
	database, ignore, threshold string
	require                     bool
}

func (s *scanning) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.database, "vulnerability-database", "", "grype's database: a folder, an archive, or the URL of an archive or of grype's listing")
	cmd.Flags().StringVar(&s.ignore, "ignore-vulnerabilities", "", "a YAML file of vulnerabilities to ignore, each with a reason and a date on which that expires")
	cmd.Flags().StringVar(&s.threshold, "fail-on", "", "refuse an image with a vulnerability of this severity or a higher one, or of an unknown one: negligible, low, medium, high, critical")
	cmd.Flags().BoolVar(&s.require, "require-scan", false, "refuse an image that could not be scanned")
}

// ignores reads what is to be ignored.
func (s *scanning) ignores() ([]scan.Ignore, error) {
	if err := scan.CheckThreshold(s.threshold); err != nil {
		return nil, usageError{fmt.Errorf("--fail-on: %w", err)}
	}
	if s.ignore == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.ignore)
	if err != nil {
		return nil, err
	}
	ignores, err := scan.ReadIgnores(text, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.ignore, err)
	}
	return ignores, nil
}

var errNotScanned = errors.New("not scanned, and --require-scan wants it")

// scan looks up what can be.
func (s *scanning) scan(ctx context.Context, sbom []byte, ignore []scan.Ignore) (_ *scan.Result, err error) {
	if s.database == "" {
		return s.not(scan.NotScanned("no vulnerability database was given"))
	}
	cache, err := os.MkdirTemp("", "vulnerabilities-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	database, err := scan.Open(ctx, s.database, cache)
	// Only what cannot be reached counts as not scanned: what is there and broken is an error.
	if errors.Is(err, scan.ErrNoDatabase) {
		return s.not(scan.NotScanned(oneLine(err)))
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	result, err := database.Scan(ctx, sbom, ignore)
	if err != nil {
		return nil, err
	}
	return result, result.Check(s.threshold)
}

func (s *scanning) not(result *scan.Result) (*scan.Result, error) {
	if s.require {
		return nil, fmt.Errorf("%w: %s", errNotScanned, result.Reason)
	}
	return result, nil
}
