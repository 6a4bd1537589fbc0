// Package sbom lists what an image is made of, with syft: once, as SPDX and as CycloneDX. The same image has the same
// documents, whoever lists it and when: their time is the image's, their names are derived from its digest.
package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/format/common/cyclonedxhelpers"
	"github.com/anchore/syft/syft/format/common/spdxhelpers"
	"github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source/stereoscopesource"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
)

// Image is what is listed.
type Image struct {
	// Name is the image's name without digest, Digest its identity.
	Name, Digest string
	// Created is the time of the documents.
	Created time.Time
	Content v1.Image
}

// Documents are the bills of materials of one image.
type Documents struct {
	// SPDX is a document of SPDX 2.3, CycloneDX one of CycloneDX 1.6, both JSON.
	SPDX, CycloneDX []byte
	// Packages counts the packages by kind: npm, deb, binary.
	Packages map[string]int
	// SBOM is what both were written from.
	SBOM sbom.SBOM
}

// Total is the number of all packages.
func (d *Documents) Total() int {
	total := 0
	for _, n := range d.Packages {
		total += n
	}
	return total
}

// ErrEmpty says that nothing was found, which no image of ours can be.
var ErrEmpty = errors.New("no packages were found in the image: an SBOM of nothing says nothing")

// Make lists the packages of an image.
func Make(ctx context.Context, i Image) (_ *Documents, err error) {
	temp := file.NewTempDirGenerator("sbom")
	defer func() { err = errors.Join(err, temp.Cleanup()) }()
	cache, err := temp.NewDirectory("image")
	if err != nil {
		return nil, err
	}
	manifest, err := i.Content.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}
	content := image.New(i.Content, temp, cache, image.WithManifest(manifest), image.WithRepoDigests(i.Name+"@"+i.Digest))
	if err := content.Read(ctx); err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}
	source := stereoscopesource.New(content, stereoscopesource.ImageConfig{Reference: i.Name + "@" + i.Digest})
	defer func() { err = errors.Join(err, source.Close()) }()
	config := syft.DefaultCreateSBOMConfig().
		WithTool("syft", version()).
		WithoutFiles().
		// RPM's databases want SQLite; the image is Debian's.
		WithCatalogerSelection(cataloging.NewSelectionRequest().WithRemovals("rpm-db-cataloger"))
	licenses, err := licenseScanner()
	if err != nil {
		return nil, fmt.Errorf("list the image's packages: %w", err)
	}
	found, err := syft.CreateSBOM(scanning{ctx, licenses}, source, config)
	if err != nil {
		return nil, fmt.Errorf("list the image's packages: %w", err)
	}
	return i.write(found)
}

// licenseScanner is a context with syft's scanner of licenses, one for the whole process: to compile the texts that it
// knows into one automaton takes longer than all else that is done for an image.
var licenseScanner = sync.OnceValues(func() (context.Context, error) {
	return syft.SetContextLicenseScanner(context.Background(), cataloging.DefaultLicenseConfig())
})

// scanning is a context that has values of another one besides its own.
type scanning struct {
	context.Context
	besides context.Context
}

// Value is the context's own, or else the other's.
func (s scanning) Value(key any) any {
	if own := s.Context.Value(key); own != nil {
		return own
	}
	return s.besides.Value(key)
}

func (i Image) write(found *sbom.SBOM) (*Documents, error) {
	d := &Documents{Packages: map[string]int{}, SBOM: *found}
	for p := range found.Artifacts.Packages.Enumerate() {
		d.Packages[string(p.Type)]++
	}
	if len(d.Packages) == 0 {
		return nil, ErrEmpty
	}
	id := func(format string) uuid.UUID {
		return uuid.NewSHA1(uuid.NameSpaceURL, []byte(format+" "+i.Name+"@"+i.Digest))
	}
	spdx := spdxhelpers.ToFormatModel(*found)
	spdx.CreationInfo.Created = i.Created.UTC().Format(time.RFC3339)
	spdx.DocumentNamespace = "urn:uuid:" + id("spdx").String()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(spdx); err != nil {
		return nil, fmt.Errorf("write the SBOM as SPDX: %w", err)
	}
	d.SPDX = bytes.TrimSpace(text.Bytes())

	bom := cyclonedxhelpers.ToFormatModel(*found)
	bom.SerialNumber = id("cyclonedx").URN()
	bom.Metadata.Timestamp = i.Created.UTC().Format(time.RFC3339)
	var other bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&other, cyclonedx.BOMFileFormatJSON).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("write the SBOM as CycloneDX: %w", err)
	}
	d.CycloneDX = bytes.TrimSpace(other.Bytes())
	return d, nil
}

// ErrOther says that a document lists another image.
var ErrOther = errors.New("an SBOM of another image")

// CheckSPDX refuses a document of SPDX that lists another image than that with the digest.
func CheckSPDX(text []byte, digest string) error {
	var doc struct {
		Version  string `json:"spdxVersion"`
		Packages []struct {
			Purpose string `json:"primaryPackagePurpose"`
			Version string `json:"versionInfo"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &doc); err != nil || doc.Version == "" {
		return errors.Join(errors.New("no document of SPDX"), err)
	}
	listed := ""
	for _, p := range doc.Packages {
		if p.Purpose == "CONTAINER" {
			listed = p.Version
		}
	}
	return same(listed, digest, len(doc.Packages)-1)
}

// CheckCycloneDX refuses a document of CycloneDX that lists another image than that with the digest.
func CheckCycloneDX(text []byte, digest string) error {
	doc := &cyclonedx.BOM{}
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(doc); err != nil || doc.Metadata == nil || doc.Metadata.Component == nil {
		return errors.Join(errors.New("no document of CycloneDX on an image"), err)
	}
	components := 0
	if doc.Components != nil {
		components = len(*doc.Components)
	}
	return same(doc.Metadata.Component.Version, digest, components)
}

func same(listed, digest string, packages int) error {
	switch {
	case listed != digest:
		return fmt.Errorf("%w: it lists %q", ErrOther, listed)
	case packages < 1:
		return ErrEmpty
	}
	return nil
}
