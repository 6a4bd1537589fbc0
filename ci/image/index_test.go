package image_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

// of is the image for a platform as a builder stamps it at a time; each platform has a layer of its own, and one that
// they share.
func of(t *testing.T, platform string, at int64, labels map[string]string) v1.Image {
	t.Helper()
	config := slim
	config.Labels = maps.Clone(slim.Labels)
	maps.Copy(config.Labels, labels)
	img := build(t, config, layer(t, entry{name: "app/start.js", text: "start"}), layer(t, entry{name: "usr/local/bin/node", text: platform}))
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	parts := append(strings.Split(platform, "/"), "", "")
	file.OS, file.Architecture, file.Variant = parts[0], parts[1], parts[2]
	file.Created = v1.Time{Time: time.Unix(at, 0)}
	for i := range file.History {
		file.History[i].Created = file.Created
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// publishAll publishes one image of several platforms, which was built at a time.
func publishAll(t *testing.T, ref string, at int64, p image.Publication, platforms ...string) (image.Published, error) {
	t.Helper()
	var archives []string
	for _, platform := range platforms {
		archives = append(archives, archive(t, of(t, platform, at, nil)))
	}
	if p.Created.IsZero() {
		p.Created = time.Unix(at, 0)
	}
	return image.Publish(t.Context(), archives, ref, p, image.Options{PlainHTTP: true, Pause: time.Millisecond})
}

// pull reads an image back by its digest.
func pull(t *testing.T, host, digest string) *remote.Descriptor {
	t.Helper()
	ref, err := name.NewDigest(host+"/app@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPublishIndex: what is pulled by platform is what was archived, each manifest that of the image of one platform.
func TestPublishIndex(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	created := image.Publication{Created: time.Unix(100, 0)}
	all, err := publishAll(t, host+"/app:1", 1, created, "linux/arm64/v8", "linux/amd64", "linux/arm/v7")
	if err != nil {
		t.Fatal(err)
	}
	pulled := pull(t, host, all.Digest)
	if pulled.MediaType != types.OCIImageIndex {
		t.Errorf("it is %s", pulled.MediaType)
	}
	index, err := pulled.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
	}
	want := []string{"linux/amd64", "linux/arm/v7", "linux/arm64"}
	if !slices.Equal(platforms, want) {
		t.Errorf("it is of %v; want %v", platforms, want)
	}
	if !maps.Equal(manifest.Annotations, slim.Labels) {
		t.Errorf("the annotations are %v; want %v", manifest.Annotations, slim.Labels)
	}
	for n, platform := range []string{"linux/amd64", "linux/arm/v7", "linux/arm64/v8"} {
		one, err := image.Publish(t.Context(), []string{archive(t, of(t, platform, 2, nil))}, host+"/one:"+string(rune('a'+n)), created, image.Options{PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		i, files, err := image.Inspect(t.Context(), host+"/app@"+all.Digest, image.Options{PlainHTTP: true, Platform: want[n]})
		switch {
		case err != nil:
			t.Errorf("%s: %v", platform, err)
		case i.Digest != all.Digest || i.Manifest != one.Digest || i.Platform != platform || !slices.Equal(i.Platforms, want) || !i.Created.Equal(created.Created):
			t.Errorf("%s alone is %s; want it in %+v", platform, one.Digest, i)
		case len(files) != 2 || files[1].Size != int64(len(platform)):
			t.Errorf("%s: the files are %v", platform, files)
		}
	}
	if i, _, err := image.Inspect(t.Context(), host+"/app:1", image.Options{PlainHTTP: true, Platform: "linux/s390x"}); !errors.Is(err, image.ErrNotFound) || !strings.Contains(err.Error(), "it is of linux/amd64, linux/arm/v7, linux/arm64, not of linux/s390x") {
		t.Errorf("of another platform: %+v, %v", i, err)
	}
}

// TestPublishIndexIsTheSameDigest wherever and whenever it was built, and in whatever order it is given.
func TestPublishIndexIsTheSameDigest(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	created := image.Publication{Created: time.Unix(100, 0)}
	first, err := publishAll(t, host+"/app:1", 1, created, "linux/amd64", "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		created   int64
		platforms []string
		same      bool
	}{
		"again":            {100, []string{"linux/amd64", "linux/arm64"}, true},
		"in another order": {100, []string{"linux/arm64", "linux/amd64"}, true},
		"another time":     {101, []string{"linux/amd64", "linux/arm64"}, false},
		"another platform": {100, []string{"linux/amd64", "linux/s390x"}, false},
		"one more":         {100, []string{"linux/amd64", "linux/arm64", "linux/s390x"}, false},
		"one only":         {100, []string{"linux/amd64"}, false},
	} {
		second, err := publishAll(t, host+"/app:2", 2, image.Publication{Created: time.Unix(c.created, 0), Retag: true}, c.platforms...)
		if err != nil || (second.Digest == first.Digest) != c.same {
			t.Errorf("%s: %s, %v; first it was %s", name, second.Digest, err, first.Digest)
		}
	}
}

// TestPublishIndexAnnotates: what is not said of all of its images is not said of the index.
func TestPublishIndexAnnotates(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	title, base := "org.opencontainers.image.title", "org.opencontainers.image.base.name"
	archives := []string{
		archive(t, of(t, "linux/arm64", 1, map[string]string{title: "Portal", base: "b", "maintainer": "nobody"})),
		archive(t, of(t, "linux/amd64", 1, map[string]string{title: "Portal", base: "a", "maintainer": "nobody"})),
	}
	all, err := image.Publish(t.Context(), archives, host+"/app:1", image.Publication{Created: time.Unix(1, 0)}, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	index, err := pull(t, host, all.Digest).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(slim.Labels)
	want[title] = "Portal"
	if !maps.Equal(manifest.Annotations, want) {
		t.Errorf("the annotations are %v; want %v", manifest.Annotations, want)
	}
	one, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	own, err := one.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if own.Annotations[base] != "a" {
		t.Errorf("the annotations of %s are %v", manifest.Manifests[0].Platform, own.Annotations)
	}
}

// TestPublishIndexRefuses, and pushes nothing.
func TestPublishIndexRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		platforms []string
		want      string
	}{
		"one platform twice":          {[]string{"linux/amd64", "linux/arm64", "linux/amd64"}, "it is of linux/amd64, as "},
		"one platform by two names":   {[]string{"linux/arm64", "linux/arm64/v8"}, "it is of linux/arm64, as "},
		"no platform":                 {[]string{"linux/amd64", "/"}, "it names none"},
		"no architecture":             {[]string{"linux/amd64", "linux/"}, "it names none"},
		"no operating system":         {[]string{"/arm64", "linux/amd64"}, "it names none"},
		"a platform that is none":     {[]string{"linux/amd64", "linux/a b"}, "linux/a b"},
		"an operating system of none": {[]string{"linux/amd64", "?/amd64"}, "?/amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, requests := seen(t, nil)
			_, err := publishAll(t, host+"/app:1", 1, image.Publication{}, c.platforms...)
			if !errors.Is(err, image.ErrPlatforms) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "image.tar: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want %q", err, c.want)
			}
			if all := requests(); len(all) > 0 {
				t.Errorf("refused, but %v", all)
			}
		})
	}
	t.Run("no archive of several", func(t *testing.T) {
		t.Parallel()
		host := serve(t, nil)
		archives := []string{archive(t, of(t, "linux/amd64", 1, nil)), archive(t)}
		if _, err := image.Publish(t.Context(), archives, host+"/app:1", image.Publication{Created: time.Unix(1, 0)}, image.Options{PlainHTTP: true}); !errors.Is(err, image.ErrArchive) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no archive at all", func(t *testing.T) {
		t.Parallel()
		host := serve(t, nil)
		if _, err := image.Publish(t.Context(), nil, host+"/app:1", image.Publication{Created: time.Unix(1, 0)}, image.Options{PlainHTTP: true}); !errors.Is(err, image.ErrArchive) {
			t.Errorf("got %v", err)
		}
	})
}

// TestPublishIndexTags: all tags are the index, as they are an image of one platform; what is there is not sent again.
func TestPublishIndexTags(t *testing.T) {
	t.Parallel()
	host, requests := seen(t, nil)
	wrote := func(from int) (all []request) {
		for _, r := range requests()[from:] {
			if r.method != http.MethodGet && r.method != http.MethodHead {
				all = append(all, r)
			}
		}
		return all
	}
	platforms := []string{"linux/amd64", "linux/arm64"}
	first, err := publishAll(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"1.2", "latest"}}, platforms...)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range first.Tags {
		if got := digestOf(t, host+"/app:"+tag.Tag); got != first.Digest {
			t.Errorf("%s is %s; want %s", tag.Tag, got, first.Digest)
		}
	}
	uploads := 0
	for _, r := range wrote(0) {
		if r.method == http.MethodPost {
			uploads++
		}
	}
	if uploads != 5 {
		t.Errorf("%d uploads; want the shared layer, and a layer and a configuration for each platform", uploads)
	}

	before := len(requests())
	again, err := publishAll(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"1.2"}}, platforms...)
	if want := []image.Tag{{Tag: "1.2.3", Kept: true}, {Tag: "1.2", Kept: true}}; err != nil || !slices.Equal(again.Tags, want) || len(wrote(before)) > 0 {
		t.Errorf("%+v, %v; want %+v, and nothing written: %v", again.Tags, err, want, wrote(before))
	}

	before = len(requests())
	tagged, err := image.AddTags(t.Context(), host+"/app@"+first.Digest, image.Publication{AlsoTags: []string{"1", "latest"}}, image.Options{PlainHTTP: true})
	if want := []image.Tag{{Tag: "1"}, {Tag: "latest", Kept: true}}; err != nil || tagged.Digest != first.Digest || !slices.Equal(tagged.Tags, want) || digestOf(t, host+"/app:1") != first.Digest {
		t.Errorf("%+v, %v; want %s with %+v", tagged, err, first.Digest, want)
	}
	if want := []request{{http.MethodPut, "/v2/app/manifests/1"}}; !slices.Equal(wrote(before), want) {
		t.Errorf("it wrote %v; want %v", wrote(before), want)
	}

	// Another image of these platforms, and one of a single platform, do not take the tag unless told so.
	for name, c := range map[string][]string{"another index": platforms, "an image of one platform": platforms[:1]} {
		before = len(requests())
		_, err = publishAll(t, host+"/app:1.2.3", 2, image.Publication{}, c...)
		if !errors.Is(err, image.ErrTaken) || !strings.Contains(err.Error(), first.Digest) || len(wrote(before)) > 0 {
			t.Errorf("%s: %v, it wrote %v", name, err, wrote(before))
		}
	}
	next, err := publishAll(t, host+"/app:1.2.3", 2, image.Publication{Retag: true}, platforms...)
	if err != nil || next.Tags[0].Former != first.Digest || digestOf(t, host+"/app:1.2.3") != next.Digest {
		t.Errorf("%+v, %v", next, err)
	}
	if got := digestOf(t, host+"/app:latest"); got != first.Digest {
		t.Errorf("latest is %s; want it left at %s", got, first.Digest)
	}
}

