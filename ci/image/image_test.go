package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// entry is a file of a layer.
type entry struct {
	name string
	text string
	mode int64
	link string
	kind byte
}

func layer(t *testing.T, entries ...entry) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.text)), Mode: e.mode, Linkname: e.link, Typeflag: e.kind}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func build(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = "amd64", "linux", config
	file.Created = v1.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// serve is a registry with one image, app:1.
func serve(t *testing.T, img v1.Image, wrap ...func(http.Handler) http.Handler) string {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	for _, w := range wrap {
		h = w(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	if img != nil {
		tag, err := name.NewTag(host + "/app:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, img); err != nil {
			t.Fatal(err)
		}
	}
	return host
}

var slim = v1.Config{
	User:       "65532:65532",
	Entrypoint: []string{"/usr/local/bin/node", "start.js"},
	WorkingDir: "/app",
	Labels: map[string]string{
		"org.opencontainers.image.source":   "https://example.com/r",
		"org.opencontainers.image.revision": "1",
		"org.opencontainers.image.version":  "1",
		"org.opencontainers.image.created":  "2026-01-02T03:04:05Z",
	},
	ExposedPorts: map[string]struct{}{"8000/tcp": {}, "4001/tcp": {}},
}

func TestInspect(t *testing.T) {
	t.Parallel()
	img := build(t, slim,
		layer(t, entry{name: "app/", kind: tar.TypeDir}, entry{name: "app/a", text: "aaaa"}, entry{name: "app/d/b", text: "bb"}, entry{name: "app/d/c", text: "c"}),
		layer(t, entry{name: "./app/a", text: "aaaaaaaa"}, entry{name: "app/d/.wh.b"}, entry{name: "app/link", kind: tar.TypeSymlink, link: "a"}, entry{name: "app/hard", kind: tar.TypeLink, link: "app/a"}),
		layer(t, entry{name: "app/d/.wh..wh..opq"}, entry{name: "app/d/e", text: "e"}),
	)
	host := serve(t, img)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{host + "/app:1", host + "/app@" + digest.String()} {
		i, files, err := image.Inspect(t.Context(), ref, image.Options{PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Path)
		}
		if want := []string{"/app/a", "/app/d/e", "/app/hard", "/app/link"}; !slices.Equal(names, want) {
			t.Errorf("files %v; want %v", names, want)
		}
		if i.Digest != digest.String() || i.Manifest != i.Digest || i.Ref != ref || i.Platform != "linux/amd64" {
			t.Errorf("%+v", i)
		}
		// All layers are on disk, what is hidden as well: 4+2+1, 8, 1.
		if i.DiskBytes != 16 || i.Files != 4 || len(i.Layers) != 3 || i.Layers[0].DiskBytes != 7 {
			t.Errorf("%d bytes on disk, %d files, layers %+v", i.DiskBytes, i.Files, i.Layers)
		}
		if got, want := i.CompressedBytes, transferred(t, img); got != want {
			t.Errorf("%d bytes compressed; want %d", got, want)
		}
		if i.User != "65532:65532" || i.WorkingDir != "/app" || !slices.Equal(i.Ports, []string{"4001/tcp", "8000/tcp"}) || !i.Created.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
			t.Errorf("%+v", i)
		}
	}
}

// TestInspectManifestOnly: no layer is read, and one that is not there in full is missed all the same.
func TestInspectManifestOnly(t *testing.T) {
	t.Parallel()
	img := build(t, slim, layer(t, entry{name: "app/a", text: "aaaa"}), layer(t, entry{name: "app/b", text: "bb"}))
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	last, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	var read atomic.Int32
	var lost atomic.Value
	lost.Store(func(http.ResponseWriter) bool { return false })
	host := serve(t, img, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/blobs/"+last.String()) {
				if r.Method == http.MethodGet {
					read.Add(1)
				}
				if lost.Load().(func(http.ResponseWriter) bool)(w) {
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	only := image.Options{PlainHTTP: true, ManifestOnly: true}
	i, files, err := image.Inspect(t.Context(), host+"/app:1", only)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 0 || i.DiskBytes != 0 || i.CompressedBytes != transferred(t, img) || len(i.Layers) != 2 || i.Labels["org.opencontainers.image.revision"] != "1" || read.Load() != 0 {
		t.Errorf("%+v, %d files, %d reads of the last layer", i, len(files), read.Load())
	}
	for what, answer := range map[string]func(http.ResponseWriter){
		"gone":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"half":    func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1") },
		"refused": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
	} {
		lost.Store(func(w http.ResponseWriter) bool { answer(w); return true })
		want := image.ErrNotFound
		if what == "refused" {
			want = image.ErrUnauthorized
		}
		if _, _, err := image.Inspect(t.Context(), host+"/app:1", only); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
}

// transferred sums what a pull fetches: manifest, configuration and layers.
func transferred(t *testing.T, img v1.Image) int64 {
	t.Helper()
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(len(manifest) + len(config))
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		size, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		sum += size
	}
	return sum
}

func TestInspectOfSeveralPlatforms(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	amd, arm := build(t, slim, layer(t, entry{name: "a", text: "1"})), build(t, slim, layer(t, entry{name: "a", text: "22"}))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	tag, err := name.NewTag(host + "/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	whole, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for platform, size := range map[string]int64{"": 1, "linux/arm64": 2} {
		i, _, err := image.Inspect(t.Context(), tag.String(), image.Options{PlainHTTP: true, Platform: platform})
		if err != nil || i.Digest != whole.String() || i.Manifest == i.Digest || i.DiskBytes != size {
			t.Errorf("%s: %+v, %v", platform, i, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	answers := func(code int) string {
		return serve(t, nil, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(code)
			})
		})
	}
	cases := map[string]struct {
		ref     string
		options image.Options
		want    error
	}{
		"no reference":        {ref: "A B", want: imageref.ErrReference},
		"no such image":       {ref: host + "/app:2", want: image.ErrNotFound},
		"sign-in is wanted":   {ref: answers(http.StatusUnauthorized) + "/app:1", want: image.ErrUnauthorized},
		"another is wanted":   {ref: answers(http.StatusForbidden) + "/app:1", options: image.Options{Username: "u", Password: "canary"}, want: image.ErrUnauthorized},
		"a limit is reached":  {ref: answers(http.StatusTooManyRequests) + "/app:1", want: image.ErrLimited},
		"nobody listens":      {ref: "127.0.0.1:1/app:1", want: image.ErrUnreachable},
		"unknown host":        {ref: "nowhere.invalid/app:1", want: image.ErrUnreachable},
		"the registry breaks": {ref: answers(http.StatusNotImplemented) + "/app:1", want: image.ErrUnreachable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.options.PlainHTTP, c.options.Pause = true, time.Millisecond
			_, _, err := image.Inspect(t.Context(), c.ref, c.options)
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want %v", err, c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := []entry{
		{name: "usr/local/bin/node", mode: 0o755}, {name: "app/packages/backend/dist/index.cjs.js"}, {name: "app/node_modules/x/config.d.ts"}, {name: "app/catalog/templates/component/content/server.test.js"},
		{name: "app/node_modules/x/package.json"}, {name: "app/node_modules/knex/lib/migrations/common/MigrationsLoader.js"}, {name: "app/node_modules/x/test.js"},
		{name: "app/node_modules/better-sqlite3/build/Release/better_sqlite3.node"}, {name: "app/node_modules/as/index.js"}, {name: "etc/passwd"},
	}
	with := func(more ...entry) []entry { return append(slices.Clone(good), more...) }
	cases := map[string]struct {
		entries []entry
		config  func(c *v1.Config)
		limits  image.Limits
		allow   []string
		want    []string
	}{
		"as it should be":  {entries: good},
		"yarn":             {entries: with(entry{name: "usr/local/bin/yarn", kind: tar.TypeSymlink, link: "/opt/yarn"}), want: []string{"package-manager"}},
		"vendored yarn":    {entries: with(entry{name: "app/.yarn/releases/yarn-4.13.0.cjs"}), want: []string{"package-manager"}},
		"npm":              {entries: with(entry{name: "usr/local/lib/node_modules/npm/package.json"}), want: []string{"package-manager"}},
		"compiler":         {entries: with(entry{name: "usr/bin/gcc"}, entry{name: "usr/bin/python3"}), want: []string{"compiler", "compiler"}},
		"shell":            {entries: with(entry{name: "bin/sh"}), want: []string{"shell"}},
		"shell allowed":    {entries: with(entry{name: "bin/sh"}), allow: []string{"shell"}},
		"header":           {entries: with(entry{name: "usr/local/include/node/node.h"}, entry{name: "app/node_modules/x/deps/sqlite3.h"}), want: []string{"header", "header"}},
		"native source":    {entries: with(entry{name: "app/node_modules/x/sqlite3.c"}, entry{name: "app/node_modules/x/build/a.o"}), want: []string{"native-source", "native-source"}},
		"source map":       {entries: with(entry{name: "app/dist/main.js.map"}), want: []string{"source-map"}},
		"type declaration": {entries: with(entry{name: "app/x/index.d.ts"}, entry{name: "app/x/index.d.mts"}), want: []string{"type-declaration", "type-declaration"}},
		"source":           {entries: with(entry{name: "app/packages/app/src/App.tsx"}), want: []string{"source"}},
		"test":             {entries: with(entry{name: "app/x/__tests__/a.js"}, entry{name: "app/x/a.test.js"}), want: []string{"test", "test"}},
		"removed above":    {entries: with(entry{name: "bin/sh"}, entry{name: "bin/.wh.sh"})},
		"set-user-ID":      {entries: with(entry{name: "bin/su", mode: 0o4755}), want: []string{"privileged"}},
		"root":             {entries: good, config: func(c *v1.Config) { c.User = "" }, want: []string{"user"}},
		"root by number":   {entries: good, config: func(c *v1.Config) { c.User = "0:0" }, want: []string{"user"}},
		"user by name":     {entries: good, config: func(c *v1.Config) { c.User = "node" }, want: []string{"user"}},
		"shell entrypoint": {entries: good, config: func(c *v1.Config) { c.Entrypoint = []string{"/bin/sh", "-c", "node x"} }, want: []string{"entrypoint"}},
		"no entrypoint":    {entries: good, config: func(c *v1.Config) { c.Entrypoint = nil }, want: []string{"entrypoint"}},
		"no labels":        {entries: good, config: func(c *v1.Config) { c.Labels = nil }, want: []string{"label", "label", "label", "label"}},
		"too large":        {entries: with(entry{name: "x", text: strings.Repeat("x", 2000)}), limits: image.Limits{CompressedBytes: 10, DiskBytes: 1999}, want: []string{"compressed-size", "disk-size"}},
		"just fits":        {entries: with(entry{name: "x", text: strings.Repeat("x", 2000)}), limits: image.Limits{DiskBytes: 2000}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := *slim.DeepCopy()
			if c.config != nil {
				c.config(&config)
			}
			host := serve(t, build(t, config, layer(t, c.entries...)))
			i, files, err := image.Inspect(t.Context(), host+"/app:1", image.Options{PlainHTTP: true})
			if err != nil {
				t.Fatal(err)
			}
			var rules []string
			found := image.Check(i, files, c.limits, c.allow...)
			for _, f := range found {
				rules = append(rules, f.Rule)
			}
			if !slices.Equal(rules, c.want) {
				t.Errorf("findings %v; want %v\n%+v", rules, c.want, found)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	got := image.Summary([]image.Finding{{Rule: "a", Message: "one"}, {Rule: "b", Message: "two"}, {Rule: "a", Message: "three"}})
	if want := "one (and 1 more); two"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}
