package cluster

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestMirror(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	cases := map[string]struct {
		images []string
		want   []Mirrored
		err    string
	}{
		"a registry's":    {images: []string{"quay.io/argoproj/argocd:v3"}, want: []Mirrored{{Image: "quay.io/argoproj/argocd:v3", Path: "argoproj/argocd", Tag: "v3"}}},
		"with a port":     {images: []string{"localhost:5000/a/b:1"}, want: []Mirrored{{Image: "localhost:5000/a/b:1", Path: "a/b", Tag: "1"}}},
		"a user's":        {images: []string{"user/app:1"}, want: []Mirrored{{Image: "docker.io/user/app:1", Path: "user/app", Tag: "1"}}},
		"an official one": {images: []string{"redis:7"}, want: []Mirrored{{Image: "docker.io/library/redis:7", Path: "library/redis", Tag: "7"}}},
		"no tag":          {images: []string{"redis"}, want: []Mirrored{{Image: "docker.io/library/redis:latest", Path: "library/redis", Tag: "latest"}}},
		"by digest": {images: []string{"user/app@" + digest}, want: []Mirrored{{
			Image: "docker.io/user/app@" + digest, Path: "user/app", Tag: "sha256-" + strings.Repeat("a", 64), Digest: digest,
		}}},
		"tag and digest": {images: []string{"user/app:1@" + digest}, want: []Mirrored{{Image: "docker.io/user/app:1@" + digest, Path: "user/app", Tag: "1", Digest: digest}}},
		"twice the same": {images: []string{"redis:7", "docker.io/library/redis:7"}, want: []Mirrored{{Image: "docker.io/library/redis:7", Path: "library/redis", Tag: "7"}}},
		"of two registries": {images: []string{"quay.io/a/b:1", "ghcr.io/a/b:1"},
			err: "quay.io/a/b:1 and ghcr.io/a/b:1 would be one image in a mirror, which has no registries' names; use one of them"},
		"other tags of two registries": {images: []string{"quay.io/a/b:1", "ghcr.io/a/b:2"}, want: []Mirrored{
			{Image: "quay.io/a/b:1", Path: "a/b", Tag: "1"}, {Image: "ghcr.io/a/b:2", Path: "a/b", Tag: "2"},
		}},
		"no image": {images: []string{"Not An Image"}, err: `"Not An Image" is not an image`},
		"empty":    {images: []string{""}, err: `"" is not an image`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Mirror(c.images)
			if c.err != "" {
				if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

// TestAt: nothing but the mirror is in the reference that the daemon pulls, so there is nothing to fall back to.
func TestAt(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, c := range [][3]string{
		{"", "kindest/node:v1", "kindest/node:v1"},
		{"registry:5000", "kindest/node:v1", "registry:5000/kindest/node:v1"},
		{"registry:5000", "docker.io/kindest/node:v1", "registry:5000/kindest/node:v1"},
		{"registry:5000", "kindest/node:v1@" + digest, "registry:5000/kindest/node@" + digest},
	} {
		if got, err := at(c[0], c[1]); err != nil || got != c[2] {
			t.Errorf("%s at %q is %q, %v; want %q", c[1], c[0], got, err, c[2])
		}
	}
}
