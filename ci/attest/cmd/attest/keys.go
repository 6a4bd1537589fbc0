package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
)

// signing is what signs.
type signing struct {
	service      string
	keyless, log bool
}

func (s *signing) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.service, "key-service", "", "sign with the key of this service, see gitops serve-key")
	cmd.Flags().BoolVar(&s.keyless, "keyless", false, "sign as the workflow of the GitHub Actions job that runs")
	cmd.Flags().BoolVar(&s.log, "transparency-log", false, "enter the signatures of a key into Sigstore's public transparency log; those without a key always are")
}

var errSigners = errors.New("there is more than one thing to sign with: choose one of " + keyVariable + ", --key-service and --keyless")

// signer is none where nothing signs.
func (s *signing) signer(ctx context.Context) (*attest.Signer, error) {
	key := os.Getenv(keyVariable)
	var ways []func() (*attest.Signer, error)
	if key != "" {
		ways = append(ways, func() (*attest.Signer, error) {
			opened, err := attest.OpenKey([]byte(key), []byte(os.Getenv(keyPasswordVariable)))
			if err != nil {
				return nil, fmt.Errorf("%s and %s: %w", keyVariable, keyPasswordVariable, err)
			}
			return opened, nil
		})
	}
	if s.service != "" {
		ways = append(ways, func() (*attest.Signer, error) { return attest.OpenService(ctx, s.service) })
	}
	if s.keyless {
		ways = append(ways, func() (*attest.Signer, error) { return attest.Keyless(ctx) })
	}
	switch {
	case len(ways) > 1:
		return nil, errSigners
	case len(ways) == 0 && s.log:
		return nil, errors.New("--transparency-log wants something to sign with: set " + keyVariable)
	case len(ways) == 0:
		return nil, nil
	}
	signer, err := ways[0]()
	if err == nil && s.log && !signer.Logged {
		err = signer.Log()
	}
	return signer, err
}

// trust is whose signatures count.
type trust struct {
	key, service, identity, issuer string
	log                            bool
}

func (t *trust) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.key, "key", "", "the file of the public key")
	cmd.Flags().StringVar(&t.service, "key-service", "", "the key of this service, see gitops serve-key")
	cmd.Flags().StringVar(&t.identity, "identity", "", "the workflow that signs without a key, https://github.com/OWNER/REPO/.github/workflows/FILE@REF")
	cmd.Flags().StringVar(&t.issuer, "issuer", attest.GitHubIssuer, "who vouches for the identity")
	cmd.Flags().BoolVar(&t.log, "transparency-log", false, "want the signatures of a key in Sigstore's public transparency log")
}

var errTrust = errors.New("say whose signature it has to be: exactly one of --key, --key-service and --identity")

func (t *trust) verifier(ctx context.Context) (v *attest.Verifier, err error) {
	switch {
	case t.key != "" && t.service == "" && t.identity == "":
		text, err := os.ReadFile(t.key)
		if err != nil {
			return nil, err
		}
		if v, err = attest.NewVerifier(text); err != nil {
			return nil, fmt.Errorf("%s: %w", t.key, err)
		}
	case t.service != "" && t.key == "" && t.identity == "":
		s, err := attest.OpenService(ctx, t.service)
		if err != nil {
			return nil, err
		}
		v = s.Verifier
	case t.identity != "" && t.key == "" && t.service == "":
		return attest.NewKeylessVerifier(t.identity, t.issuer)
	default:
		return nil, usageError{errTrust}
	}
	if t.log {
		err = v.Log()
	}
	return v, err
}
