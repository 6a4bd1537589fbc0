package attest_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sigstoretest"
)

const workflow = "https://github.com/acme/portal/.github/workflows/release.yml@refs/heads/main"

const onGHE = "https://acme.ghe.com/acme/portal/.github/workflows/release.yml@refs/heads/main"

// TestKeyless: what a workflow signs is verified with nothing but a file that says whose certificates count, and refused
// by name of what is wrong.
func TestKeyless(t *testing.T) {
	t.Parallel()
	here, elsewhere := sigstoretest.New(t), sigstoretest.New(t)
	statement, err := attest.NewStatement("app", strings.Repeat("0", 64), attest.SPDX, []byte(`{"name":"aaaa"}`)).JSON()
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(statement, []byte("aaaa"), []byte("bbbb"), 1)
	good := here.Sign(t, workflow, attest.GitHubIssuer, statement)
	key := signer(t, keys(t))
	keyed, err := key.Sign(t.Context(), attest.NewStatement("app", strings.Repeat("0", 64), attest.SPDX, []byte(`{}`)))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		text             []byte
		identity, issuer string
		want             error
	}{
		"as signed":                 {good, workflow, attest.GitHubIssuer, nil},
		"another workflow":          {good, strings.Replace(workflow, "release", "other", 1), attest.GitHubIssuer, attest.ErrOtherKey},
		"another branch":            {good, workflow + "-2", attest.GitHubIssuer, attest.ErrOtherKey},
		"the GitHub of its address": {good, workflow, "", nil},
		// An organisation may have its tokens issued under its enterprise's name, always of github.com.
		"its enterprise":          {here.Sign(t, workflow, attest.GitHubIssuer+"/acme", statement), workflow, "", nil},
		"its enterprise, exactly": {here.Sign(t, workflow, attest.GitHubIssuer+"/acme", statement), workflow, attest.GitHubIssuer + "/acme", nil},
		"any enterprise":          {here.Sign(t, workflow, attest.GitHubIssuer+"/acme", statement), workflow, attest.GitHubIssuer, attest.ErrOtherKey},
		"an enterprise's path":    {here.Sign(t, workflow, attest.GitHubIssuer+"/acme/x", statement), workflow, "", attest.ErrOtherKey},
		"a host that begins so":   {here.Sign(t, workflow, attest.GitHubIssuer+".example.com", statement), workflow, "", attest.ErrOtherKey},
		"not its address's":       {here.Sign(t, workflow, "https://token.actions.acme.ghe.com", statement), workflow, "", attest.ErrOtherKey},
		"an issuer of GHE.com": {
			here.Sign(t, onGHE, "https://token.actions.acme.ghe.com", statement), onGHE, "", nil,
		},
		"another issuer":          {good, workflow, "https://accounts.example.com", attest.ErrOtherKey},
		"another Sigstore":        {elsewhere.Sign(t, workflow, attest.GitHubIssuer, statement), workflow, attest.GitHubIssuer, attest.ErrOtherKey},
		"a key":                   {keyed, workflow, attest.GitHubIssuer, attest.ErrOtherKey},
		"another text":            {swap(t, here.Sign(t, workflow, attest.GitHubIssuer, changed), good), workflow, attest.GitHubIssuer, attest.ErrTampered},
		"another's text, swapped": {swap(t, elsewhere.Sign(t, workflow, attest.GitHubIssuer, changed), good), workflow, attest.GitHubIssuer, attest.ErrTampered},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, err := attest.NewKeylessVerifier(c.identity, c.issuer, here.TrustedRoot(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Verify(c.text, ""); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestKeylessOfGitHub: a provenance that GitHub's own job once signed with Sigstore's own authority, from the test data of
// Sigstore's library.
func TestKeylessOfGitHub(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "pkg/testing/data", name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	text, trusted := read("bundles/sigstore.js@2.0.0-provenance.sigstore.json"), read("trusted-roots/public-good.json")
	for identity, want := range map[string]error{
		"https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main": nil,
		workflow: attest.ErrOtherKey,
	} {
		v, err := attest.NewKeylessVerifier(identity, attest.GitHubIssuer, trusted)
		if err != nil {
			t.Fatal(err)
		}
		statement, err := v.Verify(text, "")
		if !errors.Is(err, want) || err == nil && statement.PredicateType != attest.Provenance {
			t.Errorf("%s: %v, %v", identity, statement, err)
		}
	}
}

// TestTrustedRootRefuses: what is no trusted root, by name.
func TestTrustedRootRefuses(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"nothing": "", "no JSON": "{", "another document": `{"mediaType":"application/json"}`,
		"an empty one": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
	} {
		if _, err := attest.NewKeylessVerifier(workflow, attest.GitHubIssuer, []byte(text)); !errors.Is(err, attest.ErrTrustedRoot) || !strings.Contains(err.Error(), "cosign trusted-root create") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// TestLogOffline: a key's signature that has to be in the log and is not.
func TestLogOffline(t *testing.T) {
	t.Parallel()
	s := signer(t, keys(t))
	text, err := s.Sign(t.Context(), attest.NewStatement("app", strings.Repeat("0", 64), attest.SPDX, []byte(`{}`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verifier.Verify(text, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Verifier.Log(sigstoretest.New(t).TrustedRoot(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verifier.Verify(text, ""); !errors.Is(err, attest.ErrNotLogged) {
		t.Errorf("got %v", err)
	}
}
