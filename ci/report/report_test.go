package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/report"
	"github.com/backstage-gitops/backstage-gitops/ci/source"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden turns the facts of testdata into reports.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.facts.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no facts in testdata: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".facts.json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			d, err := report.New(facts(t, file), "canary")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(filepath.Base(name), string(d.Outcome)) {
				t.Errorf("the outcome is %s", d.Outcome)
			}
			text, err := json.MarshalIndent(d, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", append(text, '\n'))
			golden(t, name+".md", d.Markdown())
			if bytes.Contains(text, []byte("canary")) || bytes.Contains(d.Markdown(), []byte("canary")) {
				t.Error("the report shows a secret")
			}
		})
	}
}

func facts(t *testing.T, file string) report.Facts {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var f report.Facts
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update and look at the change):\n%s", path, got)
	}
}

// TestMerged: a commit whose pull request is merged waits for nothing.
func TestMerged(t *testing.T) {
	t.Parallel()
	f := facts(t, "testdata/proposed.facts.json")
	f.Commit.PullRequest.Merged = true
	if d, err := report.New(f); err != nil || d.Outcome != report.Released || d.Commit.PullRequest.Number != 7 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestRescan: what was released before is scanned again, where that was asked for, and the report says what came of it.
func TestRescan(t *testing.T) {
	t.Parallel()
	f := facts(t, "testdata/nothing-to-release.facts.json")
	for want, scan := range map[string]*report.Scan{
		"| Vulnerabilities | 2 high; database of 2026-11-23 |":                              {Scanned: true, Built: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Found: map[string]int{"high": 2}},
		"| Vulnerabilities | **not scanned**: no vulnerability database could be reached |": {Reason: "no vulnerability database could be reached"},
	} {
		f.Scan = &report.Rescan{Image: f.Image.Name + "@" + f.Image.Digest, Scan: scan}
		d, err := report.New(f)
		if err != nil || d.Outcome != report.NothingToRelease || !strings.Contains(string(d.Markdown()), want) {
			t.Errorf("%v: it does not say %q:\n%s", err, want, d.Markdown())
		}
	}
}

// TestPlatforms: an image of several says which, and which of them the sizes are of.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		platforms []string
		want      []string
	}{
		"several": {[]string{"linux/amd64", "linux/arm64"}, []string{"| Platforms | linux/amd64, linux/arm64 |", "| Size | 79.1 MB compressed, 251.0 MB on disk, of linux/amd64 |"}},
		"one":     {[]string{"linux/amd64"}, []string{"| Size | 79.1 MB compressed, 251.0 MB on disk |"}},
	} {
		f := facts(t, "testdata/released.facts.json")
		f.Image.Platforms, f.Image.Platform = c.platforms, "linux/amd64"
		d, err := report.New(f)
		if err != nil {
			t.Fatal(err)
		}
		md := string(d.Markdown())
		for _, want := range c.want {
			if !strings.Contains(md, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, md)
			}
		}
		if len(c.platforms) == 1 && strings.Contains(md, "Platforms") {
			t.Errorf("%s: it lists the platforms in\n%s", name, md)
		}
	}
}

// TestListsOfPlatforms: what an image of several platforms is made of is said of each, and so is whether it was scanned.
func TestListsOfPlatforms(t *testing.T) {
	t.Parallel()
	f := facts(t, "testdata/released.facts.json")
	whole := f.Attestation.Listed
	arm := report.Listed{Platform: "linux/arm64", Digest: "sha256:2", Packages: map[string]int{"npm": 600}, Total: 600, Scan: &report.Scan{Reason: "no | database"}}
	f.Attestation.Listed = report.Listed{}
	whole.Platform = "linux/amd64"
	f.Attestation.Platforms = []report.Listed{whole, arm}
	d, err := report.New(f)
	if err != nil {
		t.Fatal(err)
	}
	md := string(d.Markdown())
	for _, want := range []string{
		"| SBOM, linux/amd64 | 622 packages: 612 npm, 9 deb, 1 binary; SPDX and CycloneDX |",
		"| SBOM, linux/arm64 | 600 packages: 600 npm; SPDX and CycloneDX |",
		"| Vulnerabilities, linux/amd64 | 3 low, 1 medium, and 2 ignored with a reason; database of 2026-11-22 |",
		`| Vulnerabilities, linux/arm64 | **not scanned**: no \| database |`,
	} {
		if !strings.Contains(md, want) {
			t.Errorf("%q is not in\n%s", want, md)
		}
	}
	now := facts(t, "testdata/nothing-to-release.facts.json")
	now.Scan = &report.Rescan{Image: now.Image.Name + "@" + now.Image.Digest, Platforms: []report.Rescanned{
		{Platform: "linux/amd64", Scan: whole.Scan}, {Platform: "linux/arm64", Scan: arm.Scan},
	}}
	again, err := report.New(now)
	if err != nil || strings.Count(string(again.Markdown()), "| Vulnerabilities, linux/a") != 2 {
		t.Errorf("%v: scanned again it says\n%s", err, again.Markdown())
	}
	if strings.Contains(md, "| SBOM |") || strings.Contains(md, "| Vulnerabilities |") {
		t.Errorf("it lists an image of no platform in\n%s", md)
	}
}

