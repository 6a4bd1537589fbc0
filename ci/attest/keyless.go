package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/sigstore/cosign/v3/pkg/providers"
	_ "github.com/sigstore/cosign/v3/pkg/providers/github" // the tokens of a GitHub Actions job
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// GitHubIssuer issues the tokens of jobs of GitHub Actions on github.com.
const GitHubIssuer = "https://token.actions.githubusercontent.com"

// IssuerOf is who issues the tokens of a workflow's jobs: GitHub itself, on github.com, on an enterprise's GHE.com, or on a
// server of its own.
func IssuerOf(identity string) string {
	u, err := url.Parse(identity)
	switch {
	case err != nil || u.Host == "" || u.Host == "github.com":
		return GitHubIssuer
	case strings.HasSuffix(u.Host, ".ghe.com"):
		return "https://token.actions." + u.Host
	}
	return "https://" + u.Host + "/_services/token"
}

// serverOf is the GitHub whose jobs get tokens of an issuer; that of github.com may have an enterprise's name behind it.
func serverOf(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return "", errors.New("GitHub's token for the job names no issuer")
	case u.Host == "token.actions.githubusercontent.com":
		return "https://github.com", nil
	case strings.HasSuffix(u.Host, ".ghe.com"):
		return "https://" + strings.TrimPrefix(u.Host, "token.actions."), nil
	}
	return "https://" + u.Host, nil
}

// ErrNoIdentity says that there is nothing to prove an identity with.
var ErrNoIdentity = errors.New("no GitHub Actions job with the permission id-token: write: give a signing key instead")

// Keyless is a signer without a key of its own: Sigstore's authority certifies a key of this moment for the workflow of
// the GitHub Actions job that runs, and the public transparency log notes when.
func Keyless(ctx context.Context) (*Signer, error) {
	if !providers.Enabled(ctx) {
		return nil, ErrNoIdentity
	}
	token, err := providers.Provide(ctx, "sigstore")
	if err != nil {
		return nil, fmt.Errorf("ask GitHub for the job's token: %w", err)
	}
	identity, issuer, err := identityOf(token)
	if err != nil {
		return nil, err
	}
	config, err := cosign.SigningConfig()
	if err != nil {
		return nil, fmt.Errorf("ask Sigstore for its authority: %w", err)
	}
	verifier, err := NewKeylessVerifier(identity, issuer, nil)
	if err != nil {
		return nil, err
	}
	made, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	return &Signer{pair: made, token: token, config: config, trusted: verifier.options.TrustedMaterial, Verifier: verifier, Logged: true}, nil
}

// identityOf is the workflow that a job's token names, https://SERVER/OWNER/REPO/.github/workflows/FILE@REF, and who issued
// the token.
func identityOf(token string) (identity, issuer string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", "", errors.New("GitHub's token for the job is none")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", "", fmt.Errorf("GitHub's token for the job is none: %w", err)
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Workflow string `json:"job_workflow_ref"`
	}
	if err := json.Unmarshal(text, &claims); err != nil || claims.Workflow == "" {
		return "", "", errors.New("GitHub's token for the job names no workflow")
	}
	server, err := serverOf(claims.Issuer)
	return server + "/" + claims.Workflow, claims.Issuer, err
}
