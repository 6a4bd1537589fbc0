package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	// Of an image of one platform what it is made of, and of one of several the same of each, in the order of its list.
	listed
	Platforms []listed          `json:"platforms,omitempty"`
	Attached  []attest.Attached `json:"attached"`
}

// listed is what an image is made of.
type listed struct {
	// Platform and Digest are those of an image which is one of several.
	Platform string `json:"platform,omitempty"`
	Digest   string `json:"digest,omitempty"`
	// Packages counts the SBOM's packages, by kind and in all.
	Packages map[string]int `json:"packages,omitempty"`
	Total    int            `json:"total,omitempty"`
	// Scan is what a vulnerability database says of them.
	Scan *scan.Result `json:"scan,omitempty"`

	of        *attest.Image
	documents *sbom.Documents
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

Each platform of an image of several has its own SBOMs, attached to its own manifest; provenance and signature are on the
list, and so on all of them.

With --vulnerability-database each SBOM is looked up in it before anything is attached. Where it cannot be reached the
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
	cmd.Flags().StringVar(&out, "out", "", "write sbom.spdx.json and sbom.cyclonedx.json into this folder as well; of several platforms sbom.linux-arm64.spdx.json and so on")
	return cmd
}

func attestImage(ctx context.Context, i *attest.Image, s *attest.Signer, origin provenance.Facts, look scanning, out string) (*attested, error) {
	// Before minutes of work: what is wrong with the list is wrong with any image.
	ignore, err := look.ignores()
	if err != nil {
		return nil, err
	}
	lists, err := listAll(ctx, i, out)
	if err != nil {
		return nil, err
	}
	if err := look.scan(ctx, i, lists, ignore); err != nil {
		return nil, err
	}
	result := &attested{Image: i.Ref(), signature: signedBy(s)}
	// An SBOM is on the image that it lists, and what is said of all of them is on their list.
	for _, l := range lists {
		attached, err := l.attach(ctx, s)
		if err != nil {
			return nil, err
		}
		result.Attached = append(result.Attached, attached...)
	}
	if result.listed = lists[0]; result.Platform != "" {
		result.listed, result.Platforms = listed{}, lists
	}
	if s == nil {
		return result, nil
	}
	made, err := origin.Make()
	if err != nil {
		return nil, err
	}
	// Last what says that all the others are there.
	attached, err := i.Attach(ctx, s, i.Statement(attest.Provenance, made), i.Statement(attest.Signature, []byte("{}")))
	result.Attached = append(result.Attached, attached...)
	return result, err
}

// listAll lists what an image is made of, of each platform.
func listAll(ctx context.Context, i *attest.Image, out string) (all []listed, err error) {
	for _, p := range i.Platforms {
		l, err := list(ctx, p, out)
		if err != nil {
			return nil, on(i, p, err)
		}
		all = append(all, *l)
	}
	return all, nil
}

// list lists what the image of a platform is made of, and writes it down where that is wanted.
func list(ctx context.Context, p *attest.Image, out string) (*listed, error) {
	documents, err := sbom.Make(ctx, sbom.Image{Name: p.Name, Digest: p.Digest(), Created: p.Created, Content: p.Content})
	if err != nil {
		return nil, err
	}
	l := &listed{Packages: documents.Packages, Total: documents.Total(), of: p, documents: documents}
	name := "sbom"
	if p.Platform != "" {
		l.Platform, l.Digest = p.Platform, p.Digest()
		name += "." + strings.ReplaceAll(p.Platform, "/", "-")
	}
	if out == "" {
		return l, nil
	}
	for format, text := range map[string][]byte{"spdx": documents.SPDX, "cyclonedx": documents.CycloneDX} {
		if err := os.WriteFile(filepath.Join(out, name+"."+format+".json"), text, 0o644); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// attach puts the SBOMs beside the image that they list.
func (l listed) attach(ctx context.Context, s *attest.Signer) ([]attest.Attached, error) {
	statements := []attest.Statement{l.of.Statement(attest.SPDX, l.documents.SPDX), l.of.Statement(attest.CycloneDX, l.documents.CycloneDX)}
	if s == nil {
		return l.of.AttachUnsigned(ctx, statements...)
	}
	return l.of.Attach(ctx, s, statements...)
}

// on says which image an error is about, and of which platform where there are several.
func on(i, p *attest.Image, err error) error {
	if p.Platform == "" {
		return fmt.Errorf("%s: %w", i.Ref(), err)
	}
	return fmt.Errorf("%s: %s: %w", i.Ref(), p.Platform, err)
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
