package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/scan"
)

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
