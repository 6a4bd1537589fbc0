package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/scan"
)

// scanned is the result of attest scan.
type scanned struct {
	Image string `json:"image"`
	// Of an image of one platform what came of it, and of one of several the same of each.
	lookedUp
	Platforms []lookedUp `json:"platforms,omitempty"`
}

// lookedUp is what came of the look-up of an image.
type lookedUp struct {
	Platform string `json:"platform,omitempty"`
	// Packages counts what was looked up.
	Packages int          `json:"packages,omitempty"`
	Scan     *scan.Result `json:"scan,omitempty"`
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
			lists, err := listAll(cmd.Context(), i, "")
			if err == nil {
				err = look.scan(cmd.Context(), i, lists, ignore)
			}
			if err != nil {
				return err
			}
			result := scanned{Image: i.Ref()}
			for _, l := range lists {
				result.Platforms = append(result.Platforms, lookedUp{l.Platform, l.Total, l.Scan})
			}
			if lists[0].Platform == "" {
				result.lookedUp, result.Platforms = result.Platforms[0], nil
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

// scan looks up what can be, of each list.
func (s *scanning) scan(ctx context.Context, i *attest.Image, lists []listed, ignore []scan.Ignore) (err error) {
	if s.database == "" {
		return s.not(lists, "no vulnerability database was given")
	}
	cache, err := os.MkdirTemp("", "vulnerabilities-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	database, err := scan.Open(ctx, s.database, cache)
	// Only what cannot be reached counts as not scanned: what is there and broken is an error.
	if errors.Is(err, scan.ErrNoDatabase) {
		return s.not(lists, oneLine(err))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	for n := range lists {
		l := &lists[n]
		if l.Scan, err = database.Scan(ctx, l.documents.SPDX, ignore); err == nil {
			err = l.Scan.Check(s.threshold)
		}
		if err != nil {
			return on(i, l.of, err)
		}
	}
	return nil
}

// not says why nothing was looked up.
func (s *scanning) not(lists []listed, reason string) error {
	if s.require {
		return fmt.Errorf("%w: %s", errNotScanned, reason)
	}
	for n := range lists {
		lists[n].Scan = scan.NotScanned(reason)
	}
	return nil
}
