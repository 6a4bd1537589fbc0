package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	revision = "0123456789abcdef0123456789abcdef01234567"
	canary   = "canary-password"
)

// attestRun runs the program and returns what it prints.
func attestRun(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newRoot()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	said := out.String()
	if err != nil {
		said += err.Error()
	}
	for _, secret := range []string{canary, os.Getenv(keyVariable)} {
		if secret != "" && strings.Contains(said, secret) {
			t.Errorf("a secret is in %s", strings.ReplaceAll(said, secret, "CANARY"))
		}
	}
	return out.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := attestRun(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unset takes variables out of the environment, until the test ends.
func unset(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		t.Setenv(name, "") // brings it back
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// keyPair makes cosign.key and cosign.pub in a new working directory, and leaves nothing to sign with in the environment.
func keyPair(t *testing.T) (private string) {
	t.Helper()
	t.Chdir(t.TempDir())
	unset(t, keyVariable, keyPasswordVariable)
	t.Setenv(keyPasswordVariable, canary)
	must(t, "generate-key-pair")
	unset(t, keyPasswordVariable)
	text, err := os.ReadFile("cosign.key")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// registryHost is a registry that has no referrers API.
func registryHost(t *testing.T, wrap func(http.Handler) http.Handler, options ...registry.Option) string {
	t.Helper()
	h := registry.New(append(options, registry.Logger(log.New(io.Discard, "", 0)))...)
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// publish puts an image with one npm package into a registry, and returns its reference.
func publish(t *testing.T, host string) (ref string, content v1.Image) {
	t.Helper()
	img := build(t, "amd64", "express@4.22.1")
	return push(t, host, img), img
}

// build makes an image with npm packages.
func build(t *testing.T, architecture string, packages ...string) v1.Image {
	t.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, one := range packages {
		name, version, _ := strings.Cut(one, "@")
		manifest := `{"name":"` + name + `","version":"` + version + `"}`
		if err := w.WriteHeader(&tar.Header{Name: "app/node_modules/" + name + "/package.json", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(manifest))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, manifest); err != nil {
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
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: architecture, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Labels: map[string]string{"org.opencontainers.image.revision": revision}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		t.Fatal(err)
	}
	return img
}

// push puts an image, or one of several platforms, into a registry.
func push(t *testing.T, host string, img interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}) (ref string) {
	t.Helper()
	tag, err := name.NewTag(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(tag, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return host + "/app@" + digest.String()
}

// origin is where the image comes from.
var origin = []string{"--repository", "https://github.com/acme/portal", "--revision", revision, "--builder", "https://github.com/acme/portal/builder"}

// with is a command line with more behind it.
func with(args []string, more ...string) []string { return append(slices.Clone(args), more...) }

// database is a vulnerability database in which express has a vulnerability of high severity.
func database(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w, err := v6.NewWriter(v6.Config{DBDirPath: dir, CacheSizeKiB: 1024})
	if err != nil {
		t.Fatal(err)
	}
	provider := &v6.Provider{ID: "test", Version: "1", Processor: "test", InputDigest: "sha256:0"}
	v := &v6.VulnerabilityHandle{Name: "CVE-2026-0001", Status: v6.VulnerabilityActive, ProviderID: provider.ID, Provider: provider, BlobValue: &v6.VulnerabilityBlob{
		ID: "CVE-2026-0001", Severities: []v6.Severity{{Scheme: v6.SeveritySchemeCHML, Value: "high"}},
	}}
	affected := &v6.AffectedPackageHandle{Vulnerability: v, Package: &v6.Package{Ecosystem: "npm", Name: "express"}, BlobValue: &v6.PackageBlob{
		Ranges: []v6.Range{{Version: v6.Version{Type: "semver", Constraint: "<4.22.2"}}},
	}}
	if err := errors.Join(w.AddVulnerabilities(v), w.AddAffectedPackages(affected), w.SetDBMetadata(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestProgram signs and verifies an image as people do, with a key of their own.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	unset(t, keyVariable, keyPasswordVariable)
	if _, err := attestRun(t, "generate-key-pair"); err == nil || !strings.Contains(err.Error(), keyPasswordVariable) {
		t.Errorf("a key without a password: %v", err)
	}
	t.Setenv(keyPasswordVariable, canary)
	must(t, "generate-key-pair")
	if _, err := attestRun(t, "generate-key-pair"); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another key: %v", err)
	}
	info, err := os.Stat("cosign.key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	private, err := os.ReadFile("cosign.key")
	if err != nil {
		t.Fatal(err)
	}
	unset(t, keyPasswordVariable)

	// Without a key: the SBOMs alone, and the result says so.
	ref, _ := publish(t, registryHost(t, nil))
	image := with([]string{"image", ref, "--name", "example.com/app"}, origin...)
	var bare attested
	if err := json.Unmarshal([]byte(must(t, with(image, "--out", dir)...)), &bare); err != nil {
		t.Fatal(err)
	}
	if bare.Signed || bare.Total != 1 || len(bare.Attached) != 2 || bare.Scan.Scanned || bare.Scan.Reason != "no vulnerability database was given" {
		t.Errorf("%+v, %+v", bare, bare.Scan)
	}
	for _, file := range []string{"sbom.spdx.json", "sbom.cyclonedx.json"} {
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "pkg:npm/express@4.22.1") {
			t.Errorf("%s: %s, %v", file, text, err)
		}
	}
	verify := with([]string{"verify-release", ref, "--name", "example.com/app", "--key", "cosign.pub"}, origin...)
	if _, err := attestRun(t, verify...); err == nil || !strings.Contains(err.Error(), "unsigned") {
		t.Errorf("got %v", err)
	}

	t.Setenv(keyVariable, string(private))
	t.Setenv(keyPasswordVariable, canary)
	// Nothing is attached to an image that is refused.
	vulnerable := with(image, "--vulnerability-database", database(t), "--fail-on", "high")
	if _, err := attestRun(t, vulnerable...); err == nil || !strings.Contains(err.Error(), "CVE-2026-0001 (high) in express 4.22.1") {
		t.Errorf("got %v", err)
	}
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"not scanned":         {[]string{"--require-scan"}, "not scanned, and --require-scan wants it: no vulnerability database was given"},
		"no site":             {[]string{"--require-scan", "--vulnerability-database", "http://127.0.0.1:1/databases"}, "not scanned, and --require-scan wants it: no vulnerability database could be reached"},
		"no database":         {[]string{"--vulnerability-database", t.TempDir()}, "the vulnerability database cannot be used"},
		"a broken database":   {[]string{"--vulnerability-database", filepath.Dir(writeAs(t, v6.VulnerabilityDBFileName, "no database"))}, "the vulnerability database cannot be used"},
		"no severity":         {[]string{"--fail-on", "bad"}, "it can be negligible, low, medium, high, critical"},
		"two signers":         {[]string{"--key-service", "http://127.0.0.1:1"}, "more than one thing to sign with"},
		"a list that expired": {[]string{"--ignore-vulnerabilities", write(t, "ignore: [{vulnerability: CVE-1, reason: x, expires: 2020-01-01}]")}, "has expired on 2020-01-01"},
	} {
		if _, err := attestRun(t, with(image, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
	if _, err := attestRun(t, verify...); err == nil || !strings.Contains(err.Error(), "unsigned") {
		t.Errorf("something was attached: %v", err)
	}

	ignored := write(t, "ignore: [{vulnerability: CVE-2026-0001, package: express, reason: not called, expires: 9999-12-31}]")
	var made attested
	if err := json.Unmarshal([]byte(must(t, with(vulnerable, "--ignore-vulnerabilities", ignored)...)), &made); err != nil {
		t.Fatal(err)
	}
	if !made.Signed || made.Logged || len(made.Attached) != 4 || !made.Scan.Scanned || made.Scan.Ignored != 1 || made.Scan.Threshold != "high" {
		t.Errorf("%+v, %+v", made, made.Scan)
	}
	if out := must(t, verify...); !strings.Contains(out, made.SignedBy) || !strings.Contains(out, revision) {
		t.Errorf("it does not say by whom and of what: %s", out)
	}
	// A higher threshold lets it pass, and where there is no database the result says so.
	var passed, unscanned attested
	if err := json.Unmarshal([]byte(must(t, with(image, "--vulnerability-database", database(t), "--fail-on", "critical")...)), &passed); err != nil {
		t.Fatal(err)
	}
	if passed.Scan.Found["high"] != 1 || !passed.Attached[0].Kept {
		t.Errorf("%+v, %+v", passed, passed.Scan)
	}
	if err := json.Unmarshal([]byte(must(t, with(image, "--vulnerability-database", "http://127.0.0.1:1/databases")...)), &unscanned); err != nil {
		t.Fatal(err)
	}
	if unscanned.Scan.Scanned || !strings.HasPrefix(unscanned.Scan.Reason, "no vulnerability database could be reached") {
		t.Errorf("%+v", unscanned.Scan)
	}

	// What is there is looked up as it would be before, and nothing is attached.
	look := []string{"scan", ref, "--name", "example.com/app"}
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"vulnerable":  {[]string{"--vulnerability-database", database(t), "--fail-on", "high"}, "CVE-2026-0001 (high) in express 4.22.1"},
		"not scanned": {[]string{"--require-scan"}, "not scanned, and --require-scan wants it: no vulnerability database was given"},
		"no severity": {[]string{"--fail-on", "bad"}, "it can be negligible, low, medium, high, critical"},
	} {
		if _, err := attestRun(t, with(look, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
	var again scanned
	if err := json.Unmarshal([]byte(must(t, with(look, "--vulnerability-database", database(t), "--fail-on", "critical", "--require-scan")...)), &again); err != nil {
		t.Fatal(err)
	}
	if again.Image != made.Image || again.Packages != 1 || !again.Scan.Scanned || again.Scan.Found["high"] != 1 {
		t.Errorf("%+v, %+v", again, again.Scan)
	}
	if err := json.Unmarshal([]byte(must(t, look...)), &again); err != nil || again.Scan.Scanned {
		t.Errorf("%+v, %v", again.Scan, err)
	}
	must(t, "public-key", "--out", "again.pub")
	must(t, "verify-release", ref, "--name", "example.com/app", "--key", "again.pub")

	t.Setenv(keyPasswordVariable, "another")
	if _, err := attestRun(t, image...); err == nil || !strings.Contains(err.Error(), "the password does not open the key") {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	return writeAs(t, "ignore.yaml", text)
}

func writeAs(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUsage: a wrong command line is another error than a command that failed.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"none"}, {"image"}, {"image", "a", "b"}, {"image", "a", "--none"}, {"verify-release", "a"}, {"verify-release", "a", "--key", "k", "--identity", "i"}, {"proof", "none"}, {"proof", "verify"},
		{"image", "a", "--key-service", ""}, {"verify-release", "a", "--key", ""}, {"verify-release", "a", "--key", "k", "--revision", ""}, {"proof", "verify", "f", "--key", "k", "--image", ""},
		{"proof", "verify", "f", "--key", "k", "--image", "app:1"}, {"proof", "verify", "f", "--key", "k", "--revision", "main"}, {"proof", "verify", "f", "--key", "k", "--trusted-root", "r"},
		{"signer", "a"}, {"scan"}, {"scan", "a", "--vulnerability-database", ""}, {"public-key", "a"}, {"generate-key-pair", "a"},
	} {
		_, err := attestRun(t, args...)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("%q: got %v", args, err)
		}
	}
}
