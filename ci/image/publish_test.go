package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// archive writes the images as an OCI archive.
func archive(t *testing.T, images ...v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		if err := index.AppendImage(img); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// builtAt is the same image as a builder stamps it at a time, which knows another story of it each time.
func builtAt(t *testing.T, at time.Time) v1.Image {
	t.Helper()
	img := build(t, slim, layer(t, entry{name: "app/start.js", text: "start"}))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: at}
	config.History = []v1.History{{Created: config.Created, CreatedBy: at.String()}, {Created: config.Created, CreatedBy: "ENV A=b", EmptyLayer: true}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPublishIsTheSameDigestWheneverItWasBuilt(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	created := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("CET", 3600))
	first, err := image.Publish(t.Context(), []string{archive(t, builtAt(t, time.Unix(1, 0)))}, host+"/app:1", image.Publication{Created: created}, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	second, err := image.Publish(t.Context(), []string{archive(t, builtAt(t, time.Unix(2, 0)))}, host+"/app:2", image.Publication{Created: created}, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if first.Digest != second.Digest {
		t.Errorf("two builds of the same files: %s and %s", first.Digest, second.Digest)
	}
	got, _, err := image.Inspect(t.Context(), host+"/app@"+first.Digest, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Created.Equal(created) {
		t.Errorf("created is %s, want %s", got.Created, created)
	}
	pushed, err := pull(t, host, first.Digest).Image()
	if err != nil {
		t.Fatal(err)
	}
	config, err := pushed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if len(config.History) != len(config.RootFS.DiffIDs) || !config.History[0].Created.Equal(created) {
		t.Errorf("the history is %+v; want an entry for each of %d layers, of %s", config.History, len(config.RootFS.DiffIDs), created)
	}
	other, err := image.Publish(t.Context(), []string{archive(t, builtAt(t, time.Unix(1, 0)))}, host+"/app:3", image.Publication{Created: created.Add(time.Second)}, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if other.Digest == first.Digest {
		t.Error("another time is the same digest")
	}
}

func TestPublishAnnotates(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	config := slim
	config.Labels = map[string]string{"org.opencontainers.image.revision": "abc", "org.opencontainers.image.title": "Portal", "maintainer": "nobody"}
	img := build(t, config, layer(t, entry{name: "app/start.js", text: "start"}))
	published, err := image.Publish(t.Context(), []string{archive(t, img)}, host+"/app:1", image.Publication{Created: time.Unix(1, 0)}, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(host+"/app@"+published.Digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := pushed.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"org.opencontainers.image.revision": "abc", "org.opencontainers.image.title": "Portal"}
	if !maps.Equal(manifest.Annotations, want) {
		t.Errorf("the annotations are %v; want %v", manifest.Annotations, want)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	notTar := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(notTar, []byte("not a tar archive at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := builtAt(t, time.Unix(1, 0))
	for name, c := range map[string]struct {
		archive string
		ref     string
		want    error
	}{
		"no such file":         {filepath.Join(t.TempDir(), "none.tar"), host + "/app:1", fs.ErrNotExist},
		"not an archive":       {notTar, host + "/app:1", image.ErrArchive},
		"an archive of none":   {archive(t), host + "/app:1", image.ErrArchive},
		"an archive of two":    {archive(t, one, one), host + "/app:1", image.ErrArchive},
		"a registry not there": {archive(t, one), "localhost:1/app:1", image.ErrUnreachable},
		"no tag":               {archive(t, one), host + "/app@sha256:" + strings.Repeat("0", 64), imageref.ErrReference},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := image.Publish(t.Context(), []string{c.archive}, c.ref, image.Publication{Created: time.Unix(1, 0)}, image.Options{PlainHTTP: true, Pause: time.Millisecond}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// request is what a registry was asked for.
type request struct{ method, path string }

// seen is a registry that notes what it is asked for, and lets a test answer first.
func seen(t *testing.T, instead func(http.ResponseWriter, *http.Request) bool) (host string, requests func() []request) {
	t.Helper()
	var mu sync.Mutex
	var all []request
	host = serve(t, nil, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			all = append(all, request{r.Method, r.URL.Path})
			mu.Unlock()
			if instead == nil || !instead(w, r) {
				next.ServeHTTP(w, r)
			}
		})
	})
	return host, func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// publish publishes the image that is built at a time, stamped with it, so that another time is another image.
func publish(t *testing.T, ref string, at int64, p image.Publication) (image.Published, error) {
	t.Helper()
	p.Created = time.Unix(at, 0)
	return image.Publish(t.Context(), []string{archive(t, builtAt(t, time.Unix(at, 0)))}, ref, p, image.Options{PlainHTTP: true, Pause: time.Millisecond})
}

func digestOf(t *testing.T, ref string) string {
	t.Helper()
	i, _, err := image.Inspect(t.Context(), ref, image.Options{PlainHTTP: true, Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return i.Digest
}

// TestPublishTags: all tags are the image, which is uploaded once.
func TestPublishTags(t *testing.T) {
	t.Parallel()
	host, requests := seen(t, nil)
	first, err := publish(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"1.2", "1", "latest", "1.2.3"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []image.Tag{{Tag: "1.2.3"}, {Tag: "1.2"}, {Tag: "1"}, {Tag: "latest"}}; !slices.Equal(first.Tags, want) {
		t.Errorf("%+v; want %+v", first.Tags, want)
	}
	for _, tag := range first.Tags {
		if got := digestOf(t, host+"/app:"+tag.Tag); got != first.Digest {
			t.Errorf("%s is %s; want %s", tag.Tag, got, first.Digest)
		}
	}
	uploads := 0
	for _, r := range requests() {
		if r.method == http.MethodPost {
			uploads++
		}
	}
	if uploads != 2 {
		t.Errorf("%d uploads; want the layer and the configuration", uploads)
	}

	// Again: nothing is written.
	before := len(requests())
	again, err := publish(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"1.2"}})
	if want := []image.Tag{{Tag: "1.2.3", Kept: true}, {Tag: "1.2", Kept: true}}; err != nil || !slices.Equal(again.Tags, want) {
		t.Errorf("%+v, %v; want %+v", again.Tags, err, want)
	}
	for _, r := range requests()[before:] {
		if r.method != http.MethodGet && r.method != http.MethodHead {
			t.Errorf("again: %s %s", r.method, r.path)
		}
	}

	// The next version takes the lines from it.
	next, err := publish(t, host+"/app:1.2.4", 2, image.Publication{AlsoTags: []string{"1.2", "latest"}})
	if want := []image.Tag{{Tag: "1.2.4"}, {Tag: "1.2", Former: first.Digest}, {Tag: "latest", Former: first.Digest}}; err != nil || !slices.Equal(next.Tags, want) {
		t.Errorf("%+v, %v; want %+v", next.Tags, err, want)
	}
	if got := digestOf(t, host+"/app:1"); got != first.Digest {
		t.Errorf("1 is %s; want it left at %s", got, first.Digest)
	}
}

// TestPublishTaken: a tag of another image is not taken from it, and then nothing is pushed at all.
func TestPublishTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tag, also string }{
		"a version":               {"1.2.3", "latest"},
		"a version beside":        {"latest", "1.2.3"},
		"a commit":                {"sha-0123456789ab", "main"},
		"a branch with a commit":  {"main-0123456789ab", "main"},
		"a name of somebody's":    {"demo", "latest"},
		"a version in four parts": {"1.2.3.4", "latest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, requests := seen(t, nil)
			first, err := publish(t, host+"/app:"+c.tag, 1, image.Publication{AlsoTags: []string{c.also}})
			if err != nil {
				t.Fatal(err)
			}
			before := len(requests())
			_, err = publish(t, host+"/app:"+c.tag, 2, image.Publication{AlsoTags: []string{c.also}})
			if !errors.Is(err, image.ErrTaken) || !strings.Contains(err.Error(), first.Digest) || !strings.Contains(err.Error(), "--retag") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			for _, r := range requests()[before:] {
				if r.method != http.MethodGet && r.method != http.MethodHead {
					t.Errorf("refused, but %s %s", r.method, r.path)
				}
			}
			second, err := publish(t, host+"/app:"+c.tag, 2, image.Publication{AlsoTags: []string{c.also}, Retag: true})
			if err != nil || second.Tags[0].Former != first.Digest || digestOf(t, host+"/app:"+c.tag) != second.Digest {
				t.Errorf("%+v, %v", second, err)
			}
		})
	}
}

// TestPublishTriesAgain: every kind of request may fail.
func TestPublishTriesAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			failed := map[request]int{}
			host, _ := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				kind := request{r.Method, r.URL.Path}
				if strings.Contains(kind.path, "/uploads/") {
					kind.path = "upload"
				}
				if failed[kind]++; failed[kind] > 1 {
					return false
				}
				w.WriteHeader(code)
				return true
			})
			p, err := publish(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"latest"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := digestOf(t, host+"/app:latest"); got != p.Digest {
				t.Errorf("latest is %s; want %s", got, p.Digest)
			}
			if len(failed) < 6 {
				t.Errorf("only %v failed", failed)
			}
		})
	}
}

// TestPublishGoesOn: what an interrupted push has uploaded is not uploaded again.
func TestPublishGoesOn(t *testing.T) {
	t.Parallel()
	broken := true
	host, requests := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
		if broken && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	_, err := publish(t, host+"/app:1.2.3", 1, image.Publication{})
	if !errors.Is(err, image.ErrUnreachable) {
		t.Fatalf("got %v", err)
	}
	broken = false
	before := len(requests())
	if _, err := publish(t, host+"/app:1.2.3", 1, image.Publication{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range requests()[before:] {
		if strings.Contains(r.path, "/uploads/") {
			t.Errorf("uploaded again: %s %s", r.method, r.path)
		}
	}
}

// TestPublishRefusedByRegistry: what a registry refuses is one sentence that says what to do.
func TestPublishRefusedByRegistry(t *testing.T) {
	t.Parallel()
	for code, c := range map[int]struct {
		want error
		said string
		text string
	}{
		http.StatusUnauthorized:       {image.ErrUnauthorized, "authentication required", "sign in with --username and an access token that may write (it answers 401"},
		http.StatusForbidden:          {image.ErrUnauthorized, "requested access to the resource is denied", "may not write there"},
		http.StatusNotFound:           {image.ErrNotFound, "repository name not known to registry", "make the repository first"},
		http.StatusTooManyRequests:    {image.ErrLimited, "You have reached your pull rate limit.", "wait, or sign in as an account with a higher limit"},
		http.StatusServiceUnavailable: {image.ErrUnreachable, "down", "it answers 503"},
	} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			host, requests := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				w.WriteHeader(code)
				_, _ = io.WriteString(w, `{"errors":[{"code":"X","message":"`+c.said+`"}]}`)
				return true
			})
			_, err := publish(t, host+"/app:1.2.3", 1, image.Publication{})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want %v with %q", err, c.want, c.text)
			}
			if n := len(requests()); n > 100 {
				t.Errorf("%d requests; want a bounded number", n)
			}
		})
	}
}
