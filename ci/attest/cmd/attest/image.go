package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/scan"
	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// Environment variables that hold secrets.
const (
	keyVariable         = "GITOPS_SIGNING_KEY"
	keyPasswordVariable = "GITOPS_SIGNING_PASSWORD"
	passwordVariable    = "GITOPS_REGISTRY_PASSWORD"
)

// attested is the result of attest image.
type attested struct {
	Image string `json:"image"`
	signature
	// Packages counts the SBOM's packages, by kind and in all.
	Packages map[string]int    `json:"packages"`
	Total    int               `json:"total"`
	Attached []attest.Attached `json:"attached"`
	// Scan is what a vulnerability database says of them.
	Scan *scan.Result `json:"scan"`
}

func newImage() *cobra.Command {
	var (
		at     location
		by     signing
		origin provenance.Facts
		look   scanning
		out    string
	)
	cmd := &cobra.Command{
		Use:   "image REF",
		Short: "List what an image is made of, say where it comes from, sign that, and attach it.",
		Long: `List what an image is made of as SPDX and CycloneDX, say where it comes from as SLSA provenance, sign
that and the image itself, and attach it all to the image in its registry. What is there already stays.

What signs: the key in ` + keyVariable + `, encrypted as cosign does with ` + keyPasswordVariable + `; or --key-service; or
the workflow of the GitHub Actions job that runs, with --keyless. Without any of them only the SBOMs are attached,
unsigned, and the result says so; one that is given but empty, or by half, is refused.

With --vulnerability-database the SBOM is looked up in it before anything is attached. Where it cannot be reached the
result says that nothing was scanned, or with --require-scan it is an error; one that is broken is an error.

With --username the registry's password is read from ` + passwordVariable + `; otherwise the docker CLI's own
sign-in is used.`,
		Example: `  attest image docker.io/user/backstage-gitops@sha256:… --repository https://github.com/user/repo --revision $(git rev-parse HEAD) --builder https://github.com/user/repo/actions`,
		Args:    oneArg("image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := by.signer(cmd.Context())
			if err != nil {
				return err
			}
			i, err := at.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			result, err := attestImage(cmd.Context(), i, s, origin, look, out)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	at.flags(cmd)
	by.flags(cmd)
	originFlags(cmd, &origin)
	look.flags(cmd)
	cmd.Flags().StringArrayVar(&origin.Inputs, "input", nil, "a path of the repository that the image is built from, repeatable")
	cmd.Flags().StringArrayVar(&origin.Images, "base", nil, "an image that it is built from, by digest, repeatable")
	cmd.Flags().StringVar(&out, "out", "", "write sbom.spdx.json and sbom.cyclonedx.json into this folder as well")
	return cmd
}

func attestImage(ctx context.Context, i *attest.Image, s *attest.Signer, origin provenance.Facts, look scanning, out string) (*attested, error) {
	// Before minutes of work: what is wrong with the list is wrong with any image.
	ignore, err := look.ignores()
	if err != nil {
		return nil, err
	}
	documents, err := sbom.Make(ctx, sbom.Image{Name: i.Name, Digest: i.Digest(), Created: i.Created, Content: i.Content})
	if err != nil {
		return nil, err
	}
	if out != "" {
		for name, text := range map[string][]byte{"sbom.spdx.json": documents.SPDX, "sbom.cyclonedx.json": documents.CycloneDX} {
			if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
				return nil, err
			}
		}
	}
	result := &attested{Image: i.Ref(), signature: signedBy(s), Packages: documents.Packages, Total: documents.Total()}
	if result.Scan, err = look.scan(ctx, documents.SPDX, ignore); err != nil {
		return nil, fmt.Errorf("%s: %w", i.Ref(), err)
	}
	if s == nil {
		result.Attached, err = i.AttachUnsigned(ctx, i.Statement(attest.SPDX, documents.SPDX), i.Statement(attest.CycloneDX, documents.CycloneDX))
		return result, err
	}
	made, err := origin.Make()
	if err != nil {
		return nil, err
	}
	result.Attached, err = i.Attach(ctx, s,
		// Last what says that all the others are there.
		i.Statement(attest.SPDX, documents.SPDX),
		i.Statement(attest.CycloneDX, documents.CycloneDX),
		i.Statement(attest.Provenance, made),
		i.Statement(attest.Signature, []byte("{}")),
	)
	return result, err
}

// location is where an image is.
type location struct {
	name string
	o    image.Options
}

func (l *location) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.name, "name", "", "what the image is called, where that is not how it is reached here")
	cmd.Flags().BoolVar(&l.o.PlainHTTP, "plain-http", false, "talk http to the registry")
	cmd.Flags().StringVar(&l.o.Username, "username", "", "the registry's user name")
}

func (l *location) open(ctx context.Context, ref string) (*attest.Image, error) {
	l.o.Password = os.Getenv(passwordVariable)
	return attest.Open(ctx, ref, l.name, l.o)
}

func originFlags(cmd *cobra.Command, origin *provenance.Facts) {
	cmd.Flags().StringVar(&origin.Repository, "repository", "", "the address of the source repository")
	cmd.Flags().StringVar(&origin.Revision, "revision", "", "the commit that the image is built from")
	cmd.Flags().StringVar(&origin.Builder, "builder", "", "the address of what builds it")
}
