package report

// Tagged are the tags of an image beside its own.
type Tagged struct {
	// Tags are those that it has.
	Tags Tags `json:"tags"`
	// Left are those that move and were not given: the branch named the image of a later release by then.
	Left []string `json:"left"`
}

// Tags are what an image was given in its registry.
type Tags []Tag

func (all Tags) names() []string {
	names := make([]string, len(all))
	for i, tag := range all {
		names[i] = tag.Tag
	}
	return names
}

// Tag is one of them.
type Tag struct {
	Tag string `json:"tag"`
	// Former is the digest that it named before, empty for none.
	Former string `json:"former,omitempty"`
	// Kept says that the image had it already.
	Kept bool `json:"kept,omitempty"`
}

func (a *Tagged) rows(t *table) {
	if len(a.Tags) > 0 {
		t.row("Tags", codes(a.Tags.names()))
	}
	if len(a.Left) > 0 {
		t.row("Tags left", codes(a.Left)+": the branch names another image by now")
	}
}
