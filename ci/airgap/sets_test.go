package airgap

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// threeSets is a supply of a core and two more sets, which share an image.
func threeSets() supply {
	p := func(name string) *Part { return &Part{Name: name, Inputs: []string{name}} }
	shared := p("shared")
	return supply{
		engine: p("engine"), dagger: p("dagger"), runc: p("runc"), registry: p("registry"), tools: p("tools"),
		served: map[string]map[string]*Part{
			coreSet: {"docker.io/a:1": p("a")},
			"b":     {"docker.io/b:1": p("b"), "gcr.io/shared:1": shared},
			"c":     {"quay.io/c:1": p("c"), "gcr.io/shared:1": shared},
		},
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		asked, before, want []string
		wantErr             string
	}{
		"the core alone":                   {nil, nil, []string{"core"}, ""},
		"one more":                         {[]string{"b"}, nil, []string{"b", "core"}, ""},
		"sets add up":                      {[]string{"c"}, []string{"b", "core"}, []string{"b", "c", "core"}, ""},
		"what was asked for stays":         {nil, []string{"core", "c"}, []string{"c", "core"}, ""},
		"asked for twice":                  {[]string{"b", "b", "core"}, []string{"b"}, []string{"b", "core"}, ""},
		"a set of another checkout":        {[]string{"b"}, []string{"future"}, []string{"b", "core"}, ""},
		"a set that is in no checkout":     {[]string{"cloud"}, nil, nil, `no set of images "cloud": there are b, c, core`},
		"an empty name is no set of these": {[]string{""}, nil, nil, "no set of images"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := threeSets().choose(c.asked, c.before)
			if (c.wantErr == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.wantErr)) {
				t.Fatalf("error is %v, want %q", err, c.wantErr)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("chosen are %v, want %v", got, c.want)
			}
		})
	}
}

func TestRemember(t *testing.T) {
	t.Parallel()
	a := Airgap{Cache: t.TempDir()}
	for _, step := range []struct{ sets, want []string }{
		{nil, nil},
		{[]string{"core"}, []string{"core"}},
		{[]string{"cluster", "core"}, []string{"cluster", "core"}},
		{[]string{"core"}, []string{"cluster", "core"}},
		{[]string{"flannel"}, []string{"cluster", "core", "flannel"}},
	} {
		if err := a.remember(step.sets); err != nil {
			t.Fatal(err)
		}
		got, err := a.remembered()
		if err != nil || !slices.Equal(got, step.want) {
			t.Errorf("after %v it remembers %v, %v, want %v", step.sets, got, err, step.want)
		}
	}
}

// TestSetsLeaveTheEngineAlone: a set that is added must not restart an engine
// that runs, so neither the engine's key nor its configuration may change.
func TestSetsLeaveTheEngineAlone(t *testing.T) {
	t.Parallel()
	s := threeSets()
	before := s.key()
	s.served["b"]["docker.io/b:1"] = &Part{Name: "b", Inputs: []string{"changed"}}
	if s.key() != before {
		t.Error("another image in a set restarts the engine")
	}
	s.served["b"]["ghcr.io/b:1"] = &Part{Name: "b"}
	if s.key() == before {
		t.Error("a registry that the engine's configuration does not name yet starts no new engine")
	}
	if got := sortedKeys(s.images([]string{coreSet, "c"})); !slices.Equal(got, []string{"docker.io/a:1", "gcr.io/shared:1", "quay.io/c:1"}) {
		t.Errorf("images are %v", got)
	}
	if got := names(s.parts([]string{"c", coreSet})); !slices.Equal(got, []string{"engine", "dagger", "runc", "registry", "tools", "a", "shared", "c"}) {
		t.Errorf("parts are %v", got)
	}
}

