package report

// Artifact is the chart in the image's registry.
type Artifact struct {
	// Name is that of the artifact, without version.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Digest is empty where the version was published by an earlier release, before its last change.
	Digest string `json:"digest,omitempty"`
	// SignedBy is the key or the identity that signed it, empty for none.
	SignedBy string `json:"signedBy,omitempty"`
}

func (a *Artifact) rows(t *table) {
	t.row("Chart", code("oci://"+a.Name+":"+a.Version))
	if a.Digest == "" {
		return
	}
	t.row("Chart digest", code(a.Digest))
	if a.SignedBy == "" {
		t.row("Chart signature", "**not signed**: no signing key was given")
		return
	}
	t.row("Chart signature", code(a.SignedBy))
}
