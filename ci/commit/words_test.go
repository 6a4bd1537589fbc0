package commit_test

import (
	"os"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

// TestDaggerModuleKnowsTheWords: the Dagger module imports nothing of here, and tells by these words that a branch has
// moved and its commit has to be proven again.
func TestDaggerModuleKnowsTheWords(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.dagger/toolbox.go")
	if err != nil {
		t.Fatal(err)
	}
	if want := `errMoved = errors.New("` + commit.ErrNotVerified.Error() + `")`; !strings.Contains(string(text), want) {
		t.Errorf(".dagger/toolbox.go has no %s", want)
	}
}
