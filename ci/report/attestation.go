package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Attestation is what is said of the image in its registry.
type Attestation struct {
	// Image is the image by its digest.
	Image string `json:"image"`
	// Signed says whether anything signs it; SignedBy is the key or the identity.
	Signed   bool   `json:"signed"`
	SignedBy string `json:"signedBy,omitempty"`
	// TransparencyLog says whether the signatures are in the public log.
	TransparencyLog bool `json:"transparencyLog"`
	// Of an image of one platform what it is made of, and of one of several the same of each.
	Listed
	Platforms []Listed `json:"platforms,omitempty"`
	// Attached are the documents beside the image.
	Attached []Attached `json:"attached"`
}

// Listed is what an image is made of.
type Listed struct {
	// Platform and Digest are those of an image which is one of several.
	Platform string `json:"platform,omitempty"`
	Digest   string `json:"digest,omitempty"`
	// Packages counts the SBOM's packages by kind, Total all of them.
	Packages map[string]int `json:"packages,omitempty"`
	Total    int            `json:"total,omitempty"`
	// Scan is what is known of their vulnerabilities.
	Scan *Scan `json:"scan,omitempty"`
}

// Attached is a document beside an image, by its digest there.
type Attached struct {
	PredicateType string `json:"predicateType"`
	Digest        string `json:"digest"`
	// Platform is that of the image which it is beside, where that is one of several.
	Platform string `json:"platform,omitempty"`
}

// Scan is what a vulnerability database says of an SBOM.
type Scan struct {
	Scanned bool `json:"scanned"`
	// Reason is why it was not scanned.
	Reason string `json:"reason,omitempty"`
	// Built is the time of the database.
	Built time.Time `json:"built,omitzero"`
	// Threshold is the severity from which on a release is refused, empty for none.
	Threshold string `json:"threshold,omitempty"`
	// Found counts vulnerabilities by severity, without those that are ignored.
	Found   map[string]int `json:"found,omitempty"`
	Ignored int            `json:"ignored,omitempty"`
}

// Rescan is what a vulnerability database says now of an image that was released before.
type Rescan struct {
	// Image is the image by its digest.
	Image string `json:"image"`
	// Packages counts what was looked up; of an image of several platforms Platforms has that of each.
	Packages  int         `json:"packages,omitempty"`
	Scan      *Scan       `json:"scan,omitempty"`
	Platforms []Rescanned `json:"platforms,omitempty"`
}

// Rescanned is what a database says of one platform's image.
type Rescanned struct {
	Platform string `json:"platform"`
	Packages int    `json:"packages"`
	Scan     *Scan  `json:"scan"`
}

func (r *Rescan) rows(t *table) {
	if len(r.Platforms) == 0 {
		t.row(Listed{}.called("Vulnerabilities"), r.Scan.String())
	}
	for _, of := range r.Platforms {
		t.row(Listed{Platform: of.Platform}.called("Vulnerabilities"), of.Scan.String())
	}
}

// Verification is what was found beside the image before anything named it.
type Verification struct {
	Image    string `json:"image"`
	SignedBy string `json:"signedBy"`
	Origin   struct {
		Repository string `json:"repository"`
		Revision   string `json:"revision"`
		Builder    string `json:"builder"`
	} `json:"origin"`
}

// ProofBundle is the signed document that ties the release together, beside the image.
type ProofBundle struct {
	// Digest is that of its manifest in the registry, Kept says that it was there before.
	Digest string `json:"digest,omitempty"`
	Kept   bool   `json:"kept,omitempty"`
	// Verdict is one sentence on what it is.
	Verdict string `json:"verdict,omitempty"`
	// Missing is why there is none.
	Missing string `json:"missing,omitempty"`
}

func (b *ProofBundle) rows(t *table) {
	if b.Digest == "" {
		t.row("Proof bundle", "**none**: "+text(b.Missing))
		return
	}
	t.row("Proof bundle", code(b.Digest)+", signed, beside the image: "+text(b.Verdict))
}

// checkAttestation refuses a release whose signature was not looked at, or is that of another image.
func (d Document) checkAttestation() error {
	if d.Attestation == nil {
		return nil
	}
	_, digest, _ := strings.Cut(d.Attestation.Image, "@")
	switch {
	case d.Image == nil || digest != d.Image.Digest:
		return fmt.Errorf("%w: the attestation is not of the image that was released", ErrFacts)
	case d.Attestation.Signed && d.Verification == nil:
		return fmt.Errorf("%w: a signed image wants its verification", ErrFacts)
	case d.Verification != nil && d.Verification.Image != d.Attestation.Image:
		return fmt.Errorf("%w: the verification is not of the image that was released", ErrFacts)
	}
	return nil
}

// checkScan refuses a scan of another image.
func (d Document) checkScan() error {
	if d.Scan == nil {
		return nil
	}
	if _, digest, _ := strings.Cut(d.Scan.Image, "@"); d.Image == nil || digest != d.Image.Digest {
		return fmt.Errorf("%w: the scan is not of the image that is released", ErrFacts)
	}
	return nil
}

func (a *Attestation) rows(t *table, v *Verification) {
	lists := a.Platforms
	if len(lists) == 0 {
		lists = []Listed{a.Listed}
	}
	for _, l := range lists {
		t.row(l.called("SBOM"), fmt.Sprintf("%d packages: %s; SPDX and CycloneDX", l.Total, counts(l.Packages)))
	}
	switch {
	case !a.Signed:
		t.row("Signature", "**not signed**: no signing key was given")
	case a.TransparencyLog:
		t.row("Signature", code(a.SignedBy)+", in the public transparency log")
	default:
		t.row("Signature", code(a.SignedBy)+", not in a transparency log")
	}
	switch {
	case v != nil:
		t.row("Provenance", code(v.Origin.Revision)+" of "+text(v.Origin.Repository)+", built by "+text(v.Origin.Builder))
		t.row("Verified", "signature, provenance and SBOM, before the commit")
	case !a.Signed:
		t.row("Provenance", "none: not signed")
	}
	for _, l := range lists {
		t.row(l.called("Vulnerabilities"), l.Scan.String())
	}
}

// called is what a row on the list is called.
func (l Listed) called(what string) string {
	if l.Platform == "" {
		return what
	}
	return what + ", " + text(l.Platform)
}

// String is what was found, in Markdown.
func (s *Scan) String() string {
	if s == nil || !s.Scanned {
		reason := "no vulnerability database was given"
		if s != nil && s.Reason != "" {
			reason = s.Reason
		}
		return "**not scanned**: " + text(reason)
	}
	found := cmp.Or(counts(s.Found), "none")
	if s.Ignored > 0 {
		found += fmt.Sprintf(", and %d ignored with a reason", s.Ignored)
	}
	return found + "; database of " + s.Built.UTC().Format(time.DateOnly)
}

// counts are numbers by name, the largest first.
func counts(of map[string]int) string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(of[b]-of[a], strings.Compare(a, b)) })
	parts := make([]string, len(names))
	for n, name := range names {
		parts[n] = fmt.Sprintf("%d %s", of[name], text(name))
	}
	return strings.Join(parts, ", ")
}
