package image_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// TestRetag: the tags that move go back to the image that is served again, and no other tag does.
func TestRetag(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// own is the tag of the image to go back to, taken the tags of the one that is taken back, given and left what
		// becomes of them.
		own                string
		taken, given, left []string
	}{
		"a version of the same line":     {"1.2.3", []string{"1.2.4", "1.2", "1", "latest"}, []string{"1", "1.2", "latest"}, nil},
		"a version of the line before":   {"1.2.3", []string{"1.3.0", "1.3", "1", "latest"}, []string{"1", "latest"}, []string{"1.3"}},
		"a version of another line":      {"1.2.3", []string{"2.0.0", "2.0", "2", "latest"}, []string{"latest"}, []string{"2", "2.0"}},
		"a commit of main":               {"main-0123456789ab", []string{"main-ba9876543210", "sha-ba9876543210", "main"}, []string{"main"}, nil},
		"from a version to a commit":     {"main-0123456789ab", []string{"1.0.0", "1.0", "1", "latest"}, []string{"latest"}, []string{"1", "1.0"}},
		"one that was tried in a change": {"1.2.3", []string{"1.2.4", "pr-7"}, nil, []string{"pr-7"}},
		"one with its own tag alone":     {"1.2.3", []string{"1.2.4"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, requests := seen(t, nil)
			o := image.Options{PlainHTTP: true}
			good, err := publish(t, host+"/app:"+c.own, 1, image.Publication{AlsoTags: []string{"kept"}})
			if err != nil {
				t.Fatal(err)
			}
			bad, err := publish(t, host+"/app:"+c.taken[0], 2, image.Publication{AlsoTags: c.taken[1:]})
			if err != nil {
				t.Fatal(err)
			}
			// One of a third image, which moves too.
			third, err := publish(t, host+"/app:0.1.0", 3, image.Publication{AlsoTags: []string{"0.1"}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := image.Retag(t.Context(), host+"/app@"+good.Digest, bad.Digest, c.own, o)
			if err != nil {
				t.Fatal(err)
			}
			var given []string
			for _, tag := range got.Tags {
				given = append(given, tag.Tag)
				if tag.Former != bad.Digest {
					t.Errorf("%s was taken from %s", tag.Tag, tag.Former)
				}
			}
			if !slices.Equal(given, c.given) || !slices.Equal(got.Left, c.left) || got.Digest != good.Digest {
				t.Errorf("%+v; want %v given and %v left", got, c.given, c.left)
			}
			for _, tag := range c.taken {
				want := bad.Digest
				if slices.Contains(c.given, tag) {
					want = good.Digest
				}
				if now := digestOf(t, host+"/app:"+tag); now != want {
					t.Errorf("%s is %s, want %s", tag, now, want)
				}
			}
			if now := digestOf(t, host+"/app:0.1"); now != third.Digest {
				t.Errorf("a tag of a third image is %s, want %s", now, third.Digest)
			}

			before := len(requests())
			again, err := image.Retag(t.Context(), host+"/app@"+good.Digest, bad.Digest, c.own, o)
			if err != nil || len(again.Tags) != 0 || !slices.Equal(again.Left, c.left) {
				t.Errorf("again: %+v, %v", again, err)
			}
			for _, r := range requests()[before:] {
				if r.method != http.MethodGet && r.method != http.MethodHead {
					t.Errorf("again: %s %s", r.method, r.path)
				}
			}
		})
	}
}

// TestRetagGoesOn: a registry that fails at the second tag has the first one, and the next call goes on from there.
func TestRetagGoesOn(t *testing.T) {
	t.Parallel()
	refused := ""
	host, _ := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
		if refused == "" || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/"+refused) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	o := image.Options{PlainHTTP: true}
	good, err := publish(t, host+"/app:1.2.3", 1, image.Publication{})
	if err != nil {
		t.Fatal(err)
	}
	bad, err := publish(t, host+"/app:1.2.4", 2, image.Publication{AlsoTags: []string{"1", "1.2", "latest"}})
	if err != nil {
		t.Fatal(err)
	}
	refused = "1.2"
	if _, err := image.Retag(t.Context(), host+"/app@"+good.Digest, bad.Digest, "1.2.3", o); !errors.Is(err, image.ErrUnauthorized) || !strings.Contains(err.Error(), "/app:1.2: ") {
		t.Fatalf("got %v", err)
	}
	refused = ""
	got, err := image.Retag(t.Context(), host+"/app@"+good.Digest, bad.Digest, "1.2.3", o)
	if want := []image.Tag{{Tag: "1.2", Former: bad.Digest}, {Tag: "latest", Former: bad.Digest}}; err != nil || !slices.Equal(got.Tags, want) {
		t.Errorf("%+v, %v; want %+v", got.Tags, err, want)
	}
}

func TestRetagRefuses(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	bad, err := publish(t, host+"/app:1.2.4", 2, image.Publication{AlsoTags: []string{"latest"}})
	if err != nil {
		t.Fatal(err)
	}
	missing := "sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		ref, from, own string
		want           error
	}{
		"a tag":                      {host + "/app:1.2.4", bad.Digest, "1.2.3", image.ErrNoDigest},
		"no digest to take from":     {host + "/app@" + missing, "1.2.4", "1.2.3", imageref.ErrDigest},
		"no tag":                     {host + "/app@" + missing, bad.Digest, "1 2", imageref.ErrTag},
		"an image that is gone":      {host + "/app@" + missing, bad.Digest, "1.2.3", image.ErrNotFound},
		"a repository that is none":  {host + "/none@" + missing, bad.Digest, "1.2.3", image.ErrNotFound},
		"a registry that is not one": {"localhost:1/app@" + missing, bad.Digest, "1.2.3", image.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := image.Retag(t.Context(), c.ref, c.from, c.own, image.Options{PlainHTTP: true}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if now := digestOf(t, host+"/app:latest"); now != bad.Digest {
		t.Errorf("latest went to %s", now)
	}
}
