package environments

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Difference is what a change renders differently in one environment.
type Difference struct {
	Environment string   `json:"environment"`
	Objects     []Object `json:"objects"`
}

// Object is one that is added, changed or removed.
type Object struct {
	Key
	// Change is added, changed or removed.
	Change string `json:"change"`
	// Diff is the difference in unified form.
	Diff string `json:"diff"`
}

// Key is which object that is.
type Key struct {
	// Group of its API, empty for the core's. Not the version: the object of another version is the same one.
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind"`
	// Namespace, where it is another one than the environment's.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String names an object as people write it: Kind.group namespace/name.
func (k Key) String() string {
	kind, name := k.Kind, k.Name
	if k.Group != "" {
		kind += "." + k.Group
	}
	if k.Namespace != "" {
		name = k.Namespace + "/" + name
	}
	return kind + " " + name
}

// Diff renders every environment of two checkouts with Helm and compares what comes out. An environment that only one of
// them has is added or removed as a whole.
func Diff(ctx context.Context, before, after *Checkout) ([]Difference, error) {
	names := []string{}
	for _, e := range slices.Concat(after.Environments, before.Environments) {
		if !slices.Contains(names, e.Name) {
			names = append(names, e.Name)
		}
	}
	var all []Difference
	for _, name := range names {
		old, err := before.objects(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("%s before the change: %w", name, err)
		}
		next, err := after.objects(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("%s after the change: %w", name, err)
		}
		all = append(all, Difference{Environment: name, Objects: compare(old, next)})
	}
	old, err := before.deployment(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s before the change: %w", gitops, err)
	}
	next, err := after.deployment(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s after the change: %w", gitops, err)
	}
	if old != nil || next != nil {
		all = append(all, Difference{Environment: ArgoCD, Objects: compare(old, next)})
	}
	return all, nil
}

// ArgoCD is what the objects of charts/gitops itself are listed under: the AppProject and the ApplicationSet.
const ArgoCD = "Argo CD"

// deployment is what charts/gitops renders with its own values, nil where the checkout has no such chart.
func (c *Checkout) deployment(ctx context.Context) (map[Key]string, error) {
	if _, err := os.Stat(c.file(path.Join(gitops, "Chart.yaml"))); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	const namespace = "argocd"
	return render(ctx, c.file(gitops), chart.Release{Name: "portal", Namespace: namespace})
}

// objects are those of an environment, none where the checkout does not have it. One that is deployed from another
// revision than the checkout's branch has those of that revision, whatever the checkout changes.
func (c *Checkout) objects(ctx context.Context, name string) (_ map[Key]string, err error) {
	i, err := c.index(name)
	if err != nil {
		return nil, nil
	}
	e := c.Environments[i]
	release := chart.Release{Name: c.Release, Namespace: e.Namespace}
	if c.here(e) {
		return render(ctx, c.file(c.Chart), release, c.file(e.Values))
	}
	dir, err := os.MkdirTemp("", "gitops-revision-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := c.export(ctx, e, dir); err != nil {
		return nil, err
	}
	there := Checkout{dir: dir}
	return render(ctx, there.file(c.Chart), release, there.file(e.Values))
}

// export writes chart and values of an environment to a folder, as the revision that it is deployed from has them.
func (c *Checkout) export(ctx context.Context, e Environment, dir string) error {
	commit, err := c.resolve(ctx, e)
	if err != nil {
		return err
	}
	archive, err := git.Open(c.dir).Do(ctx, git.Command{Args: []string{"archive", "--format=tar", commit, "--", c.Chart, e.Values}})
	if err != nil {
		return fmt.Errorf("%w: %s is deployed from %s, which has no %s and %s", ErrEnvironments, e.Name, e.Revision, c.Chart, e.Values)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for files := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case h.Typeflag != tar.TypeReg:
			continue
		}
		text, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		if err := root.MkdirAll(path.Dir(h.Name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(h.Name, text, 0o644); err != nil {
			return err
		}
	}
}

// render renders a chart. What is in the release's namespace says so or not, which is no difference.
func render(ctx context.Context, dir string, release chart.Release, values ...string) (map[Key]string, error) {
	rendered, err := chart.Render(ctx, dir, release, values...)
	if err != nil {
		return nil, err
	}
	objects := map[Key]string{}
	for _, m := range rendered.Manifests {
		key := Key{Group: m.Group, Kind: m.Kind, Namespace: m.Namespace, Name: m.Name}
		if key.Namespace == release.Namespace {
			key.Namespace = ""
		}
		objects[key] = versions.ReplaceAllString(strings.TrimSpace(m.YAML)+"\n", "")
	}
	return objects, nil
}

// versions are labels of every object that each release changes.
var versions = regexp.MustCompile(`(?m)^ +(helm\.sh/chart|app\.kubernetes\.io/version): .*\n`)

func compare(before, after map[Key]string) []Object {
	objects := []Object{}
	for key, next := range after {
		old, there := before[key]
		switch {
		case old == next:
			continue
		case there:
			objects = append(objects, Object{key, "changed", unified(old, next)})
		default:
			objects = append(objects, Object{key, "added", unified("", next)})
		}
	}
	for key, old := range before {
		if _, there := after[key]; !there {
			objects = append(objects, Object{key, "removed", unified(old, "")})
		}
	}
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(
			strings.Compare(a.Kind, b.Kind), strings.Compare(a.Group, b.Group), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name),
		)
	})
	return objects
}

func unified(before, after string) string {
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: lines(before), B: lines(after), Context: 3})
	if err != nil {
		return err.Error() // of a writer, and there is none
	}
	return text
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return difflib.SplitLines(strings.TrimSuffix(text, "\n"))
}

// commentLimit is what GitHub takes as one comment, less some room.
const commentLimit = 60_000

// Markdown is the differences for a pull request's comment.
func Markdown(differences []Difference) string {
	var b strings.Builder
	b.WriteString("### What this changes in each environment\n\n")
	total := 0
	for _, d := range differences {
		total += len(d.Objects)
	}
	if total == 0 {
		b.WriteString("Nothing: every environment renders the same objects.\n")
		return b.String()
	}
	b.WriteString("| environment | added | changed | removed |\n|---|---|---|---|\n")
	for _, d := range differences {
		counts := map[string]int{}
		for _, o := range d.Objects {
			counts[o.Change]++
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", d.Environment, counts["added"], counts["changed"], counts["removed"])
	}
	b.WriteString("\nThe labels with the versions of chart and image are left out.\n")
	for _, d := range differences {
		for _, o := range d.Objects {
			fence := fence(o.Diff)
			part := fmt.Sprintf("\n<details><summary>%s: %s %s</summary>\n\n%sdiff\n%s%s\n\n</details>\n", d.Environment, o.Key, o.Change, fence, o.Diff, fence)
			if b.Len()+len(part) > commentLimit {
				b.WriteString("\nThere is more than fits here: `gitops diff --format json` has all of it.\n")
				return b.String()
			}
			b.WriteString(part)
		}
	}
	return b.String()
}

// fence is longer than any within.
func fence(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence
}
