package acceptance

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// proven is what a proof in a cluster answers.
type proven struct {
	Proven  bool
	Failure string
	Report  struct {
		Entries        []string
		JSON, HTML, MD struct{ Contents string }
	}
}

// What no cluster can be made of is refused in one sentence, before there is one, and leaves its evidence.
func TestProofRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ args, want string }{
		"version without a node image": {`kubernetes: "v9.9.9"`, "no node image of Kubernetes v9.9.9: choose a version that docker.io/kindest/node has"},
		"too many workers":             {"workers: 9", "9 workers; 0 to 8 are possible"},
		"fewer workers than none":      {"workers: -1", "-1 workers; 0 to 8 are possible"},
		"no such fault":                {`faults: ["fire"]`, `no such fault: "fire"`},
		"no such feature":              {`features: ["fire"]`, `no such feature: "fire"`},
		"feature that wants workers":   {`features: ["spread"]`, "add --workers 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, err := call[struct{ E2E proven }](t, module{}, "e2E("+c.args+`) { proven failure report { entries
				JSON: file(path: "proof.json") { contents } HTML: file(path: "proof.html") { contents } MD: file(path: "proof.md") { contents } } }`)
			if err != nil {
				t.Fatal(err)
			}
			got := answer.E2E
			if got.Proven || !strings.Contains(got.Failure, c.want) || strings.Contains(got.Failure, "\n") {
				t.Errorf("proven: %t, and the sentence is %q, want %q", got.Proven, got.Failure, c.want)
			}
			for _, page := range []string{got.Report.HTML.Contents, got.Report.MD.Contents} {
				if !strings.Contains(page, "Not proven") {
					t.Errorf("the page does not say that it is not proven:\n%s", page)
				}
			}
			if slices.ContainsFunc(got.Report.Entries, func(e string) bool { return strings.HasPrefix(e, "logs") }) {
				t.Errorf("there was a cluster: the report holds %q", got.Report.Entries)
			}
			var proof struct {
				Proven bool
				Run    struct {
					Failure string
					Phases  []struct{ Name, Error string }
				}
			}
			if err := json.Unmarshal([]byte(got.Report.JSON.Contents), &proof); err != nil {
				t.Fatal(err)
			}
			if proof.Proven || proof.Run.Failure != got.Failure || len(proof.Run.Phases) == 0 {
				t.Fatalf("proof.json says %+v, want %q", proof, got.Failure)
			}
			if last := proof.Run.Phases[len(proof.Run.Phases)-1]; last.Error != got.Failure || !strings.HasPrefix(last.Name, "Check ") {
				t.Errorf("it ended with %+v, want it before there is a cluster", last)
			}
			_, err = call[any](t, module{}, "e2E("+c.args+") { sync }")
			refused(t, err, c.want)
		})
	}
}

// A workflow keeps the evidence in one call, and the helper program in it makes the job fail.
func TestProofJob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	answer, err := call[struct {
		E2E struct{ Job struct{ Export string } }
	}](t, module{}, fmt.Sprintf(`e2E(workers: 9) { job { export(path: %q) } }`, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(answer.E2E.Job.Export)
	told := exec.CommandContext(t.Context(), dir+"/gitops", "actions", "result", "--result", dir+"/result.json")
	out, err := told.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "9 workers; 0 to 8 are possible") {
		t.Errorf("it is told as\n%s\n%v", out, err)
	}
}
