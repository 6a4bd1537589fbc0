// Package scan looks an SBOM's packages up in a vulnerability database, with grype.
package scan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/anchore/clio"
	"github.com/anchore/grype/grype"
	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/anchore/grype/grype/db/v6/installation"
	"github.com/anchore/grype/grype/match"
	"github.com/anchore/grype/grype/matcher"
	"github.com/anchore/grype/grype/matcher/stock"
	"github.com/anchore/grype/grype/pkg"
	"github.com/anchore/grype/grype/vulnerability"
)

var (
	// ErrNoDatabase says that no vulnerability database could be had.
	ErrNoDatabase = errors.New("no vulnerability database could be reached")
	// ErrVulnerable says that there are vulnerabilities that a release may not have.
	ErrVulnerable = errors.New("the image has vulnerabilities")
	// ErrSeverity says that a text is no severity.
	ErrSeverity = errors.New("no severity")
)

// Database is a vulnerability database.
type Database struct {
	// Built is its time.
	Built    time.Time
	provider vulnerability.Provider
}

// Open opens the database that is in a folder, in an archive as grype's are published, or at a URL: that of such an
// archive, or that of a listing such as https://grype.anchore.io/databases. What is loaded goes to cache.
func Open(where, cache string) (*Database, error) {
	dir, err := locate(where, cache)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDatabase, err)
	}
	reader, err := v6.NewReader(v6.Config{DBDirPath: dir})
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoDatabase, where, err)
	}
	metadata, err := reader.GetDBMetadata()
	if err != nil || metadata.BuildTimestamp == nil {
		return nil, errors.Join(fmt.Errorf("%w: %s is none of grype's: %w", ErrNoDatabase, where, cmp.Or(err, errors.New("it has no time"))), reader.Close())
	}
	return &Database{Built: metadata.BuildTimestamp.UTC(), provider: v6.NewVulnerabilityProvider(reader)}, nil
}

// Close closes the database.
func (d *Database) Close() error { return d.provider.Close() }

// locate finds the folder of a database.
func locate(where, cache string) (string, error) {
	url := strings.Contains(where, "://")
	if !url {
		info, err := os.Stat(where)
		if err != nil {
			return "", err
		}
		if info.IsDir() {
			for _, dir := range []string{where, filepath.Join(where, fmt.Sprint(v6.ModelVersion))} {
				if _, err := os.Stat(filepath.Join(dir, v6.VulnerabilityDBFileName)); err == nil {
					return dir, nil
				}
			}
			return "", fmt.Errorf("%s holds no %s", where, v6.VulnerabilityDBFileName)
		}
	}
	at := distribution.DefaultConfig()
	at.ID, at.LatestURL, at.CheckTimeout, at.RequireUpdateCheck = clio.Identification{Name: "attest"}, where, 10*time.Second, true
	client, err := distribution.NewClient(at)
	if err != nil {
		return "", err
	}
	in := installation.Config{DBRootDir: cache, ValidateChecksum: true}
	curator, err := installation.NewCurator(in, client)
	if err != nil {
		return "", err
	}
	if url && !strings.Contains(filepath.Base(where), ".tar") {
		_, err = curator.Update()
	} else {
		err = curator.Import(where)
	}
	return in.DBDirectoryPath(), err
}

// Finding is a vulnerability of a package.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Package  string `json:"package"`
	Version  string `json:"version"`
	// Fixed are the versions without it.
	Fixed []string `json:"fixed,omitempty"`
	// Reason is why it is ignored.
	Reason string `json:"reason,omitempty"`
}

// Result is what a database says of an SBOM.
type Result struct {
	Scanned bool `json:"scanned"`
	// Reason is why it was not scanned.
	Reason string    `json:"reason,omitempty"`
	Built  time.Time `json:"built,omitzero"`
	// Threshold is the severity from which on an image is refused.
	Threshold string `json:"threshold,omitempty"`
	// Found counts Findings by severity.
	Found    map[string]int `json:"found,omitempty"`
	Findings []Finding      `json:"findings,omitempty"`
	// Ignored counts those that are left out with a reason.
	Ignored     int       `json:"ignored,omitempty"`
	IgnoredOnes []Finding `json:"ignoredFindings,omitempty"`
}

// NotScanned is the result where there is nothing to look up in.
func NotScanned(reason string) *Result { return &Result{Reason: reason} }

