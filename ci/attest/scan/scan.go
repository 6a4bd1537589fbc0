// Package scan looks an SBOM's packages up in a vulnerability database, with grype.
package scan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
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
	"github.com/spf13/afero"
)

var (
	// ErrNoDatabase says that a vulnerability database could not be reached.
	ErrNoDatabase = errors.New("no vulnerability database could be reached")
	// ErrDatabase says that the database that was given is of no use.
	ErrDatabase = errors.New("the vulnerability database cannot be used")
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
// archive, or that of a listing such as https://grype.anchore.io/databases. What is loaded goes to cache. It is
// ErrNoDatabase where the URL cannot be reached, and ErrDatabase where what is there is no whole database.
func Open(ctx context.Context, where, cache string) (*Database, error) {
	dir, err := locate(ctx, where, cache)
	switch {
	case errors.Is(err, ErrNoDatabase):
		return nil, err
	case err != nil:
		return nil, unusable(where, err)
	}
	reader, err := v6.NewReader(v6.Config{DBDirPath: dir})
	if err != nil {
		return nil, unusable(where, err)
	}
	metadata, err := reader.GetDBMetadata()
	switch {
	case err != nil:
	case metadata == nil || metadata.BuildTimestamp == nil:
		err = errors.New("it has no time")
	case metadata.Model != v6.ModelVersion:
		err = fmt.Errorf("it is of version %d, and version %d is read", metadata.Model, v6.ModelVersion)
	}
	if err != nil {
		return nil, errors.Join(unusable(where, err), reader.Close())
	}
	return &Database{Built: metadata.BuildTimestamp.UTC(), provider: v6.NewVulnerabilityProvider(reader)}, nil
}

func unusable(where string, err error) error {
	if parsed, bad := url.Parse(where); bad == nil {
		where = parsed.Redacted()
	}
	return fmt.Errorf("%w: %s: %w: load it again, as grype db update does, or leave it out", ErrDatabase, where, err)
}

// Close closes the database.
func (d *Database) Close() error { return d.provider.Close() }

// locate finds the folder of a database.
func locate(ctx context.Context, where, cache string) (string, error) {
	remote := strings.Contains(where, "://")
	listing := remote && !strings.Contains(path.Base(where), ".tar")
	switch {
	case listing:
		if err := reach(ctx, latest(where)); err != nil {
			return "", err
		}
	case remote:
		if err := reach(ctx, where); err != nil {
			return "", err
		}
	default:
		info, err := os.Stat(where)
		if err != nil {
			return "", err
		}
		if info.IsDir() {
			for _, dir := range []string{where, filepath.Join(where, fmt.Sprint(v6.ModelVersion))} {
				if _, err := os.Stat(filepath.Join(dir, v6.VulnerabilityDBFileName)); err == nil {
					return dir, whole(dir)
				}
			}
			return "", fmt.Errorf("it holds no %s", v6.VulnerabilityDBFileName)
		}
	}
	at := distribution.DefaultConfig()
	at.ID, at.LatestURL, at.CheckTimeout, at.RequireUpdateCheck = clio.Identification{Name: "attest"}, where, reachTimeout, true
	client, err := distribution.NewClient(at)
	if err != nil {
		return "", err
	}
	in := installation.Config{DBRootDir: cache, ValidateChecksum: true}
	curator, err := installation.NewCurator(in, client)
	if err != nil {
		return "", err
	}
	if listing {
		_, err = curator.Update()
	} else {
		err = curator.Import(where)
	}
	return in.DBDirectoryPath(), err
}

// whole refuses a database that is not the one that was put into the folder, where grype has noted which that was.
func whole(dir string) error {
	disk := afero.NewOsFs()
	if _, err := disk.Stat(filepath.Join(dir, v6.ImportMetadataFileName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	noted, err := v6.ReadImportMetadata(disk, dir)
	if err != nil {
		return err
	}
	digest, err := v6.CalculateDBDigest(disk, filepath.Join(dir, v6.VulnerabilityDBFileName))
	if err == nil && digest != noted.Digest {
		err = fmt.Errorf("its digest is %s, and %s says %s", digest, v6.ImportMetadataFileName, noted.Digest)
	}
	return err
}

// latest is where a listing's own document is, as grype finds it.
func latest(listing string) string {
	if strings.HasSuffix(listing, ".json") {
		return listing
	}
	return fmt.Sprintf("%s/v%d/%s", strings.TrimRight(listing, "/"), v6.ModelVersion, distribution.LatestFileName)
}

const reachTimeout = 10 * time.Second

// reach says whether there is anything at a URL at all: grype's own errors do not tell that from a broken database.
func reach(ctx context.Context, where string) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return errors.New("it is no address of http or https")
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoDatabase, err)
	}
	// The content is for who loads it.
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answers %s", ErrNoDatabase, req.URL.Redacted(), answer.Status)
	}
	return nil
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
		return nil, fmt.Errorf("%w: look up the packages: %w", ErrDatabase, err)
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
		// What has none stays unknown, which no threshold lets pass.
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

// Check refuses a result with a vulnerability of the threshold's severity or a higher one. One whose severity nobody
// knows yet could be of any, and is refused as well: to ignore it for a reason and a time is a decision, to overlook it none.
func (r *Result) Check(threshold string) error {
	if err := CheckThreshold(threshold); err != nil || threshold == "" {
		return err
	}
	r.Threshold = strings.ToLower(threshold)
	var worst []string
	for _, f := range r.Findings {
		if s := vulnerability.ParseSeverity(f.Severity); s != vulnerability.UnknownSeverity && s < vulnerability.ParseSeverity(threshold) {
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
	return fmt.Errorf("%w of severity %s or higher, or of an unknown one: %s%s; update the packages, or ignore one for a reason and a time", ErrVulnerable, r.Threshold, strings.Join(worst, "; "), more)
}
