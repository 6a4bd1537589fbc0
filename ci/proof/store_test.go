package proof

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestRefusedBy(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		conditions []any
		want       string
	}{
		"refused":           {[]any{condition("Ready", "False")}, ""},
		"filled":            {[]any{condition("Ready", "True")}, "it is Ready: so it is"},
		"not looked at":     {nil, "has not looked"},
		"something else is": {[]any{condition("Deleted", "False")}, "has not looked"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			external := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": c.conditions}}}
			if got := text(refusedBy(external)); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
