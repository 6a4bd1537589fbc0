package sbom_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
)

// files are those of a small image of the released one's layout: traced npm packages, Debian's packages as distroless
// lists them, and the app's own packages.
var files = map[string]string{
	"app/package.json":                                `{"name":"root","version":"1.0.0","private":true}`,
	"app/node_modules/express/package.json":           `{"name":"express","version":"4.22.1","license":"MIT"}`,
	"app/node_modules/@backstage/config/package.json": `{"name":"@backstage/config","version":"1.3.3","license":"Apache-2.0"}`,
	"app/node_modules/a/node_modules/ms/package.json": `{"name":"ms","version":"2.0.0"}`,
	"etc/os-release":                                  "ID=debian\nVERSION_ID=\"12\"\nNAME=Debian\nPRETTY_NAME=\"Distroless\"\n",
	"var/lib/dpkg/status.d/libc6":                     "Package: libc6\nVersion: 2.36-9+deb12u13\nArchitecture: amd64\nMaintainer: x\nSource: glibc\n",
}

func build(t *testing.T, files map[string]string) sbom.Image {
	t.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, dir := range []string{"var/", "var/lib/", "var/lib/dpkg/", "var/lib/dpkg/status.d/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return sbom.Image{Name: "example.com/app", Digest: digest.String(), Created: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Content: img}
}

func TestMake(t *testing.T) {
	t.Parallel()
	i := build(t, files)
	d, err := sbom.Make(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if d.Packages["npm"] != 4 || d.Packages["deb"] != 1 {
		t.Errorf("%v; want 4 npm and 1 deb", d.Packages)
	}
	for _, want := range []string{"pkg:npm/express@4.22.1", "pkg:npm/%40backstage/config@1.3.3", "pkg:npm/ms@2.0.0", "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13", "2026-11-23T12:00:00Z", i.Digest} {
		for format, text := range map[string][]byte{"SPDX": d.SPDX, "CycloneDX": d.CycloneDX} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not name %s", format, want)
			}
		}
	}
	if err := sbom.CheckSPDX(d.SPDX, i.Digest); err != nil {
		t.Error(err)
	}
	if err := sbom.CheckCycloneDX(d.CycloneDX, i.Digest); err != nil {
		t.Error(err)
	}
	var spdx struct{ SPDXVersion string }
	if err := json.Unmarshal(d.SPDX, &spdx); err != nil || spdx.SPDXVersion != "SPDX-2.3" {
		t.Errorf("%+v, %v", spdx, err)
	}
}

// TestMakeIsTheSame: whoever lists an image, and when.
func TestMakeIsTheSame(t *testing.T) {
	t.Parallel()
	i := build(t, files)
	first, err := sbom.Make(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // the formats' times are in seconds
	second, err := sbom.Make(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.SPDX, second.SPDX) {
		t.Errorf("SPDX differs:\n%s\n%s", first.SPDX, second.SPDX)
	}
	if !bytes.Equal(first.CycloneDX, second.CycloneDX) {
		t.Errorf("CycloneDX differs:\n%s\n%s", first.CycloneDX, second.CycloneDX)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	if _, err := sbom.Make(t.Context(), build(t, map[string]string{"app/index.js": "1"})); !errors.Is(err, sbom.ErrEmpty) {
		t.Errorf("an image without packages: %v", err)
	}
	d, err := sbom.Make(t.Context(), build(t, files))
	if err != nil {
		t.Fatal(err)
	}
	other := "sha256:" + strings.Repeat("0", 64)
	if err := sbom.CheckSPDX(d.SPDX, other); !errors.Is(err, sbom.ErrOther) {
		t.Errorf("SPDX of another image: %v", err)
	}
	if err := sbom.CheckCycloneDX(d.CycloneDX, other); !errors.Is(err, sbom.ErrOther) {
		t.Errorf("CycloneDX of another image: %v", err)
	}
	for _, text := range []string{"", "{}", `{"bomFormat":"CycloneDX"}`} {
		if sbom.CheckSPDX([]byte(text), other) == nil || sbom.CheckCycloneDX([]byte(text), other) == nil {
			t.Errorf("%q is taken for an SBOM", text)
		}
	}
}
