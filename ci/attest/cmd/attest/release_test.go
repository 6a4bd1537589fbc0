package main

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sigstoretest"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// asProgram has this test's binary be the program.
const asProgram = "ATTEST_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// TestVerifyRelease: a release that is not what it has to be is refused by name of what is wrong.
func TestVerifyRelease(t *testing.T) {
	private := keyPair(t)
	var broken atomic.Value
	broken.Store("")
	ref, content := publish(t, registryHost(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if path.Base(r.URL.Path) == broken.Load().(string) && r.Method == http.MethodGet {
				_, _ = w.Write([]byte("another layer"))
				return
			}
			next.ServeHTTP(w, r)
		})
	}))
	verify := []string{"verify-release", ref, "--name", "example.com/app", "--key", "cosign.pub"}
	refused := func(what, want string, args ...string) {
		t.Helper()
		if out, err := attestRun(t, args...); err == nil || out != "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %s, %v; want %q", what, out, err, want)
		}
	}
	refused("unsigned", "is unsigned: nothing is attached to it: release it again with a signing key", verify...)
	// The bare SBOMs are no signature.
	must(t, with([]string{"image", ref, "--name", "example.com/app"}, origin...)...)
	refused("with SBOMs alone", "is unsigned: nothing is attached to it", verify...)

	t.Setenv(keyVariable, private)
	t.Setenv(keyPasswordVariable, canary)
	must(t, with([]string{"image", ref, "--name", "example.com/app"}, origin...)...)
	must(t, with(verify, origin...)...)
	for flag, c := range map[string]struct{ value, want string }{
		"--revision":   {bump, "its provenance is refused: a provenance for another commit: " + revision + ", not " + bump},
		"--repository": {"https://github.com/evil/portal", "its provenance is refused: a provenance of another source repository"},
		"--builder":    {"https://evil.example", "its provenance is refused: a provenance of another builder"},
	} {
		refused(flag, c.want, with(verify, flag, c.value)...)
	}

	must(t, "public-key", "--out", "first.pub")
	must(t, "generate-key-pair", "--output-key-prefix", "other")
	refused("another key", "its signature is refused: signed by another key", with([]string{"verify-release", ref, "--name", "example.com/app"}, "--key", "other.pub")...)
	must(t, "verify-release", ref, "--name", "example.com/app", "--key", "first.pub")

	layers, err := content.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(digest.String())
	refused("a tampered layer", "the image was tampered with: its content does not match its digest", verify...)
	// Which is not looked at where that was said.
	must(t, with(verify, "--layers=false")...)
	_, manifest, _ := strings.Cut(ref, "@")
	broken.Store(manifest)
	for _, layers := range []string{"--layers=true", "--layers=false"} {
		refused("a tampered manifest", "the image was tampered with: its content does not match its digest", with(verify, layers)...)
	}
}

// TestVerifyReleaseOffline: what a workflow has signed without a key is verified by the trusted root of its Sigstore, a
// private one, with nobody to ask.
func TestVerifyReleaseOffline(t *testing.T) {
	keyPair(t)
	t.Setenv("TUF_MIRROR", "http://127.0.0.1:1")
	t.Setenv("TUF_ROOT", t.TempDir())
	here := sigstoretest.New(t)
	ref, _ := publish(t, registryHost(t, nil))
	signAt(t, here, ref, workflow, "")
	trusted := func(s *sigstoretest.Sigstore) string {
		return writeAs(t, "trusted-root.json", string(s.TrustedRoot(t)))
	}

	verify := with([]string{"verify-release", ref, "--name", "example.com/app"}, origin...)
	if out := must(t, with(verify, "--identity", workflow, "--trusted-root", trusted(here))...); !strings.Contains(out, workflow) {
		t.Errorf("it does not say by whom: %s", out)
	}
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"another workflow": {[]string{"--identity", workflow + "-2", "--trusted-root", trusted(here)}, "its signature is refused: signed by another key"},
		"another Sigstore": {[]string{"--identity", workflow, "--trusted-root", trusted(sigstoretest.New(t))}, "its signature is refused: signed by another key"},
		"no trusted root":  {[]string{"--identity", workflow, "--trusted-root", "cosign.pub"}, "cosign.pub: no trusted root of Sigstore"},
		"nobody to ask":    {[]string{"--identity", workflow}, "without a network give it as a file"},
		"for a key":        {[]string{"--key", "cosign.pub", "--trusted-root", trusted(here)}, "--trusted-root is for --identity, and for --transparency-log: a key needs none"},
	} {
		if out, err := attestRun(t, with(verify, c.args...)...); err == nil || out != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %s, %v; want %q", what, out, err, c.want)
		}
	}
}

