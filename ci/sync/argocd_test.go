package sync

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

func app() Application {
	return Application{
		Name: "backstage", Repo: "http://git.gitops/backstage-gitops.git", Path: "charts/backstage", Revision: "main",
		DestinationNamespace: "backstage-system",
	}
}

func TestApplicationValidate(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*Application)
		want   string
	}{
		"valid":                {change: func(*Application) {}},
		"ssh":                  {change: func(a *Application) { a.Repo = "ssh://git@github.com/o/r.git" }},
		"values":               {change: func(a *Application) { a.Values = []byte("a: 1\n") }},
		"no name":              {change: func(a *Application) { a.Name = "" }, want: `the name ""`},
		"upper case namespace": {change: func(a *Application) { a.DestinationNamespace = "A" }, want: `the destination namespace "A"`},
		"git protocol":         {change: func(a *Application) { a.Repo = "git://host/r.git" }, want: "Argo CD reads no repository by git://; serve it by http, https or ssh"},
		"a folder":             {change: func(a *Application) { a.Repo = "/srv/git/r.git" }, want: "is not a URL"},
		"a token in it":        {change: func(a *Application) { a.Repo = "https://x:secret@github.com/o/r.git" }, want: "holds a password or a token"},
		"absolute path":        {change: func(a *Application) { a.Path = "/charts" }, want: `the path "/charts" is not one below the repository`},
		"path that leaves":     {change: func(a *Application) { a.Path = "../charts" }, want: "is not one below"},
		"path not clean":       {change: func(a *Application) { a.Path = "charts/" }, want: "is not one below"},
		"no path":              {change: func(a *Application) { a.Path = "" }, want: "is not one below"},
		"no revision":          {change: func(a *Application) { a.Revision = "" }, want: "give a branch, a tag or a commit"},
		"values of a list":     {change: func(a *Application) { a.Values = []byte("- a\n") }, want: "the values are not a YAML mapping"},
		"values not YAML":      {change: func(a *Application) { a.Values = []byte("a: [") }, want: "the values are not a YAML mapping"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := app().defaults()
			c.change(&a)
			err := a.Validate()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrApplication) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("the error repeats the token")
			}
		})
	}
}

func TestApplicationObject(t *testing.T) {
	t.Parallel()
	a := app()
	a.Values, a.ServerSide = []byte("# kept\nimage: {tag: a}\n"), true
	got, err := yaml.Marshal(a.Object().Object)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/application.golden.yaml", got)
}

func TestInstallPrepare(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objs, err := manifests.Decode(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for name, i := range map[string]Install{
		"core": {},
		"full": {Namespace: "gitops", Full: true, Reconciliation: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prepared, err := i.prepare(objs)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, obj := range prepared {
				text, err := yaml.Marshal(obj.Object)
				if err != nil {
					t.Fatal(err)
				}
				b.WriteString("---\n" + string(text))
			}
			golden(t, "testdata/install-"+name+".golden.yaml", []byte(b.String()))
			if d := i.describe(prepared); d.Version != "v3.5.7" {
				t.Errorf("version %q", d.Version)
			}
		})
	}
	if _, err := (Install{}).prepare(objs[2:]); !errors.Is(err, ErrInstall) {
		t.Errorf("a manifest without the CRD: %v", err)
	}
}

