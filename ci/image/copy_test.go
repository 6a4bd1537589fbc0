package image_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

var plain = image.Options{PlainHTTP: true}

// put pushes an image or a list of images under a tag, and returns its name by digest.
func put(t *testing.T, tag string, what remote.Taggable) string {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(ref, what); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Digest(got.Digest.String()).String()
}

func manifest(t *testing.T, ref string) *remote.Descriptor {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCopy(t *testing.T) {
	t.Parallel()
	one := build(t, slim, layer(t, entry{name: "a", text: "a"}))
	two := build(t, slim, layer(t, entry{name: "a", text: "a"}), layer(t, entry{name: "b", text: "b"}))
	list := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: two, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
	)
	for what, c := range map[string]struct {
		image remote.Taggable
		to    string
	}{
		"an image, by tag":          {one, "/team/app:1"},
		"an image, by digest alone": {one, "/team/app"},
		"a list of images":          {list, "/team/app:1"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			from := put(t, serve(t, nil)+"/app:1", c.image)
			var uploads atomic.Int32
			host := serve(t, nil, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if req.Method == http.MethodPost {
						uploads.Add(1)
					}
					next.ServeHTTP(w, req)
				})
			})
			ref, digest, err := image.Copy(t.Context(), from, host+c.to, plain, plain)
			if err != nil {
				t.Fatal(err)
			}
			want := c.to
			if !strings.Contains(want, ":") {
				want += "@" + digest
			}
			if ref != host+want || !strings.HasSuffix(from, "@"+digest) {
				t.Errorf("%s, %s; want %s%s of %s", ref, digest, host, want, from)
			}
			before, after := manifest(t, from), manifest(t, ref)
			if string(before.Manifest) != string(after.Manifest) || before.MediaType != after.MediaType {
				t.Errorf("%s:\n%s\nwant %s:\n%s", after.MediaType, after.Manifest, before.MediaType, before.Manifest)
			}
			if _, _, err := image.Inspect(t.Context(), host+"/team/app@"+digest, plain); err != nil {
				t.Error(err)
			}

			first := uploads.Load()
			if _, _, err := image.Copy(t.Context(), from, host+"/team/app:2", plain, plain); err != nil {
				t.Fatal(err)
			}
			if more := uploads.Load() - first; first == 0 || more != 0 {
				t.Errorf("%d blobs sent, and %d again", first, more)
			}
		})
	}
}

// TestCopySignsInAtTheSourceOnly: the password of one registry is not shown to the other.
func TestCopySignsInAtTheSourceOnly(t *testing.T) {
	t.Parallel()
	var open atomic.Bool
	open.Store(true)
	guarded := serve(t, nil, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if user, password, _ := req.BasicAuth(); !open.Load() && (user != "me" || password != "s3cr3t") {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, req)
		})
	})
	from := put(t, guarded+"/app:1", build(t, slim, layer(t, entry{name: "a", text: "a"})))
	open.Store(false)
	host := serve(t, nil, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Authorization") != "" {
				t.Error("the target was shown a credential")
			}
			next.ServeHTTP(w, req)
		})
	})
	if _, _, err := image.Copy(t.Context(), from, host+"/app:1", image.Options{PlainHTTP: true, Username: "me", Password: "s3cr3t"}, plain); err != nil {
		t.Error(err)
	}
	if _, _, err := image.Copy(t.Context(), from, host+"/app:2", image.Options{PlainHTTP: true, Username: "me", Password: "wrong"}, plain); !errors.Is(err, image.ErrUnauthorized) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v", err)
	}
}

func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	img := build(t, slim, layer(t, entry{name: "a", text: "a"}))
	// A registry that has lost its layers, and one that lets nobody push.
	var lost atomic.Bool
	lossy := serve(t, nil, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if lost.Load() && strings.Contains(req.URL.Path, "/blobs/") {
				http.NotFound(w, req)
				return
			}
			next.ServeHTTP(w, req)
		})
	})
	incomplete := put(t, lossy+"/app:1", img)
	lost.Store(true)
	closed := serve(t, nil, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/v2/" {
				w.WriteHeader(http.StatusForbidden)
			}
		})
	})
	missing := serve(t, nil, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/v2/" {
				http.NotFound(w, req)
			}
		})
	})
	from, host := put(t, serve(t, nil)+"/app:1", img), serve(t, nil)
	_, digest, _ := strings.Cut(from, "@")
	other := "sha256:" + strings.Repeat("0", 64)
	const gone = "the registry has no such image any more, and a rollback needs it; push it there again, or release a fix instead"
	for what, c := range map[string]struct {
		from, to string
		want     error
		text     string
	}{
		"a tag":                    {host + "/app:1", host + "/b:1", image.ErrNoDigest, "/app:1 may be another image tomorrow, write "},
		"a name alone":             {host + "/app", host + "/b:1", image.ErrNoDigest, ""},
		"no source":                {"A B", host + "/b:1", imageref.ErrReference, ""},
		"no target":                {from, "A B", imageref.ErrReference, ""},
		"a target's other digest":  {from, host + "/b@" + other, imageref.ErrReference, "a copy of " + from + " has the same digest"},
		"an image that is gone":    {host + "/app@" + digest, host + "/b:1", image.ErrNotFound, host + "/app@" + digest + ": " + gone},
		"a layer that is gone":     {incomplete, host + "/b:1", image.ErrNotFound, incomplete + ": " + gone},
		"a source that is silent":  {"localhost:1/app@" + digest, host + "/b:1", image.ErrUnreachable, "localhost:1/app@" + digest + ": "},
		"a target that is silent":  {from, "localhost:1/b:1", image.ErrUnreachable, "localhost:1/b:1: "},
		"a target that is closed":  {from, closed + "/b:1", image.ErrUnauthorized, closed + "/b:1: "},
		"a target that is missing": {from, missing + "/b:1", image.ErrNotFound, missing + "/b:1: the registry has no such image"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, _, err := image.Copy(t.Context(), c.from, c.to, plain, plain)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want %v, %q", err, c.want, c.text)
			}
			if what == "a target that is missing" && strings.Contains(err.Error(), "rollback") {
				t.Errorf("the wrong side is blamed: %v", err)
			}
		})
	}
}