// signAt attaches to an image all that a release does, signed by a workflow that runs at a commit.
func signAt(t *testing.T, as *sigstoretest.Sigstore, ref, identity, commit string) {
	t.Helper()
	i, err := attest.Open(t.Context(), ref, "example.com/app", image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := sbom.Make(t.Context(), sbom.Image{Name: i.Name, Digest: i.Digest(), Created: i.Created, Content: i.Content})
	if err != nil {
		t.Fatal(err)
	}
	made, err := provenance.Facts{Repository: "https://github.com/acme/portal", Revision: revision, Builder: "https://github.com/acme/portal/builder"}.Make()
	if err != nil {
		t.Fatal(err)
	}
	for kind, predicate := range map[string][]byte{attest.SPDX: documents.SPDX, attest.CycloneDX: documents.CycloneDX, attest.Provenance: made, attest.Signature: []byte("{}")} {
		text, err := i.Statement(kind, predicate).JSON()
		if err != nil {
			t.Fatal(err)
		}
		as.AttachAt(t, ref, identity, attest.GitHubIssuer, commit, kind, text)
	}
}

// TestVerifyReleaseNeverMerged: whoever may push a tag can have a release.yml run there that they have altered and nobody
// has merged; what it signs, as the workflow of the very repository, and whatever it says of its source, is refused where
// the branch counts.
func TestVerifyReleaseNeverMerged(t *testing.T) {
	keyPair(t)
	t.Setenv("TUF_MIRROR", "http://127.0.0.1:1")
	t.Setenv("TUF_ROOT", t.TempDir())
	clone := filepath.Join(t.TempDir(), "clone")
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", clone, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func(text string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(clone, ".github/workflows"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(clone, ".github/workflows/release.yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		git("add", "-A")
		git("commit", "-q", "-m", "ci: release")
		return git("rev-parse", "HEAD")
	}
	if err := os.Mkdir(clone, 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "-q", "-b", "main")
	merged := commit("on: push")
	git("tag", "v1.0.0")
	git("checkout", "-q", "-b", "evil")
	evil := commit("on: push # and sign whatever I like")
	git("tag", "v9.9.9")
	git("checkout", "-q", "main")
	commit("on: push # of main")

	here := sigstoretest.New(t)
	root := writeAs(t, "trusted-root.json", string(here.TrustedRoot(t)))
	for name, c := range map[string]struct{ tag, at, want string }{
		"a version of the branch":     {"v1.0.0", merged, ""},
		"a tag that was never merged": {"v9.9.9", evil, "signed by a run of the workflow at a commit that was never merged: " + evil + " is not in the history of "},
		"a commit of nobody's":        {"v9.9.9", strings.Repeat("7", 40), "never merged: 7777"},
		"a certificate without one":   {"v1.0.0", "", "its certificate does not say which"},
	} {
		t.Run(name, func(t *testing.T) {
			ref, _ := publish(t, registryHost(t, nil))
			identity := strings.Replace(workflow, "refs/heads/main", "refs/tags/"+c.tag, 1)
			signAt(t, here, ref, identity, c.at)
			verify := with(with([]string{"verify-release", ref, "--name", "example.com/app", "--identity", identity, "--trusted-root", root}, origin...))
			// The signature is as good as any.
			must(t, verify...)
			out, err := attestRun(t, with(verify, "--workflow-history", clone)...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !refused(err)) {
				t.Errorf("got %s, %v; want %q", out, err, c.want)
			}
		})
	}
	if _, err := attestRun(t, "verify-release", "localhost:1/app@sha256:"+strings.Repeat("0", 64), "--key", "cosign.pub", "--workflow-history", clone); err == nil || !strings.Contains(err.Error(), "--workflow-history is for --identity") {
		t.Errorf("for a key it says %v", err)
	}
}

// TestSecretsStay: key and password are in no argument, in nothing that the program prints, and in no file that it writes,
// here or in the registry, whether it succeeds or fails.
func TestSecretsStay(t *testing.T) {
	private := keyPair(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	storage, temp := t.TempDir(), t.TempDir()
	ref, _ := publish(t, registryHost(t, nil, registry.WithBlobHandler(registry.NewDiskBlobHandler(storage))))
	lines := strings.Split(strings.TrimSpace(private), "\n")
	secrets := map[string]string{"password": canary, "password, encoded": base64.StdEncoding.EncodeToString([]byte(canary)), "key": lines[len(lines)/2]}
	clean := func(where string, text []byte) {
		t.Helper()
		for what, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("the %s is in %s", what, where)
			}
		}
	}
	try := func(password string, args ...string) error {
		cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + temp, "TMPDIR=" + temp, asProgram + "=1", keyVariable + "=" + private, keyPasswordVariable + "=" + password}
		out, err := cmd.CombinedOutput()
		clean("the arguments of "+args[0], []byte(strings.Join(cmd.Args, " ")))
		clean("what "+args[0]+" prints", out)
		if err != nil {
			t.Logf("%s", out)
		}
		return err
	}
	digest := ref[strings.Index(ref, "@")+1:]
	if err := os.WriteFile("facts.json", facts(t, digest, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"signer"},
		{"public-key", "--out", "again.pub"},
		with([]string{"image", ref, "--name", "example.com/app", "--out", "."}, origin...),
		{"verify-release", ref, "--name", "example.com/app", "--key", "again.pub"},
		{"proof", "sign", "facts.json", "--out", "release.proof.json"},
		{"proof", "verify", "release.proof.json", "--key", "again.pub", "--image", digest, "--revision", revision},
	} {
		if err := try(canary, args...); err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
	}
	for _, args := range [][]string{
		{"signer"},
		with([]string{"image", ref, "--name", "example.com/app"}, origin...),
		{"proof", "sign", "facts.json"},
		{"image", "localhost:1/app@" + digest},
	} {
		if err := try("wrong-"+canary, args...); err == nil {
			t.Errorf("%s: opened by a wrong password", args[0])
		}
	}
	files := 0
	for _, root := range []string{dir, storage, temp} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Base(name) == "cosign.key" {
				return err
			}
			text, err := os.ReadFile(name)
			clean(name, text)
			files++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The image's two blobs, four bundles and an empty configuration in the registry; here two SBOMs, the document, the facts, two public keys.
	if files < 12 {
		t.Errorf("only %d files were looked at", files)
	}
}
