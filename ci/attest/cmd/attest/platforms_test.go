package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/policy"
)

// TestPlatforms: of an image of several platforms each is listed, scanned, and has its SBOMs on its own manifest; what is
// signed is their list.
func TestPlatforms(t *testing.T) {
	private := keyPair(t)
	host := registryHost(t, nil)
	on := func(architecture string, packages ...string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: build(t, architecture, packages...), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}}
	}
	ref := push(t, host, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), on("amd64", "ms@2.1.3"), on("arm64", "ms@2.1.3", "express@4.22.1")))
	image := with([]string{"image", ref, "--name", "example.com/app"}, origin...)
	verify := []string{"verify-release", ref, "--name", "example.com/app", "--key", "cosign.pub"}
	said := func(made attested) (all []string) {
		for _, a := range made.Attached {
			all = append(all, strings.TrimSpace(attest.Title(a.PredicateType)+" "+a.Platform))
		}
		return all
	}

	// Without a key the SBOMs alone, each with its own image.
	var bare attested
	if err := json.Unmarshal([]byte(must(t, with(image, "--out", ".")...)), &bare); err != nil {
		t.Fatal(err)
	}
	if got, want := said(bare), []string{"SPDX SBOM linux/amd64", "CycloneDX SBOM linux/amd64", "SPDX SBOM linux/arm64", "CycloneDX SBOM linux/arm64"}; bare.Signed || !slices.Equal(got, want) {
		t.Errorf("attached are %q, want %q", got, want)
	}
	for file, want := range map[string][2]string{
		"sbom.linux-amd64.spdx.json":      {"pkg:npm/ms@2.1.3", "pkg:npm/express@4.22.1"},
		"sbom.linux-amd64.cyclonedx.json": {"pkg:npm/ms@2.1.3", "pkg:npm/express@4.22.1"},
		"sbom.linux-arm64.spdx.json":      {"pkg:npm/express@4.22.1", ""},
		"sbom.linux-arm64.cyclonedx.json": {"pkg:npm/express@4.22.1", ""},
	} {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), want[0]) || want[1] != "" && strings.Contains(string(text), want[1]) {
			t.Errorf("%s: %v, %s", file, err, text)
		}
	}

	t.Setenv(keyVariable, private)
	t.Setenv(keyPasswordVariable, canary)
	// One platform has what the other has not: that is enough to refuse, and nothing is attached.
	vulnerable := with(image, "--vulnerability-database", database(t))
	if _, err := attestRun(t, with(vulnerable, "--fail-on", "high")...); err == nil || !strings.Contains(err.Error(), ": linux/arm64: the image has vulnerabilities") {
		t.Errorf("got %v", err)
	}
	if _, err := attestRun(t, verify...); err == nil || !strings.Contains(err.Error(), "unsigned") {
		t.Errorf("something was attached: %v", err)
	}

	var made attested
	if err := json.Unmarshal([]byte(must(t, vulnerable...)), &made); err != nil {
		t.Fatal(err)
	}
	if got, want := said(made), append(said(bare), "provenance", "signature"); !slices.Equal(got, want) {
		t.Errorf("attached are %q, want %q", got, want)
	}
	if made.Total != 0 || made.Scan != nil || len(made.Platforms) != 2 {
		t.Fatalf("%+v", made)
	}
	for n, want := range []listed{{Platform: "linux/amd64", Total: 1}, {Platform: "linux/arm64", Total: 2}} {
		if got := made.Platforms[n]; got.Platform != want.Platform || got.Total != want.Total || got.Packages["npm"] != want.Total || got.Digest == "" || !got.Scan.Scanned || got.Scan.Found["high"] != n {
			t.Errorf("%+v, %+v", got, got.Scan)
		}
	}

	var looked scanned
	if err := json.Unmarshal([]byte(must(t, "scan", ref, "--vulnerability-database", database(t))), &looked); err != nil {
		t.Fatal(err)
	}
	if len(looked.Platforms) != 2 || looked.Packages != 0 || looked.Platforms[1].Packages != 2 || looked.Platforms[0].Scan.Found["high"] != 0 || looked.Platforms[1].Scan.Found["high"] != 1 {
		t.Errorf("%+v", looked)
	}
	if _, err := attestRun(t, "scan", ref, "--vulnerability-database", database(t), "--fail-on", "high"); err == nil || !strings.Contains(err.Error(), ": linux/arm64: the image has vulnerabilities") {
		t.Errorf("got %v", err)
	}

	var verified policy.Verified
	if err := json.Unmarshal([]byte(must(t, verify...)), &verified); err != nil {
		t.Fatal(err)
	}
	if len(verified.Platforms) != 2 || verified.Platforms[1].Packages != 2 || len(verified.Attached) != 6 {
		t.Errorf("%+v", verified)
	}

	var again attested
	if err := json.Unmarshal([]byte(must(t, vulnerable...)), &again); err != nil {
		t.Fatal(err)
	}
	for _, a := range again.Attached {
		if !a.Kept {
			t.Errorf("again: %+v", a)
		}
	}
}