// TestPublishIndexGoesOn: an interrupted push goes on with what is missing, platforms or the index itself.
func TestPublishIndexGoesOn(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(path string) bool{
		"after the layers":    func(path string) bool { return strings.Contains(path, "/manifests/") },
		"after the platforms": func(path string) bool { return strings.HasSuffix(path, "/manifests/1.2.3") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			down := true
			host, requests := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
				if down && r.Method == http.MethodPut && broken(r.URL.Path) {
					w.WriteHeader(http.StatusBadGateway)
					return true
				}
				return false
			})
			platforms := []string{"linux/amd64", "linux/arm64"}
			if _, err := publishAll(t, host+"/app:1.2.3", 1, image.Publication{}, platforms...); !errors.Is(err, image.ErrUnreachable) {
				t.Fatalf("got %v", err)
			}
			down = false
			before := len(requests())
			all, err := publishAll(t, host+"/app:1.2.3", 1, image.Publication{}, platforms...)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range requests()[before:] {
				if strings.Contains(r.path, "/uploads/") {
					t.Errorf("uploaded again: %s %s", r.method, r.path)
				}
				if name == "after the platforms" && r.method == http.MethodPut && r.path != "/v2/app/manifests/1.2.3" {
					t.Errorf("written again: %s", r.path)
				}
			}
			for _, platform := range platforms {
				if _, _, err := image.Inspect(t.Context(), host+"/app@"+all.Digest, image.Options{PlainHTTP: true, Platform: platform}); err != nil {
					t.Errorf("%s: %v", platform, err)
				}
			}
		})
	}
}
