// Package provenance says what an image was made of and by what, as SLSA's provenance v1. Everything in it follows from
// the image's own inputs: made again by the same builder, the same image has the same provenance.
package provenance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// BuildType is the address of what the parameters mean and how the image is built of them.
const BuildType = "https://github.com/backstage-gitops/backstage-gitops/blob/main/ci/attest/README.md#build-type-release-v1"

// Facts are what a release knows of its image.
type Facts struct {
	// Repository is the address of the source repository.
	Repository string `json:"repository"`
	// Revision is the last commit that changed one of Inputs: the image is that of this commit.
	Revision string `json:"revision"`
	// Inputs are the paths that the image is built from.
	Inputs []string `json:"inputs"`
	// Builder is the address of what built it.
	Builder string `json:"builder"`
	// Images are those that it is built from, by digest.
	Images []string `json:"images"`
}

var (
	// ErrFacts says that the facts make no provenance.
	ErrFacts = errors.New("the facts make no provenance")
	// ErrSource, ErrRevision and ErrBuilder say that an image is of another origin than it has to be.
	ErrSource   = errors.New("a provenance of another source repository")
	ErrRevision = errors.New("a provenance for another commit")
	ErrBuilder  = errors.New("a provenance of another builder")
	// ErrBroken says that a predicate is no provenance that a release makes.
	ErrBroken = errors.New("not a provenance that a release makes")
)

// Make writes the provenance.
func (f Facts) Make() ([]byte, error) {
	for name, value := range map[string]string{"a source repository": f.Repository, "a revision": f.Revision, "a builder": f.Builder} {
		if value == "" {
			return nil, fmt.Errorf("%w: %s is missing", ErrFacts, name)
		}
	}
	inputs := make([]any, len(f.Inputs))
	for n, i := range f.Inputs {
		inputs[n] = i
	}
	parameters, err := structpb.NewStruct(map[string]any{"repository": f.Repository, "revision": f.Revision, "inputs": inputs})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFacts, err)
	}
	dependencies := []*intoto.ResourceDescriptor{{Uri: "git+" + f.Repository, Digest: map[string]string{"gitCommit": f.Revision}}}
	images := slices.Clone(f.Images)
	slices.Sort(images)
	for _, i := range slices.Compact(images) {
		ref, err := imageref.Parse(i)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFacts, err)
		}
		d := &intoto.ResourceDescriptor{Uri: "docker://" + ref.Name()}
		if ref.Tag != "" {
			d.Uri += ":" + ref.Tag
		}
		if ref.Digest != "" {
			d.Digest = map[string]string{"sha256": strings.TrimPrefix(ref.Digest, "sha256:")}
		}
		dependencies = append(dependencies, d)
	}
	p := &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{BuildType: BuildType, ExternalParameters: parameters, ResolvedDependencies: dependencies},
		RunDetails:      &slsa.RunDetails{Builder: &slsa.Builder{Id: f.Builder}},
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFacts, err)
	}
	text, err := protojson.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFacts, err)
	}
	// The library varies its blanks from program to program.
	var same bytes.Buffer
	if err := json.Compact(&same, text); err != nil {
		return nil, err
	}
	return same.Bytes(), nil
}

// Read reads what Make wrote, and refuses a provenance that contradicts itself.
func Read(text []byte) (Facts, error) {
	p := &slsa.Provenance{}
	if err := protojson.Unmarshal(text, p); err != nil {
		return Facts{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if err := p.Validate(); err != nil {
		return Facts{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	build := p.GetBuildDefinition()
	if build.GetBuildType() != BuildType {
		return Facts{}, fmt.Errorf("%w: its build type is %s", ErrBroken, build.GetBuildType())
	}
	parameters := build.GetExternalParameters().GetFields()
	f := Facts{
		Repository: parameters["repository"].GetStringValue(),
		Revision:   parameters["revision"].GetStringValue(),
		Builder:    p.GetRunDetails().GetBuilder().GetId(),
	}
	for _, i := range parameters["inputs"].GetListValue().GetValues() {
		f.Inputs = append(f.Inputs, i.GetStringValue())
	}
	for n, d := range build.GetResolvedDependencies() {
		if n > 0 {
			ref := strings.TrimPrefix(d.GetUri(), "docker://")
			if sum := d.GetDigest()["sha256"]; sum != "" {
				ref += "@sha256:" + sum
			}
			f.Images = append(f.Images, ref)
			continue
		}
		if d.GetUri() != "git+"+f.Repository || d.GetDigest()["gitCommit"] != f.Revision {
			return Facts{}, fmt.Errorf("%w: it was asked for %s of %s and built %s of %s", ErrBroken,
				f.Revision, f.Repository, d.GetDigest()["gitCommit"], strings.TrimPrefix(d.GetUri(), "git+"))
		}
	}
	if f.Repository == "" || f.Revision == "" || len(build.GetResolvedDependencies()) == 0 {
		return Facts{}, fmt.Errorf("%w: it names no source", ErrBroken)
	}
	return f, nil
}

// Check refuses a provenance that is not of the wanted origin; what is empty may be anything.
func (f Facts) Check(want Facts) error {
	switch {
	case want.Repository != "" && f.Repository != want.Repository:
		return fmt.Errorf("%w: %s, not %s", ErrSource, f.Repository, want.Repository)
	case want.Revision != "" && f.Revision != want.Revision:
		return fmt.Errorf("%w: %s, not %s", ErrRevision, f.Revision, want.Revision)
	case want.Builder != "" && f.Builder != want.Builder:
		return fmt.Errorf("%w: %s, not %s", ErrBuilder, f.Builder, want.Builder)
	}
	return nil
}
