package sync

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// scenario is a file of testdata/judge: what differs from base.yaml, where everything wanted runs.
type scenario struct {
	Refreshed *bool     `json:"refreshed"`
	Misses    int       `json:"misses"`
	Now       time.Time `json:"now"`
	Image     *string   `json:"image"`
	// Containers are those that must run the image.
	Containers []string                   `json:"containers"`
	Patches    map[string]json.RawMessage `json:"patches"`
	Remove     []string                   `json:"remove"`
	Add        []json.RawMessage          `json:"add"`
}

const (
	wantedRevision = "9b2e4f6a8c0d1e3f5a7b9c1d3e5f70812a4c6e8f"
	wantedImage    = "docker.io/user/backstage-gitops"
)

var wantedDigest = "sha256:" + strings.Repeat("2b", 32)

// decision is the part of a Verdict that the golden file holds.
type decision struct {
	Done      bool     `json:"done"`
	Waiting   string   `json:"waiting,omitempty"`
	Failure   *Failure `json:"failure,omitempty"`
	Refresh   bool     `json:"refresh,omitempty"`
	Missed    bool     `json:"missed,omitempty"`
	Terminate bool     `json:"terminate,omitempty"`
	Sync      bool     `json:"sync,omitempty"`
}

func TestJudge(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/judge/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	decisions := map[string]decision{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if name == "base" {
			continue
		}
		want, o := observed(t, file)
		v := Judge(want, o)
		if outcomes := count(v.Done, v.Failure != nil, v.Waiting != ""); outcomes != 1 {
			t.Errorf("%s: %d of done, failure and waiting; want exactly one", name, outcomes)
		}
		decisions[name] = decision{Done: v.Done, Waiting: v.Waiting, Failure: v.Failure, Refresh: v.Refresh, Missed: v.Missed, Terminate: v.Terminate, Sync: v.Sync}
	}
	got, err := json.MarshalIndent(decisions, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = bytes.ReplaceAll(bytes.ReplaceAll(got, []byte(`\u003c`), []byte("<")), []byte(`\u003e`), []byte(">"))
	golden(t, "testdata/judge.golden.json", append(got, '\n'))
}

// TestJudgeOutcome says once more, without a golden file to rewrite, which scenarios may end in success.
func TestJudgeOutcome(t *testing.T) {
	t.Parallel()
	done := []string{"done", "done-commit-without-effect", "done-old-pod-leaves", "any-image", "containers"}
	waits := []string{"not-refreshed", "previous-revision", "comparison-error-git-away", "comparison-error-repo-server-away", "comparison-error-repo-server-replaced", "operation-retries-without-revision", "image-registry-away"}
	files, err := filepath.Glob("testdata/judge/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if name == "base" {
			continue
		}
		want, o := observed(t, file)
		v := Judge(want, o)
		if v.Done != slices.Contains(done, name) {
			t.Errorf("%s: done %t", name, v.Done)
		}
		if slices.Contains(waits, name) && v.Failure != nil {
			t.Errorf("%s: failed with %v, though it may pass", name, v.Failure)
		}
	}
}

func count(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// observed is what a scenario's cluster holds.
func observed(t *testing.T, file string) (Want, Observed) {
	t.Helper()
	text, err := os.ReadFile("testdata/judge/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objs, err := manifests.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	s := scenario{Now: time.Date(2026, 11, 23, 10, 1, 10, 0, time.UTC)}
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, raw := range s.Add {
		added := &unstructured.Unstructured{}
		if err := added.UnmarshalJSON(raw); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		objs = append(objs, added)
	}
	o := Observed{Refreshed: s.Refreshed == nil || *s.Refreshed, Misses: s.Misses, Now: s.Now}
	for _, obj := range objs {
		name := obj.GetKind() + " " + obj.GetName()
		if slices.Contains(s.Remove, name) {
			continue
		}
		if patch, ok := s.Patches[name]; ok {
			obj = patched(t, obj, patch)
			delete(s.Patches, name)
		}
		switch one := []*unstructured.Unstructured{obj}; obj.GetKind() {
		case "Application":
			o.Application = obj
		case "Deployment":
			o.Workloads = append(o.Workloads, obj)
		case "ReplicaSet":
			o.ReplicaSets = append(o.ReplicaSets, obj)
		case "Pod":
			o.Pods = append(o.Pods, kube.As[corev1.Pod](one)...)
		case "Event":
			o.Events = append(o.Events, kube.As[corev1.Event](one)...)
		}
	}
	if len(s.Patches) > 0 {
		t.Fatalf("%s patches what is not there", file)
	}
	want := Want{Revision: wantedRevision, Image: wantedImage, Digest: wantedDigest, Containers: s.Containers}
	if s.Image != nil {
		want.Image = *s.Image
		if want.Image == "" {
			want.Digest = ""
		}
	}
	return want, o
}

func patched(t *testing.T, obj *unstructured.Unstructured, patch []byte) *unstructured.Unstructured {
	t.Helper()
	before, err := obj.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	after, err := jsonpatch.MergePatch(before, patch)
	if err != nil {
		t.Fatal(err)
	}
	changed := &unstructured.Unstructured{}
	if err := changed.UnmarshalJSON(after); err != nil {
		t.Fatal(err)
	}
	return changed
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run the test with -update and look at the change. Got:\n%s", file, got)
	}
}