// TestRefused: a report cannot claim what its facts do not show.
func TestRefused(t *testing.T) {
	t.Parallel()
	image := &report.Image{Name: "r", Tag: "t", Digest: "sha256:1"}
	committed := &commit.Pushed{Commit: commit.Commit{SHA: "c"}}
	cases := map[string]struct {
		facts report.Facts
		want  string
	}{
		"no facts":                         {report.Facts{}, "a failure wants a reason"},
		"published without a reason":       {report.Facts{Image: image}, "published-not-committed wants a reason"},
		"released, another image proven":   {report.Facts{Source: &source.Facts{}, Image: image, Commit: &commit.Pushed{Commit: commit.Commit{SHA: "c"}}, Proof: &report.Proof{Proven: true, Digest: "sha256:other"}}, "the proof is not of the image that was released"},
		"released, not proven":             {report.Facts{Source: &source.Facts{}, Image: image, Commit: &commit.Pushed{Commit: commit.Commit{SHA: "c"}}, Proof: &report.Proof{Digest: image.Digest}}, "the proof is not of the image that was released"},
		"released, another image attested": {report.Facts{Source: &source.Facts{}, Image: image, Commit: committed, Attestation: &report.Attestation{Image: "r@sha256:other"}}, "the attestation is not of the image"},
		"released, signed, not verified":   {report.Facts{Source: &source.Facts{}, Image: image, Commit: committed, Attestation: &report.Attestation{Image: "r@sha256:1", Signed: true}}, "a signed image wants its verification"},
		"released, another image verified": {report.Facts{Source: &source.Facts{}, Image: image, Commit: committed, Attestation: &report.Attestation{Image: "r@sha256:1", Signed: true}, Verification: &report.Verification{Image: "r@sha256:2"}}, "the verification is not of the image"},
		"released without a commit":        {report.Facts{Image: image, Outcome: report.Released}, "a release wants source, image and commit"},
		"published without a digest":       {report.Facts{Image: &report.Image{Name: "r"}, Outcome: report.PublishedNotCommitted, Reason: "x"}, "wants the image"},
		"nothing, but no commit":           {report.Facts{Outcome: report.NothingToRelease}, "wants source and commit"},
		"nothing, another image scanned":   {report.Facts{Source: &source.Facts{}, Image: image, Commit: &commit.Pushed{Commit: commit.Commit{SHA: "c", Nothing: true}}, Scan: &report.Rescan{Image: "r@sha256:2"}}, "the scan is not of the image"},
		"an outcome that is none":          {report.Facts{Outcome: "great"}, `there is no outcome "great"`},
		"a failure, the reason blank":      {report.Facts{Outcome: report.Failed, Reason: " \n"}, "a failure wants a reason"},
	}
	for name, c := range cases {
		if _, err := report.New(c.facts); !errors.Is(err, report.ErrFacts) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v; want %q", name, err, c.want)
		}
	}
}

// TestMarkdownIsInert: texts of others cannot break out of their cell or bring markup.
func TestMarkdownIsInert(t *testing.T) {
	t.Parallel()
	f := facts(t, "testdata/released.facts.json")
	f.Source.Subject = "a | b <script>alert(1)</script> [x](http://y) **z** `c`\n# d"
	f.Source.Branch = "b`| c"
	f.Commit.Edits[0].Before = "x`\n|y"
	d, err := report.New(f)
	if err != nil {
		t.Fatal(err)
	}
	md := string(d.Markdown())
	for _, bad := range []string{"<script", " | b", "[x](", "**z**", "\n# d", "\n|y"} {
		if strings.Contains(md, bad) {
			t.Errorf("%q is in\n%s", bad, md)
		}
	}
	if want := "x` \\|y"; !strings.Contains(md, want) {
		t.Errorf("%q is not in\n%s", want, md)
	}
}

func TestSecretsOfAnyForm(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"canary", `ca"na\ry`, "<canary>&", "schemaVersion", "released"} {
		f := facts(t, "testdata/published-not-committed.facts.json")
		f.Reason = "the remote said " + secret
		d, err := report.New(f, "", secret)
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", secret, err)
			}
			continue
		}
		if strings.Contains(d.Reason, secret) || strings.Contains(string(d.Markdown()), secret) {
			t.Errorf("%s shows: %s", secret, d.Reason)
		}
	}
}
