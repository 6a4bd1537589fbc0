package proof

import (
	"errors"
	"slices"
	"testing"
)

func TestChosen(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		asked, want []string
		err         error
	}{
		"none":               {},
		"one":                {asked: []string{"git"}, want: []string{"git"}},
		"in their own order": {asked: []string{"node", "image-tag"}, want: []string{"image-tag", "node"}},
		"all":                {asked: []string{AllFaults}, want: Faults()},
		"all and one":        {asked: []string{AllFaults, "git"}, want: Faults()},
		"unknown":            {asked: []string{"git", "fire"}, err: ErrFault},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := chosen(c.asked)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			var got []string
			for _, f := range found {
				got = append(got, f.name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	// It ends every container, and with them what the fence has counted.
	if last := Faults()[len(Faults())-1]; last != "node" {
		t.Errorf("the last fault is %q, not node", last)
	}
}
