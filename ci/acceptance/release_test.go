package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dagger.io/dagger"
)

var imageReference = regexp.MustCompile(`\Alocalhost:5000/backstage-gitops@sha256:[0-9a-f]{64}\z`)

// A release to the embedded targets, of this very checkout, and what is in registry and Git remote then.
func TestRelease(t *testing.T) {
	t.Parallel()
	m := module{Ephemeral: true}
	first, err := release(t, m, "")
	if err != nil {
		t.Fatal(err)
	}
	head := git(t, project, "rev-parse", "HEAD")
	report := first.document(t)
	switch {
	case first.Outcome != "released" || report.Outcome != "released":
		t.Fatalf("it ended with %q, in the report %q", first.Outcome, report.Outcome)
	case !imageReference.MatchString(first.Image):
		t.Fatalf("the image is %q, want it by digest", first.Image)
	case report.Image.Name+"@"+report.Image.Digest != first.Image || report.Image.Tag != first.Tag:
		t.Errorf("the report names the image %+v, the release %s with tag %s", report.Image, first.Image, first.Tag)
	case report.Commit.SHA != first.Commit || report.Commit.Parent != head || report.Source.Revision != head:
		t.Errorf("the report names %+v of %+v, want the commit %s on top of %s", report.Commit, report.Source, first.Commit, head)
	case first.Summary != first.Report.Markdown.Contents || !strings.Contains(first.Summary, report.Image.Digest):
		t.Errorf("the summary is not the report's Markdown:\n%s", first.Summary)
	}

	t.Run("commit", func(t *testing.T) {
		clone := cloneEmbedded(t, m)
		if tip := git(t, clone, "rev-parse", "main"); tip != first.Commit {
			t.Fatalf("main of the Git remote is %s, want the release's commit %s", tip, first.Commit)
		}
		if parent := git(t, clone, "rev-parse", "main^"); parent != head {
			t.Errorf("its parent is %s, want %s", parent, head)
		}
		var changed []string
		for line := range strings.SplitSeq(git(t, clone, "diff", "--unified=0", "--no-color", "main^", "main"), "\n") {
			if scalar := regexp.MustCompile(`\A\+\s*(\w+):`).FindStringSubmatch(line); scalar != nil {
				changed = append(changed, scalar[1])
			} else if strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "+++ ") {
				t.Errorf("it adds %q", line)
			}
		}
		slices.Sort(changed)
		if want := []string{"appVersion", "digest", "tag", "version"}; !slices.Equal(changed, want) {
			t.Errorf("it changes %q, want %q", changed, want)
		}
		values, err := os.ReadFile(filepath.Join(clone, "charts/backstage/values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(values), report.Image.Digest) {
			t.Errorf("values.yaml does not name %s", report.Image.Digest)
		}
	})

	t.Run("image", func(t *testing.T) {
		// Its sizes, and that nothing is in it that does not belong there.
		_, ref, _ := strings.Cut(first.Image, "/")
		command(t, ".", "gitops", "image", "check", "--plain-http", tunnel(t, embedded(t, m, "registry"))+"/"+ref)
		pulled := client.Container().From(first.Image, dagger.ContainerFromOpts{RegistryService: embedded(t, m, "registry")})
		use(t, pulled)
	})

	t.Run("verified", func(t *testing.T) {
		switch said := report.Attestation; {
		case !said.Signed || said.Packages["npm"] < 100 || said.Packages["deb"] == 0 || said.Packages["binary"] == 0:
			t.Errorf("the report says of the image %+v", said)
		case report.Verification.Image != first.Image || report.Verification.Origin.Revision != report.Source.InputsRevision:
			t.Errorf("the report says that it has verified %+v", report.Verification)
		case said.Scan.Scanned || !strings.Contains(first.Summary, "**not scanned**: no vulnerability database was given"):
			t.Errorf("the report does not say that nothing was scanned:\n%s", first.Summary)
		}
		if chart := report.ChartArtifact; chart.Name != "localhost:5000/backstage" || !strings.HasPrefix(chart.Digest, "sha256:") || chart.SignedBy != report.Attestation.SignedBy {
			t.Errorf("the report says of the chart %+v", chart)
		}
		if !slices.Contains(first.Report.Entries, "release.proof.json") {
			t.Errorf("the report is %q, without the signed proof", first.Report.Entries)
		}
		if proof := report.ProofBundle; proof.Digest == "" || proof.Kept || !strings.HasPrefix(proof.Verdict, "a release: the commit "+first.Commit) || !strings.HasSuffix(proof.Verdict, "no cluster ran it") {
			t.Errorf("the report says of the signed proof %+v", proof)
		}
		said, err := verify(t, m, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"## Verified " + first.Image, report.Source.InputsRevision, "https://github.com/backstage-gitops/backstage-gitops", "| Proof | " + report.ProofBundle.Digest + ": a release: the commit " + first.Commit} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in\n%s", want, said)
			}
		}
	})

	t.Run("proof", func(t *testing.T) {
		fetched, err := call[struct{ ReleaseProof struct{ Contents string } }](t, m, fmt.Sprintf("releaseProof(unproven: true, revision: %q) { contents }", head))
		if err != nil || !strings.Contains(fetched.ReleaseProof.Contents, "dsseEnvelope") {
			t.Errorf("it fetches %q, %v", fetched.ReleaseProof.Contents, err)
		}
		_, err = call[struct{ ReleaseProof struct{ Contents string } }](t, m, "releaseProof { contents }")
		refused(t, err, "its proof is refused: ")
		refused(t, err, "the release was not proven in a cluster")
		_, err = call[struct{ ReleaseProof struct{ Contents string } }](t, m, fmt.Sprintf("releaseProof(unproven: true, commit: %q) { contents }", head))
		refused(t, err, "it is of another commit that names the image: "+first.Commit)
	})

	t.Run("refused", func(t *testing.T) {
		_, err := verify(t, m, fmt.Sprintf("(revision: %q)", strings.Repeat("f", 40)))
		refused(t, err, "its provenance is refused: a provenance for another commit")
		_, err = verify(t, m, fmt.Sprintf("(image: %q, key: $key)", first.Image), variable{"key", "ID!", publicKey(t)})
		refused(t, err, "its signature is refused: signed by another key")
		_, err = verify(t, m, "(trustedRoot: $root)", variable{"root", "ID!", publicKey(t)})
		refused(t, err, "--trusted-root is for --identity, and for --transparency-log: a key needs none")
		_, err = verify(t, m, fmt.Sprintf("(image: %q, identity: %q, trustedRoot: $root)", first.Image, "https://github.com/acme/portal/.github/workflows/release.yml@refs/heads/main"), variable{"root", "ID!", publicKey(t)})
		refused(t, err, "/trusted-root.json: no trusted root of Sigstore")
		tampered, err := client.Container().
			From(first.Image, dagger.ContainerFromOpts{RegistryService: embedded(t, m, "registry")}).
			WithNewFile("/app/more.js", "1").
			Publish(t.Context(), "localhost:5000/backstage-gitops:tampered", dagger.ContainerPublishOpts{RegistryService: embedded(t, m, "registry")})
		if err != nil {
			t.Fatal(err)
		}
		name, digest, _ := strings.Cut(tampered, "@")
		_, err = verify(t, m, fmt.Sprintf("(image: %q)", strings.TrimSuffix(name, ":tampered")+"@"+digest))
		refused(t, err, "unsigned: nothing is attached to it")
	})

	t.Run("again", func(t *testing.T) {
		answer, err := call[struct{ Release string }](t, m, "release(verify: false)")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(answer.Release, "## Nothing to release") || !strings.Contains(answer.Release, report.Image.Digest) {
			t.Errorf("it does not say that there is nothing to release but %s:\n%s", first.Image, answer.Release)
		}
		if !strings.Contains(answer.Release, "| Proof bundle | `"+report.ProofBundle.Digest+"`") {
			t.Errorf("it does not name the proof %s that is there:\n%s", report.ProofBundle.Digest, answer.Release)
		}
		if tip := git(t, cloneEmbedded(t, m), "rev-parse", "main"); tip != first.Commit {
			t.Errorf("main of the Git remote went on from %s to %s", first.Commit, tip)
		}
	})

	t.Run("again, to be scanned", func(t *testing.T) {
		wanted := m
		wanted.Settings = "requireScan: true"
		_, err := release(t, wanted, "")
		refused(t, err, "not scanned, and --require-scan wants it: no vulnerability database was given: the chart names this image already, and nothing was changed")
		wanted.Settings = `failOn: "high"`
		again, err := release(t, wanted, "")
		if err != nil || again.Outcome != "nothing-to-release" || !strings.Contains(again.Summary, "**not scanned**: no vulnerability database was given") {
			t.Errorf("it ends with %q, %v, and does not say that nothing was scanned:\n%s", again.Outcome, err, again.Summary)
		}
	})

	t.Run("by its platform", func(t *testing.T) {
		own, err := client.DefaultPlatform(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		named := fmt.Sprintf("platforms: [%q]", own)
		published, err := call[struct{ Publish string }](t, m, "publish("+named+")")
		if err != nil || published.Publish != first.Image {
			t.Errorf("it publishes %q, %v; want %s, as without platforms", published.Publish, err, first.Image)
		}
		again, err := release(t, m, named)
		if err != nil || again.Outcome != "nothing-to-release" || again.Image != first.Image {
			t.Errorf("it ends with %q of %q, %v; want nothing to release but %s", again.Outcome, again.Image, err, first.Image)
		}
		// An image of one platform is not the one of two, which this engine cannot make.
		_, err = release(t, m, `platforms: ["linux/amd64", "linux/riscv64"]`)
		refused(t, err, "cannot make the image for this platform")
	})
}