// TestInstallImages: an image of what does not run is not asked for.
func TestInstallImages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const dexServer = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: argocd-dex-server}\nspec: {template: {spec: {containers: [{name: dex, image: \"ghcr.io/dexidp/dex:v2\"}]}}}\n"
	signOn := strings.ReplaceAll(string(text), "resource.exclusions: \"kept\"", "dex.config: \"connectors: []\"")
	const argo, dex = "quay.io/argoproj/argocd:v3.5.7", "ghcr.io/dexidp/dex:v2"
	for name, c := range map[string]struct {
		install  Install
		manifest string
		want     []string
	}{
		"core":                         {Install{}, string(text), []string{argo}},
		"full":                         {Install{Full: true}, string(text), []string{argo}},
		"full with single sign-on":     {Install{Full: true}, signOn, []string{dex, argo}},
		"headless with single sign-on": {Install{}, signOn, []string{argo}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs, err := manifests.Decode(strings.NewReader(c.manifest + dexServer))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.install.Images(objs)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			prepared, err := c.install.prepare(objs)
			if err != nil {
				t.Fatal(err)
			}
			if d := c.install.describe(prepared); !slices.Equal(d.Images, c.want) {
				t.Errorf("installed with %q", d.Images)
			}
		})
	}
}

func TestWaitValidate(t *testing.T) {
	t.Parallel()
	good := Wait{Name: "a", Want: Want{Revision: wantedRevision}, Timeout: time.Second}
	cases := map[string]struct {
		change func(*Wait)
		want   string
	}{
		"revision alone":     {change: func(*Wait) {}},
		"image":              {change: func(w *Wait) { w.Image, w.Digest = wantedImage, wantedDigest }},
		"short revision":     {change: func(w *Wait) { w.Revision = "9b2e4f6" }, want: "is not a whole commit hash"},
		"a branch":           {change: func(w *Wait) { w.Revision = "main" }, want: "is not a whole commit hash"},
		"digest alone":       {change: func(w *Wait) { w.Digest = wantedDigest }, want: "give both or none"},
		"image alone":        {change: func(w *Wait) { w.Image = wantedImage }, want: "give both or none"},
		"containers alone":   {change: func(w *Wait) { w.Containers = []string{"a"} }, want: "containers that must run no image"},
		"image with a tag":   {change: func(w *Wait) { w.Image, w.Digest = wantedImage+":1", wantedDigest }, want: "give the name alone"},
		"digest of no image": {change: func(w *Wait) { w.Image, w.Digest = wantedImage, "sha256:1" }, want: "64 lower-case hex digits"},
		"hard, only reading": {func(w *Wait) { w.ReadOnly, w.Hard = true, true }, "only reads"},
		"no time":            {change: func(w *Wait) { w.Timeout = 0 }, want: "a timeout of 0s"},
	}
	for name, c := range cases {
		w := good
		c.change(&w)
		err := w.Validate()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrWant) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestRefreshed(t *testing.T) {
	t.Parallel()
	at := func(version, annotation string) *unstructured.Unstructured {
		obj := object("argoproj.io/v1alpha1", "Application", "argocd", "a", nil)
		obj.SetResourceVersion(version)
		if annotation != "" {
			obj.SetAnnotations(map[string]string{refreshAnnotation: annotation})
		}
		return obj
	}
	cases := map[string]struct {
		app  *unstructured.Unstructured
		want bool
	}{
		"not there":              {nil, false},
		"before the question":    {at("998", ""), false},
		"the question itself":    {at("999", "normal"), false},
		"asked, something else":  {at("1001", "normal"), false},
		"answered":               {at("1002", ""), true},
		"no version to compare":  {at("", ""), false},
		"the version of the ask": {at("999", ""), false},
	}
	for name, c := range cases {
		if got := refreshed(c.app, "999"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"charts/nope: app path does not exist": "charts/nope: app path does not exist",
		"Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = Unknown desc = Manifest generation error (cached): failed to execute helm template command: failed to get command args to log: `helm template . --set a=`x` --include-crds` failed exit status 1: Error: values don't meet the specifications of the schema(s) in the following chart(s):\nbackstage:\n- at '/image': missing property 'tag'\n": "values don't meet the specifications of the schema(s) in the following chart(s): backstage: - at '/image': missing property 'tag'",
		"failed running helm: `helm template . --name-template backstage --values /tmp/3ed73bce <api versions removed> --include-crds` failed exit status 1: Error: YAML parse error on backstage/templates/a.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'":                                                                                                                                                     "YAML parse error on backstage/templates/a.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
		"one or more objects failed to apply, reason: namespaces \"x\" not found (retried 5 times).": "namespaces \"x\" not found (retried 5 times)",
		"": "",
	} {
		if got := explain(message); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestTree is the tree of the scenario in which a new pod cannot pull its image.
func TestTree(t *testing.T) {
	t.Parallel()
	_, o := observed(t, "testdata/judge/image-broken-once.yaml")
	objs := append(o.Workloads, o.ReplicaSets...)
	for _, pod := range o.Pods {
		objs = append(objs, asUnstructured(t, pod))
	}
	got, err := yaml.Marshal(tree(o.Application, objs, o.Events, o.Now))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/tree.golden.yaml", got)
}

func asUnstructured(t *testing.T, pod corev1.Pod) *unstructured.Unstructured {
	t.Helper()
	pod.APIVersion, pod.Kind = "v1", "Pod"
	text, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	objs, err := manifests.Decode(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(kube.As[corev1.Pod](objs)); n != 1 {
		t.Fatalf("%d pods", n)
	}
	return objs[0]
}
