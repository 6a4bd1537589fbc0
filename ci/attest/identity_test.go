package attest

import (
	"encoding/base64"
	"strings"
	"testing"
)

// The identity is of the GitHub that issued the token, and who vouches for an identity follows from its server.
func TestIdentityOf(t *testing.T) {
	t.Parallel()
	const ref = "acme/portal/.github/workflows/release.yml@refs/heads/main"
	for name, c := range map[string]struct{ claims, identity, issuer, err string }{
		"github.com":              {`{"iss": "https://token.actions.githubusercontent.com", "job_workflow_ref": "` + ref + `"}`, "https://github.com/" + ref, GitHubIssuer, ""},
		"an enterprise's GHE.com": {`{"iss": "https://token.actions.acme.ghe.com", "job_workflow_ref": "` + ref + `"}`, "https://acme.ghe.com/" + ref, "https://token.actions.acme.ghe.com", ""},
		"a server of its own":     {`{"iss": "https://git.example.com/_services/token", "job_workflow_ref": "` + ref + `"}`, "https://git.example.com/" + ref, "https://git.example.com/_services/token", ""},
		"no issuer":               {`{"job_workflow_ref": "` + ref + `"}`, "", "", "GitHub's token for the job names no issuer"},
		"no workflow":             {`{"iss": "https://token.actions.githubusercontent.com"}`, "", "", "GitHub's token for the job names no workflow"},
		"no JSON":                 {`no`, "", "", "GitHub's token for the job names no workflow"},
	} {
		identity, issuer, err := identityOf("e30." + base64.RawURLEncoding.EncodeToString([]byte(c.claims)) + ".c2ln")
		switch {
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: got %v, want %q", name, err, c.err)
			}
		case err != nil || identity != c.identity || issuer != c.issuer:
			t.Errorf("%s: %s by %s, %v; want %s by %s", name, identity, issuer, err, c.identity, c.issuer)
		case IssuerOf(identity) != issuer:
			t.Errorf("%s: who vouches for %s is %s, want %s", name, identity, IssuerOf(identity), issuer)
		}
	}
	for _, token := range []string{"", "a.b", "a.%%.c"} {
		if _, _, err := identityOf(token); err == nil || !strings.HasPrefix(err.Error(), "GitHub's token for the job is none") {
			t.Errorf("%q: got %v", token, err)
		}
	}
	// An enterprise of github.com may have an issuer of its own there.
	if server, err := serverOf(GitHubIssuer + "/acme"); err != nil || server != "https://github.com" {
		t.Errorf("%s, %v", server, err)
	}
}