// literally is the name of a package for grype, which takes one with signs such as those of libstdc++6 for a regular
// expression, and leaves the rule out where it is none.
func literally(name string) string { return regexp.QuoteMeta(name) }

// Scan looks up the packages of an SBOM, SPDX or CycloneDX.
func (d *Database) Scan(ctx context.Context, sbom []byte, ignore []Ignore) (*Result, error) {
	packages, of, _, err := pkg.ProvideFromReader(bytes.NewReader(sbom), pkg.ProviderConfig{})
	if err != nil {
		return nil, fmt.Errorf("read the SBOM: %w", err)
	}
	rules := make([]match.IgnoreRule, len(ignore))
	for n, i := range ignore {
		rules[n] = match.IgnoreRule{Vulnerability: i.Vulnerability, IncludeAliases: true, Reason: i.Reason, Package: match.IgnoreRulePackage{Name: literally(i.Package)}}
	}
	m := grype.VulnerabilityMatcher{
		VulnerabilityProvider: d.provider,
		// Names of CPEs are guesses; npm and Debian have records of their own.
		Matchers:    matcher.NewDefaultMatchers(matcher.Config{Stock: stock.MatcherConfig{UseCPEs: true}}),
		IgnoreRules: rules,
	}
	found, ignored, err := m.FindMatchesContext(ctx, packages, of)
	if err != nil {
		return nil, fmt.Errorf("look up the packages: %w", err)
	}
	r := &Result{Scanned: true, Built: d.Built, Found: map[string]int{}, Ignored: len(ignored)}
	for _, f := range found.Sorted() {
		finding := d.finding(f)
		r.Findings = append(r.Findings, finding)
		r.Found[finding.Severity]++
	}
	for _, f := range ignored {
		finding := d.finding(f.Match)
		for _, rule := range f.AppliedIgnoreRules {
			finding.Reason = rule.Reason
		}
		r.IgnoredOnes = append(r.IgnoredOnes, finding)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(int(vulnerability.ParseSeverity(b.Severity)-vulnerability.ParseSeverity(a.Severity)), strings.Compare(a.ID, b.ID))
	})
	return r, nil
}

func (d *Database) finding(m match.Match) Finding {
	f := Finding{ID: m.Vulnerability.ID, Package: m.Package.Name, Version: m.Package.Version, Fixed: m.Vulnerability.Fix.Versions, Severity: vulnerability.UnknownSeverity.String()}
	metadata := m.Vulnerability.Metadata
	if metadata == nil {
		// What has none stays unknown, which no threshold lets pass in silence: it is counted.
		metadata, _ = d.provider.VulnerabilityMetadata(m.Vulnerability.Reference)
	}
	if metadata != nil {
		f.Severity = vulnerability.ParseSeverity(metadata.Severity).String()
	}
	return f
}

// CheckThreshold refuses what is no severity; none at all is no threshold.
func CheckThreshold(threshold string) error {
	if threshold == "" || vulnerability.ParseSeverity(threshold) != vulnerability.UnknownSeverity {
		return nil
	}
	names := []string{}
	for _, s := range vulnerability.AllSeverities() {
		names = append(names, s.String())
	}
	return fmt.Errorf("%w: %q; it can be %s", ErrSeverity, threshold, strings.Join(names, ", "))
}

// Check refuses a result with a vulnerability of the threshold's severity or a higher one.
func (r *Result) Check(threshold string) error {
	if err := CheckThreshold(threshold); err != nil || threshold == "" {
		return err
	}
	r.Threshold = strings.ToLower(threshold)
	var worst []string
	for _, f := range r.Findings {
		if vulnerability.ParseSeverity(f.Severity) < vulnerability.ParseSeverity(threshold) {
			continue
		}
		text := fmt.Sprintf("%s (%s) in %s %s", f.ID, f.Severity, f.Package, f.Version)
		if len(f.Fixed) > 0 {
			text += ", fixed in " + strings.Join(f.Fixed, ", ")
		}
		worst = append(worst, text)
	}
	if len(worst) == 0 {
		return nil
	}
	more := ""
	if len(worst) > 5 {
		more, worst = fmt.Sprintf("; and %d more", len(worst)-5), worst[:5]
	}
	return fmt.Errorf("%w of severity %s or higher: %s%s; update the packages, or ignore one for a reason and a time", ErrVulnerable, r.Threshold, strings.Join(worst, "; "), more)
}
