package report

// Tagged are the tags of an image beside its own.
type Tagged struct {
	// Tags are those that it has.
	Tags []Tag `json:"tags"`
	// Left are those that move and were not given: the branch named the image of a later release by then.
	Left []string `json:"left"`
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
		given := make([]string, len(a.Tags))
		for i, tag := range a.Tags {
			given[i] = tag.Tag
		}
		t.row("Tags", codes(given))
	}
	if len(a.Left) > 0 {
		t.row("Tags left", codes(a.Left)+": the branch names another image by now")
	}
}