func TestEmptyMirror(t *testing.T) {
	t.Parallel()
	known := &Part{Name: "known", Inputs: []string{"1"}}
	cases := map[string]struct {
		marked []string // nil: no folder of marks
		want   bool
	}{
		"what it holds is known":           {[]string{"known-" + known.Key()}, true},
		"it holds nothing yet":             {[]string{}, true},
		"an image that nobody wants":       {[]string{"known-" + known.Key(), "older-000000000000"}, false},
		"another version of an image":      {[]string{"known-000000000000"}, false},
		"storage of a supply without sets": {nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := Airgap{Cache: t.TempDir()}
			blob := filepath.Join(a.state(), "mirror", "blob")
			files := []string{blob}
			if c.marked != nil {
				if err := os.MkdirAll(filepath.Join(a.state(), "mirrored"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range c.marked {
				files = append(files, filepath.Join(a.state(), "mirrored", m))
			}
			for _, f := range files {
				if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.emptyMirror(map[string]*Part{"x": known}); err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if _, err := os.Stat(f); (err == nil) != c.want {
					t.Errorf("%s is there: %t, want %t", f, err == nil, c.want)
				}
			}
		})
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	from := tree(t, time.Unix(1, 0), "program")
	w := Work{Scratch: t.TempDir()}
	archive, err := layer(w, "top",
		map[string]string{"usr/bin/program": filepath.Join(from, "program")},
		map[string]string{"etc/text": "a\n", "usr/bin/script": "#!/bin/sh\n"},
		links{"usr/bin/link": "program"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeDir {
			got[h.Name] = h.FileInfo().Mode().String() + h.Linkname
		}
	}
	for name, want := range map[string]string{
		"usr/bin/program": "-rwxr-xr-x", "etc/text": "-rw-r--r--", "usr/bin/script": "-rwxr-xr-x", "usr/bin/link": "Lrwxrwxrwxprogram",
	} {
		if got[name] != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	if _, err := layer(w, "none", map[string]string{"x": filepath.Join(from, "missing")}, nil, nil); err == nil {
		t.Error("a program that is not there is no error")
	}
}

// TestSets: which images a set brings, and that they are called by their pins.
func TestSets(t *testing.T) {
	t.Parallel()
	s, err := newSupply(t.Context(), checkout)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"cluster": {
			"docker.io/chromedp/headless-shell:stable", "docker.io/kindest/node:" + pinned("kubernetes").Version, "docker.io/library/docker:29-dind",
			"docker.io/library/traefik:" + pinned("traefik").Version, "public.ecr.aws/docker/library/redis:8.2.3-alpine", "quay.io/argoproj/argocd:" + pinned("argocd").Version,
		},
		"bench":    {"docker.io/library/node:" + pinned("node").Version + "-bookworm-slim"},
		"flannel":  {"ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3", "ghcr.io/flannel-io/flannel:" + pinned("flannel").Version},
		"postgres": {"docker.io/library/postgres:15-bookworm"},
		"calico":   {"docker.io/calico/cni:" + calicoRelease, "docker.io/calico/kube-controllers:" + calicoRelease, "docker.io/calico/node:" + calicoRelease},
		"cert-manager": {
			"quay.io/jetstack/cert-manager-cainjector:" + pinned("cert-manager").Version,
			"quay.io/jetstack/cert-manager-controller:" + pinned("cert-manager").Version,
			"quay.io/jetstack/cert-manager-webhook:" + pinned("cert-manager").Version,
		},
		"metrics-server":   {"registry.k8s.io/metrics-server/metrics-server:" + pinned("metrics-server").Version},
		"otel":             {"docker.io/otel/opentelemetry-collector:" + strings.TrimPrefix(pinned("collector").Version, "v")},
		"external-secrets": {"ghcr.io/external-secrets/external-secrets:" + pinned("external-secrets").Version},
		"s3":               {"docker.io/rclone/rclone:" + strings.TrimPrefix(pinned("rclone").Version, "v"), "docker.io/versity/versitygw:" + pinned("versitygw").Version},
		"prometheus": {
			"quay.io/prometheus-operator/prometheus-config-reloader:" + pinned("prometheus-operator").Version,
			"quay.io/prometheus-operator/prometheus-operator:" + pinned("prometheus-operator").Version,
			"quay.io/prometheus/prometheus:v" + prometheusVersion,
		},
	}
	for _, set := range s.sets() {
		if got := sortedKeys(s.images([]string{set})); set != coreSet && !slices.Equal(got, want[set]) {
			t.Errorf("set %s has %v, want %v", set, got, want[set])
		}
	}
	if len(s.sets()) != len(want)+1 {
		t.Errorf("sets are %v", s.sets())
	}
	// Whoever asks for the core pays for the core: nothing of a set is among
	// its parts.
	core := closure(s.parts([]string{coreSet}))
	for _, p := range core {
		if slices.Contains([]string{"kubernetes", "dockerd", "argocd"}, p.Name) {
			t.Errorf("the core builds %s", p.Name)
		}
	}
	if all := closure(s.parts(s.sets())); len(all) <= len(core) {
		t.Errorf("all sets together have %d parts, the core has %d", len(all), len(core))
	}
}
