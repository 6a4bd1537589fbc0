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

// database makes a database with grype's own writer: vulnerabilities of npm packages, and of Debian's libc6 and libstdc++6.
func database(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w, err := v6.NewWriter(v6.Config{DBDirPath: dir, CacheSizeKiB: 1024})
	if err != nil {
		t.Fatal(err)
	}
	provider := &v6.Provider{ID: "test", Version: "1", Processor: "test", DateCaptured: &time.Time{}, InputDigest: "sha256:0"}
	bookworm := &v6.OperatingSystem{Name: "debian", ReleaseID: "debian", MajorVersion: "12", Codename: "bookworm"}
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
	add("CVE-2026-0004", "medium", "deb", "libc6", "<2.36-10", "dpkg", "2.36-10", bookworm)
	add("CVE-2026-0005", "high", "deb", "libstdc++6", "<12.2.0-15", "dpkg", "12.2.0-15", bookworm)
	add("CVE-2026-0006", "not yet assigned", "npm", "left-pad", "<2.0.0", "semver", "2.0.0", nil)
	if err := errors.Join(w.SetDBMetadata(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, where string) *scan.Database {
	t.Helper()
	d, err := scan.Open(t.Context(), where, t.TempDir())
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

// TestIgnoreLiterally: names of packages are taken as they are written, whatever a sign would mean elsewhere.
func TestIgnoreLiterally(t *testing.T) {
	t.Parallel()
	const bill = `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":{"type":"container","name":"example.com/app","version":"sha256:0"}},"components":[
	{"type":"library","bom-ref":"1","name":"libstdc++6","version":"12.2.0-14","purl":"pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12"}]}`
	d := open(t, database(t))
	for name, ignored := range map[string]bool{"": true, "libstdc++6": true, "libstdc..6": false, "libstdc.*": false, "libstdc++": false, "stdc++6": false, "libstdcc6": false, "(": false} {
		r, err := d.Scan(t.Context(), []byte(bill), []scan.Ignore{{Vulnerability: "CVE-2026-0005", Package: name, Reason: "not called"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Findings)+r.Ignored != 1 || (r.Ignored == 1) != ignored {
			t.Errorf("%q: ignored %+v, found %+v", name, r.IgnoredOnes, r.Findings)
		}
	}
}

// TestUnknownSeverity: what nobody has weighed could be of any severity, and passes no threshold; it can be ignored.
func TestUnknownSeverity(t *testing.T) {
	t.Parallel()
	const bill = `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":{"type":"container","name":"example.com/app","version":"sha256:0"}},"components":[
	{"type":"library","bom-ref":"1","name":"left-pad","version":"1.3.0","purl":"pkg:npm/left-pad@1.3.0"}]}`
	d := open(t, database(t))
	r, err := d.Scan(t.Context(), []byte(bill), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) != 1 || r.Found["unknown"] != 1 {
		t.Fatalf("%+v", r)
	}
	for threshold, want := range map[string]error{"": nil, "negligible": scan.ErrVulnerable, "critical": scan.ErrVulnerable} {
		if err := r.Check(threshold); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), "or of an unknown one: CVE-2026-0006 (unknown) in left-pad 1.3.0") {
			t.Errorf("%q: got %v, want %v", threshold, err, want)
		}
	}
	if r, err = d.Scan(t.Context(), []byte(bill), []scan.Ignore{{Vulnerability: "CVE-2026-0006", Reason: "weighed: low"}}); err != nil || r.Check("critical") != nil {
		t.Errorf("%+v, %v", r, err)
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

// TestOpenRefuses: what cannot be reached is one thing, for the report to say that nothing was scanned; what is there and
// no whole database is another, and an error.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	folder := func(files map[string][]byte) string {
		dir := t.TempDir()
		for name, text := range files {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), text, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	site := func(files map[string][]byte) string {
		s := httptest.NewServer(http.FileServer(http.Dir(folder(files))))
		t.Cleanup(s.Close)
		return s.URL
	}
	good, err := os.ReadFile(filepath.Join(database(t), v6.VulnerabilityDBFileName))
	if err != nil {
		t.Fatal(err)
	}
	junk := []byte("no database")
	unnoted := folder(map[string][]byte{v6.VulnerabilityDBFileName: good, v6.ImportMetadataFileName: []byte(`{"digest":"xxh64:0","client_version":"v6.0.0"}`)})
	file := filepath.Join(folder(map[string][]byte{v6.VulnerabilityDBFileName: junk}), v6.VulnerabilityDBFileName)
	listing := []byte(`{"status":"active","schemaVersion":"v6.0.2","built":"2026-11-23T00:00:00Z","path":"db.tar.gz","checksum":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}`)
	for what, c := range map[string]struct {
		where string
		want  error
	}{
		"a site without a listing":      {site(nil) + "/databases", scan.ErrNoDatabase},
		"a site without the archive":    {site(nil) + "/db.tar.gz", scan.ErrNoDatabase},
		"no site":                       {"http://127.0.0.1:1/databases", scan.ErrNoDatabase},
		"no site for the archive":       {"http://127.0.0.1:1/db.tar.gz", scan.ErrNoDatabase},
		"no folder":                     {filepath.Join(t.TempDir(), "none"), scan.ErrDatabase},
		"an empty folder":               {t.TempDir(), scan.ErrDatabase},
		"a folder with something else":  {filepath.Dir(file), scan.ErrDatabase},
		"something else":                {file, scan.ErrDatabase},
		"half a database":               {folder(map[string][]byte{v6.VulnerabilityDBFileName: good[:len(good)/2]}), scan.ErrDatabase},
		"a database of another digest":  {unnoted, scan.ErrDatabase},
		"an archive of nothing":         {filepath.Join(folder(map[string][]byte{"db.tar.gz": junk}), "db.tar.gz"), scan.ErrDatabase},
		"a site's archive of nothing":   {site(map[string][]byte{"db.tar.gz": junk}) + "/db.tar.gz", scan.ErrDatabase},
		"a site's listing of nothing":   {site(map[string][]byte{"databases/v6/latest.json": junk}) + "/databases", scan.ErrDatabase},
		"a listing without its archive": {site(map[string][]byte{"databases/v6/latest.json": listing}) + "/databases", scan.ErrDatabase},
		"a listing of another archive":  {site(map[string][]byte{"databases/v6/latest.json": listing, "databases/v6/db.tar.gz": junk}) + "/databases", scan.ErrDatabase},
		"no address":                    {"ftp://127.0.0.1:1/db.tar.gz", scan.ErrDatabase},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, err := scan.Open(t.Context(), c.where, t.TempDir())
			if err == nil {
				// A page that is missing shows when it is read.
				_, err = d.Scan(t.Context(), []byte(bill), nil)
			}
			if !errors.Is(err, c.want) || errors.Is(err, scan.ErrNoDatabase) && errors.Is(err, scan.ErrDatabase) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
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
