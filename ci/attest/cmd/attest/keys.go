package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
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

var (
	errSigners = errors.New("there is more than one thing to sign with: choose one of " + keyVariable + ", --key-service and --keyless")
	// What is given and empty is a mistake: taken for not given, it would leave a release unsigned.
	errEmptyKey     = errors.New(keyVariable + ", the signing key, is given but empty: give the key that cosign generate-key-pair makes, or none, not even an empty one")
	errLonePassword = errors.New(keyPasswordVariable + ", the password of the signing key, is given without a key in " + keyVariable + ": give both, or neither")
	errLoneLog      = errors.New("--transparency-log wants something to sign with: set " + keyVariable)
)

// signer is none where nothing signs.
func (s *signing) signer(ctx context.Context) (*attest.Signer, error) {
	key, keyGiven := os.LookupEnv(keyVariable)
	password, passwordGiven := os.LookupEnv(keyPasswordVariable)
	switch {
	case keyGiven && strings.TrimSpace(key) == "":
		return nil, errEmptyKey
	case passwordGiven && !keyGiven:
		return nil, errLonePassword
	}
	var ways []func() (*attest.Signer, error)
	if keyGiven {
		ways = append(ways, func() (*attest.Signer, error) {
			opened, err := attest.OpenKey([]byte(key), []byte(password))
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
		return nil, errLoneLog
	case len(ways) == 0:
		return nil, nil
	}
	signer, err := ways[0]()
	if err == nil && s.log && !signer.Logged {
		err = signer.Log()
	}
	return signer, err
}

// signature is who signs, for a result.
type signature struct {
	// Signed says whether anything signs; SignedBy is the key or the identity.
	Signed   bool   `json:"signed"`
	SignedBy string `json:"signedBy,omitempty"`
	// PublicKey verifies the signatures of a key.
	PublicKey string `json:"publicKey,omitempty"`
	// Logged says whether the signatures are in the public transparency log.
	Logged bool `json:"transparencyLog"`
}

func signedBy(s *attest.Signer) signature {
	if s == nil {
		return signature{}
	}
	return signature{Signed: true, SignedBy: s.Verifier.Signer(), PublicKey: s.Verifier.PublicKey, Logged: s.Logged}
}

func newSigner() *cobra.Command {
	var by signing
	cmd := &cobra.Command{
		Use:   "signer",
		Short: "Say who would sign, and refuse what cannot.",
		Long: `Say who would sign, and refuse what cannot: a key that is given but empty, its password without it, a password that
does not open it, more than one thing to sign with. Nothing is signed. It is for before minutes of work.`,
		Example: `  attest signer`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := by.signer(cmd.Context())
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), signedBy(s))
		},
	}
	by.flags(cmd)
	return cmd
}

// trust is whose signatures count.
type trust struct {
	key, service, identity, issuer, root, history string
	log                                           bool
}

func (t *trust) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.key, "key", "", "the file of the public key")
	cmd.Flags().StringVar(&t.service, "key-service", "", "the key of this service, see gitops serve-key")
	cmd.Flags().StringVar(&t.identity, "identity", "", "the workflow that signs without a key, https://github.com/OWNER/REPO/.github/workflows/FILE@REF")
	cmd.Flags().StringVar(&t.issuer, "issuer", "", "who vouches for the identity (default the GitHub of its address; on github.com also in an enterprise's name)")
	cmd.Flags().StringVar(&t.history, "workflow-history", "", "a clone: the workflow of --identity has to have run at a commit in the history of its HEAD, so at none that was tagged and never merged")
	cmd.Flags().BoolVar(&t.log, "transparency-log", false, "want the signatures of a key in Sigstore's public transparency log; those without a key have to be in any case")
	cmd.Flags().StringVar(&t.root, "trusted-root", "", "the file of Sigstore's trusted root, for --identity and --transparency-log without a network, as cosign trusted-root create writes it")
}

var (
	errTrust   = errors.New("say whose signature it has to be: exactly one of --key, --key-service and --identity")
	errHistory = errors.New("--workflow-history is for --identity: a key is of no commit")
	// errUnmerged says that a workflow ran at a commit that the branch does not have.
	errUnmerged = errors.New("signed by a run of the workflow at a commit that was never merged")
	errRoot     = errors.New("--trusted-root is for --identity, and for --transparency-log: a key needs none")
)

func (t *trust) verifier(ctx context.Context) (v *attest.Verifier, err error) {
	var trusted []byte
	if t.root != "" {
		if t.identity == "" && !t.log {
			return nil, usageError{errRoot}
		}
		if trusted, err = os.ReadFile(t.root); err != nil {
			return nil, err
		}
	}
	if t.history != "" && t.identity == "" {
		return nil, usageError{errHistory}
	}
	switch {
	case t.key != "" && t.service == "" && t.identity == "":
		text, err := os.ReadFile(t.key)
		if err != nil {
			return nil, err
		}
		if v, err = attest.NewVerifier(text); err != nil {
			return nil, of(t.key, err)
		}
	case t.service != "" && t.key == "" && t.identity == "":
		s, err := attest.OpenService(ctx, t.service)
		if err != nil {
			return nil, err
		}
		v = s.Verifier
	case t.identity != "" && t.key == "" && t.service == "":
		if v, err = attest.NewKeylessVerifier(t.identity, t.issuer, trusted); err != nil {
			return nil, of(t.root, err)
		}
		if t.history != "" {
			v.RanAt(func(commit string) error { return merged(ctx, git.Open(t.history), commit) })
		}
		return v, nil
	default:
		return nil, usageError{errTrust}
	}
	if t.log {
		err = of(t.root, v.Log(trusted))
	}
	return v, err
}

// merged refuses a commit that is not in the history of a clone's HEAD.
func merged(ctx context.Context, clone *git.Repo, commit string) error {
	if commit == "" {
		return fmt.Errorf("%w: its certificate does not say which", errUnmerged)
	}
	_, err := clone.Run(ctx, "cat-file", "-e", "--end-of-options", commit+"^{commit}")
	there := err == nil
	if there {
		if there, err = clone.IsAncestor(ctx, commit, "HEAD"); err != nil {
			return err
		}
	}
	if !there {
		return fmt.Errorf("%w: %s is not in the history of %s's HEAD; fetch and check the branch out first, if it has it", errUnmerged, commit, clone.Dir())
	}
	return nil
}

// of says which file an error is about, where there is one.
func of(file string, err error) error {
	if err == nil || file == "" {
		return err
	}
	return fmt.Errorf("%s: %w", file, err)
}
