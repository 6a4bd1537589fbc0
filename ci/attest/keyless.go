package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/sigstore/cosign/v3/pkg/providers"
	_ "github.com/sigstore/cosign/v3/pkg/providers/github" // the tokens of a GitHub Actions job
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// GitHubIssuer issues the tokens of GitHub Actions jobs.
const GitHubIssuer = "https://token.actions.githubusercontent.com"

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
	workflow, err := workflowOf(token)
	if err != nil {
		return nil, err
	}
	config, err := cosign.SigningConfig()
	if err != nil {
		return nil, fmt.Errorf("ask Sigstore for its authority: %w", err)
	}
	verifier, err := NewKeylessVerifier("https://github.com/"+workflow, GitHubIssuer, nil)
	if err != nil {
		return nil, err
	}
	made, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	return &Signer{pair: made, token: token, config: config, trusted: verifier.options.TrustedMaterial, Verifier: verifier, Logged: true}, nil
}

// workflowOf is the workflow that a job's token names, OWNER/REPO/.github/workflows/FILE@REF.
func workflowOf(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("GitHub's token for the job is none")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("GitHub's token for the job is none: %w", err)
	}
	var claims struct {
		Workflow string `json:"job_workflow_ref"`
	}
	if err := json.Unmarshal(text, &claims); err != nil || claims.Workflow == "" {
		return "", errors.New("GitHub's token for the job names no workflow")
	}
	return claims.Workflow, nil
}