// verify verifies an image as people do; arguments are the function's.
func verify(t *testing.T, m module, arguments string, variables ...variable) (string, error) {
	t.Helper()
	answer, err := call[struct{ VerifyRelease string }](t, m, "verifyRelease"+arguments, variables...)
	return answer.VerifyRelease, err
}

// publicKey is the public half of a key that signs nothing.
func publicKey(t *testing.T) dagger.ID {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.Directory().WithNewFile("key.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))).File("key.pub").ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dagger.ID(id)
}

// embedded is one of the module's services.
func embedded(t *testing.T, m module, name string) *dagger.Service {
	t.Helper()
	answer, err := call[map[string]struct{ ID dagger.ID }](t, m, name+" { id }")
	if err != nil {
		t.Fatal(err)
	}
	return dagger.Ref[*dagger.Service](client, answer[name].ID)
}

// tunnel is the address at which this machine reaches a service.
func tunnel(t *testing.T, service *dagger.Service) string {
	t.Helper()
	open, err := client.Host().Tunnel(service).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address, err := open.Endpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func cloneEmbedded(t *testing.T, m module) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	git(t, ".", "clone", "--quiet", "http://"+tunnel(t, embedded(t, m, "git"))+"/backstage-gitops.git", dir)
	return dir
}

// use opens the portal of an image as its people do: both ports answer, a guest signs in, the catalog shows this
// system; Prometheus finds the metrics that the chart's alerts and dashboard ask for. It runs with a read-only root
// filesystem and a writable /tmp, as its own user.
func use(t *testing.T, image *dagger.Container) {
	t.Helper()
	node := client.Container().From(os.Getenv("ACCEPTANCE_NODE_IMAGE"))
	entrypoint, err := image.Entrypoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	args, err := image.DefaultArgs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	portal := node.
		WithMountedDirectory("/image", image.Rootfs()).
		WithFile("/usr/local/bin/readonly", client.Host().File("readonly"), dagger.ContainerWithFileOpts{Permissions: 0o755}).
		WithEnvVariable("NODE_ENV", "production").
		WithEnvVariable("NODE_COMPILE_CACHE", "/app/.compile-cache").
		// What the chart's metrics.enabled sets.
		WithEnvVariable("OTEL_METRICS_EXPORTER", "prometheus").
		WithEnvVariable("OTEL_EXPORTER_PROMETHEUS_HOST", "0.0.0.0").
		WithExposedPort(8000).
		WithExposedPort(4001).
		WithExposedPort(9464).
		AsService(dagger.ContainerAsServiceOpts{
			Args:                     slices.Concat([]string{"readonly"}, entrypoint, args),
			InsecureRootCapabilities: true,
		})
	_, err = node.
		WithServiceBinding("portal", portal).
		WithMountedFile("/smoke.mjs", client.Host().File(filepath.Join(project, "ci/slim/smoke.js"))).
		WithMountedFile("/series.txt", client.Host().File(filepath.Join(project, "ci/charttest/testdata/backend-metrics.txt"))).
		WithEnvVariable("RUN", rand.Text()).
		WithExec([]string{
			"node", "/smoke.mjs", "--backend", "http://portal:4001", "--app", "http://portal:8000",
			"--metrics", "http://portal:9464/metrics", "--series", "/series.txt",
			// On a busy machine: the index of the search is made anew each minute.
			"--timeout", "180",
		}).
		Sync(t.Context())
	if err != nil {
		t.Error(err)
	}
}
