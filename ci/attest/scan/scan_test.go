package scan_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/scan"
)

// database makes a database with grype's own writer: two vulnerabilities of npm packages, one of Debian's libc6.
func database(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w, err := v6.NewWriter(v6.Config{DBDirPath: dir, CacheSizeKiB: 1024})
	if err != nil {
		t.Fatal(err)
	}
	provider := &v6.Provider{ID: "test", Version: "1", Processor: "test", DateCaptured: &time.Time{}, InputDigest: "sha256:0"}
	add := func(id, severity, ecosystem, name, constraint, kind, fixed string, system *v6.OperatingSystem) {
		v := &v6.VulnerabilityHandle{Name: id, Status: v6.VulnerabilityActive, ProviderID: provider.ID, Provider: provider, BlobValue: &v6.VulnerabilityBlob{
			ID: id, Severities: []v6.Severity{{Scheme: v6.SeveritySchemeCHML, Value: severity}},
		}}
		if err := w.AddVulnerabilities(v); err != nil {
			t.Fatal(err)
		}
		if err := w.AddAffectedPackages(&v6.AffectedPackageHandle{Vulnerability: v, Package: &v6.Package{Ecosystem: ecosystem, Name: name}, OperatingSystem: system, BlobValue: &v6.PackageBlob{
			Ranges: []v6.Range{{Version: v6.Version{Type: kind, Constraint: constraint}, Fix: &v6.Fix{Version: fixed, State: v6.FixedStatus}}},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	add("CVE-2026-0001", "high", "npm", "express", "<4.22.2", "semver", "4.22.2", nil)
	add("CVE-2026-0002", "low", "npm", "express", "<5.0.0", "semver", "5.0.0", nil)
	add("CVE-2026-0003", "critical", "npm", "ms", "<1.0.0", "semver", "1.0.0", nil)
	add("CVE-2026-0004", "medium", "deb", "libc6", "<2.36-10", "dpkg", "2.36-10", &v6.OperatingSystem{Name: "debian", ReleaseID: "debian", MajorVersion: "12", Codename: "bookworm"})
	if err := errors.Join(w.SetDBMetadata(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, where string) *scan.Database {
	t.Helper()
	d, err := scan.Open(where, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

const bill = `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":{"type":"container","name":"example.com/app","version":"sha256:0"}},"components":[
	{"type":"library","bom-ref":"1","name":"express","version":"4.22.1","purl":"pkg:npm/express@4.22.1"},
	{"type":"library","bom-ref":"2","name":"ms","version":"2.0.0","purl":"pkg:npm/ms@2.0.0"},
	{"type":"library","bom-ref":"3","name":"libc6","version":"2.36-9+deb12u13","purl":"pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64&distro=debian-12"}]}`

func TestScan(t *testing.T) {
	t.Parallel()
	d := open(t, database(t))
	r, err := d.Scan(t.Context(), []byte(bill), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Scanned || len(r.Findings) != 3 || r.Found["high"] != 1 || r.Found["medium"] != 1 || r.Found["low"] != 1 || r.Built.IsZero() {
		t.Fatalf("%+v", r)
	}
	if f := r.Findings[0]; f.ID != "CVE-2026-0001" || f.Package != "express" || f.Version != "4.22.1" || len(f.Fixed) != 1 || f.Fixed[0] != "4.22.2" {
		t.Errorf("the worst is %+v", f)
	}
	for threshold, want := range map[string]error{"": nil, "critical": nil, "high": scan.ErrVulnerable, "Medium": scan.ErrVulnerable, "bad": scan.ErrSeverity, "unknown": scan.ErrSeverity} {
		if err := r.Check(threshold); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", threshold, err, want)
		}
	}
	if err := r.Check("high"); !strings.Contains(err.Error(), "CVE-2026-0001 (high) in express 4.22.1, fixed in 4.22.2") || strings.Contains(err.Error(), "CVE-2026-0002") {
		t.Error(err)
	}

	ignored, err := d.Scan(t.Context(), []byte(bill), []scan.Ignore{{Vulnerability: "CVE-2026-0001", Package: "express", Reason: "not called"}, {Vulnerability: "CVE-2026-0002", Package: "ms", Reason: "another package"}})
	if err != nil {
		t.Fatal(err)
	}
	if ignored.Ignored != 1 || len(ignored.Findings) != 2 || ignored.IgnoredOnes[0].ID != "CVE-2026-0001" || ignored.IgnoredOnes[0].Reason != "not called" || ignored.Check("high") != nil {
		t.Errorf("%+v", ignored)
	}
	if _, err := d.Scan(t.Context(), []byte("{}"), nil); err == nil {
		t.Error("what is no SBOM is scanned")
	}
}

// TestOpen: a folder, a file, an archive, and an archive at a URL.
func TestOpen(t *testing.T) {
	t.Parallel()
	dir := database(t)
	archive := filepath.Join(t.TempDir(), "vulnerability-db_v6.tar.gz")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	text, err := os.ReadFile(filepath.Join(dir, v6.VulnerabilityDBFileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeader(&tar.Header{Name: v6.VulnerabilityDBFileName, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(archive))))
	t.Cleanup(site.Close)
	for _, where := range []string{dir, archive, filepath.Join(dir, v6.VulnerabilityDBFileName), site.URL + "/" + filepath.Base(archive)} {
		r, err := open(t, where).Scan(t.Context(), []byte(bill), nil)
		if err != nil || len(r.Findings) != 3 {
			t.Errorf("%s: %+v, %v", where, r, err)
		}
	}
}

// TestOpenRefuses: whatever is wrong is one error, for the report to say that nothing was scanned.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)
	none := filepath.Join(t.TempDir(), v6.VulnerabilityDBFileName)
	if err := os.WriteFile(none, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, where := range map[string]string{
		"no folder": filepath.Join(t.TempDir(), "none"), "an empty folder": t.TempDir(), "no database": filepath.Dir(none), "no database's file": none,
		"a site without": empty.URL + "/databases", "a site without the archive": empty.URL + "/db.tar.gz", "no site": "http://127.0.0.1:1/databases",
	} {
		if _, err := scan.Open(where, t.TempDir()); !errors.Is(err, scan.ErrNoDatabase) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestReadIgnores(t *testing.T) {
	t.Parallel()
	const entry = "ignore:\n  - vulnerability: CVE-2026-1\n    package: express\n    reason: not called\n    expires: "
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		text string
		want string
	}{
		"one that holds":           {entry + "2026-12-31\n", ""},
		"its last day":             {entry + "2026-11-23\n", ""},
		"nothing":                  {"", ""},
		"the day after":            {entry + "2026-11-22\n", "entry 1, CVE-2026-1 has expired on 2026-11-22"},
		"no date":                  {"ignore:\n  - {vulnerability: CVE-2026-1, reason: x}\n", "entry 1, CVE-2026-1 has no date"},
		"another date":             {entry + "next year\n", `expires on "next year", which is no date`},
		"no reason":                {"ignore:\n  - {vulnerability: CVE-2026-1, reason: ' ', expires: 2027-01-01}\n", "has no reason"},
		"no vulnerability":         {"ignore:\n  - {reason: x, expires: 2027-01-01}\n", "entry 1 names no vulnerability"},
		"another field":            {"ignore:\n  - {cve: CVE-2026-1}\n", "field cve not found"},
		"no YAML":                  {"{", "cannot be used"},
		"the second has no reason": {entry + "2026-12-31\n  - {vulnerability: CVE-2026-2, expires: 2027-01-01}\n", "entry 2, CVE-2026-2 has no reason"},
	} {
		got, err := scan.ReadIgnores([]byte(c.text), now)
		switch {
		case c.want == "" && err != nil, c.want != "" && (!errors.Is(err, scan.ErrIgnore) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		case c.want == "" && c.text != "" && (len(got) != 1 || got[0].Package != "express"):
			t.Errorf("%s: %+v", what, got)
		}
	}
}
