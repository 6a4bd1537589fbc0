package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sigstoretest"
)

const (
	workflow = "https://github.com/acme/portal/.github/workflows/release.yml@refs/heads/main"
	bump     = "fedcba9876543210fedcba9876543210fedcba98"
	released = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
)

// facts are those of a release of the image with the digest, as the steps print them; change makes them others.
func facts(t *testing.T, digest string, change func(commit map[string]any)) []byte {
	t.Helper()
	attached := []any{}
	for _, kind := range []string{attest.SPDX, attest.CycloneDX, attest.Provenance, attest.Signature} {
		attached = append(attached, map[string]any{"predicateType": kind, "digest": "sha256:" + strings.Repeat("2", 64)})
	}
	commit := map[string]any{
		"commit": bump, "parent": revision, "remote": "https://github.com/acme/portal.git", "branch": "main",
		"edits": []any{map[string]any{"path": "image.digest", "after": digest}},
	}
	if change != nil {
		change(commit)
	}
	text, err := json.Marshal(map[string]any{
		"source":       map[string]any{"revision": revision, "inputsRevision": revision},
		"image":        map[string]any{"name": "example.com/app", "digest": digest},
		"attestation":  map[string]any{"attached": attached},
		"verification": map[string]any{"origin": map[string]any{"repository": "https://github.com/acme/portal", "revision": revision, "builder": "b"}},
		"commit":       commit,
		"proof": map[string]any{"proven": true, "revision": bump, "image": "example.com/app", "running": []any{map[string]any{"name": "app-1", "containers": []any{
			map[string]any{"name": "backend", "image": "example.com/app@" + digest, "imageID": "example.com/app@" + digest},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestProofOffline: a document that a workflow signed without a key is verified with two files and no network, and one
// that is not what is asked for is refused.
func TestProofOffline(t *testing.T) {
	dir := t.TempDir()
	// Where Sigstore would be asked there is nobody.
	t.Setenv("TUF_MIRROR", "http://127.0.0.1:1")
	t.Setenv("TUF_ROOT", dir)
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	here := sigstoretest.New(t)
	document := func(name string, change func(map[string]any)) string {
		chain, err := proof.New(facts(t, released, change), "charts/backstage")
		if err != nil {
			t.Fatal(err)
		}
		predicate, err := json.Marshal(chain)
		if err != nil {
			t.Fatal(err)
		}
		statement, err := attest.NewStatement("example.com/app", strings.TrimPrefix(released, "sha256:"), proof.PredicateType, predicate).JSON()
		if err != nil {
			t.Fatal(err)
		}
		return file(name, here.Sign(t, workflow, attest.GitHubIssuer, statement))
	}
	release := document("release.proof.json", nil)
	proposal := document("proposal.proof.json", func(commit map[string]any) {
		commit["pullRequest"] = map[string]any{"number": 7, "url": "https://github.com/acme/portal/pull/7"}
	})
	trusted, other := file("trusted-root.json", here.TrustedRoot(t)), file("other.json", sigstoretest.New(t).TrustedRoot(t))
	text, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	tampered := file("tampered.json", []byte(strings.Replace(string(text), `"payload":"eyJ`, `"payload":"eyA`, 1)))

	for what, c := range map[string]struct {
		args []string
		// want is in what it prints, refused in its error.
		want, refused string
	}{
		"as it is":           {[]string{release, "--identity", workflow, "--trusted-root", trusted}, `"verdict": "a release: the commit ` + bump, ""},
		"who signed it":      {[]string{release, "--identity", workflow, "--trusted-root", trusted}, `"signedBy": "` + workflow, ""},
		"of the image":       {[]string{release, "--identity", workflow, "--trusted-root", trusted, "--image", "example.com/app@" + released, "--revision", revision}, `"outcome": "released"`, ""},
		"of another image":   {[]string{release, "--identity", workflow, "--trusted-root", trusted, "--image", "example.com/other@" + released}, "", "it is of another image"},
		"of another commit":  {[]string{release, "--identity", workflow, "--trusted-root", trusted, "--revision", bump}, "", "it is of another source commit"},
		"another workflow":   {[]string{release, "--identity", workflow + "-2", "--trusted-root", trusted}, "", "signed by another key: not by " + workflow + "-2"},
		"another issuer":     {[]string{release, "--identity", workflow, "--issuer", "https://accounts.example.com", "--trusted-root", trusted}, "", "signed by another key"},
		"another Sigstore":   {[]string{release, "--identity", workflow, "--trusted-root", other}, "", "signed by another key"},
		"no trusted root":    {[]string{release, "--identity", workflow, "--trusted-root", release}, "", release + ": no trusted root of Sigstore"},
		"no file":            {[]string{release, "--identity", workflow, "--trusted-root", filepath.Join(dir, "none")}, "", "no such file"},
		"nobody to ask":      {[]string{release, "--identity", workflow}, "", "without a network give it as a file"},
		"tampered with":      {[]string{tampered, "--identity", workflow, "--trusted-root", trusted}, "", "tampered with"},
		"a proposal":         {[]string{proposal, "--identity", workflow, "--trusted-root", trusted}, "", "it is a proposal and no release: the commit " + bump + " waits in the pull request https://github.com/acme/portal/pull/7"},
		"a proposal, wanted": {[]string{proposal, "--identity", workflow, "--trusted-root", trusted, "--proposed"}, `"verdict": "a proposal and no release: `, ""},
	} {
		t.Run(what, func(t *testing.T) {
			out, err := attestRun(t, with([]string{"proof", "verify"}, c.args...)...)
			switch {
			case c.refused == "" && (err != nil || !strings.Contains(out, c.want)):
				t.Errorf("got %s, %v; want %s", out, err, c.want)
			case c.refused != "" && (err == nil || out != "" || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("got %s, %v; want %q", out, err, c.refused)
			}
		})
	}
}

// TestProofBesideImage: the document of a release is beside its image, from where it is fetched and checked; a later run
// finds it there, or makes it of what an interrupted one has left.
func TestProofBesideImage(t *testing.T) {
	private := keyPair(t)
	ref, _ := publish(t, registryHost(t, nil))
	digest := ref[strings.Index(ref, "@")+1:]
	t.Setenv(keyVariable, private)
	t.Setenv(keyPasswordVariable, canary)
	must(t, with([]string{"image", ref, "--name", "example.com/app"}, origin...)...)

	// The facts of the release, and of the run after it, are those of the registry.
	verify := []string{"verify-release", ref, "--name", "example.com/app", "--key", "cosign.pub"}
	var said map[string]any
	if err := json.Unmarshal([]byte(must(t, verify...)), &said); err != nil {
		t.Fatal(err)
	}
	write := func(name string, nothing bool) {
		var f map[string]any
		if err := json.Unmarshal(facts(t, digest, func(commit map[string]any) { commit["tree"] = strings.Repeat("d", 40) }), &f); err != nil {
			t.Fatal(err)
		}
		f["attestation"], f["verification"] = map[string]any{}, said
		if nothing {
			commit := f["commit"].(map[string]any)
			commit["nothing"], commit["source"] = true, revision
			delete(commit, "edits")
			delete(f, "proof")
		}
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("facts.json", false)
	write("later.json", true)
	attach := []string{"--attach", ref, "--name", "example.com/app"}
	fetch := []string{"proof", "fetch", ref, "--name", "example.com/app", "--key", "cosign.pub", "--out", "fetched.json"}

	if _, err := attestRun(t, fetch...); err == nil || !refused(err) || !strings.Contains(err.Error(), "no signed proof is beside it") {
		t.Errorf("nothing is there: %v", err)
	}
	if _, err := attestRun(t, with(verify, "--require-proof")...); err == nil || !strings.Contains(err.Error(), "its proof is missing") {
		t.Errorf("nothing is there: %v", err)
	}
	if _, err := attestRun(t, with([]string{"proof", "sign", "later.json"}, attach...)...); err == nil || !refused(err) || !strings.Contains(err.Error(), "nothing says any more whether a cluster ran it") {
		t.Errorf("nothing was left: %v", err)
	}

	var candidate, first, second sealed
	for _, c := range []struct {
		args []string
		out  *sealed
	}{
		{[]string{"proof", "sign", "facts.json", "--candidate"}, &candidate},
		{[]string{"proof", "sign", "later.json", "--out", "first.json"}, &first},
		{[]string{"proof", "sign", "later.json", "--out", "second.json"}, &second},
	} {
		if err := json.Unmarshal([]byte(must(t, with(c.args, attach...)...)), c.out); err != nil {
			t.Fatal(err)
		}
	}
	if candidate.Outcome != proof.Candidate || first.Outcome != proof.Released || first.Kept || first.ArgoCD == nil || first.Digest == candidate.Digest || !second.Kept || second.Digest != first.Digest {
		t.Errorf("candidate %+v, first %+v, second %+v", candidate, first, second)
	}
	if out := must(t, fetch...); !strings.Contains(out, first.Digest) || !strings.Contains(out, `"verdict": "a release: the commit `+bump) {
		t.Errorf("it fetches %s", out)
	}
	var texts []string
	for _, name := range []string{"first.json", "second.json", "fetched.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] || texts[0] != texts[2] {
		t.Error("what was signed, kept and fetched differ")
	}
	must(t, "proof", "verify", "fetched.json", "--key", "cosign.pub", "--image", "example.com/app@"+digest)
	if out := must(t, with(verify, "--require-proof")...); !strings.Contains(out, first.Digest) || !strings.Contains(out, "a candidate and no release") {
		t.Errorf("it does not say what is beside the image: %s", out)
	}
	must(t, with(fetch, "--commit", bump, "--revision", revision)...)
	for flag, c := range map[string]struct{ value, want string }{
		"--commit":   {revision, "it is of another commit that names the image"},
		"--revision": {bump, "it is of another source commit"},
	} {
		if _, err := attestRun(t, with(fetch, flag, c.value)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", flag, err, c.want)
		}
	}
	other, _ := publish(t, registryHost(t, nil))
	if _, err := attestRun(t, "proof", "sign", "facts.json", "--attach", other[:strings.Index(other, "@")]+":1"); err == nil || !strings.Contains(err.Error(), "may be another image tomorrow") {
		t.Errorf("by a tag: %v", err)
	}
}
