package image_test

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
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

// builtAt is the same image as a builder stamps it at a time.
func builtAt(t *testing.T, at time.Time) v1.Image {
	t.Helper()
	img := build(t, slim, layer(t, entry{name: "app/start.js", text: "start"}))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: at}
	for i := range config.History {
		config.History[i].Created = config.Created
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPublishIsTheSameDigestWheneverItWasBuilt(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	created := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("CET", 3600))
	first, err := image.Publish(t.Context(), archive(t, builtAt(t, time.Unix(1, 0))), host+"/app:1", created, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	second, err := image.Publish(t.Context(), archive(t, builtAt(t, time.Unix(2, 0))), host+"/app:2", created, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("two builds of the same files: %s and %s", first, second)
	}
	got, _, err := image.Inspect(t.Context(), host+"/app@"+first, image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Created.Equal(created) {
		t.Errorf("created is %s, want %s", got.Created, created)
	}
	other, err := image.Publish(t.Context(), archive(t, builtAt(t, time.Unix(1, 0))), host+"/app:3", created.Add(time.Second), image.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if other == first {
		t.Error("another time is the same digest")
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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := image.Publish(t.Context(), c.archive, c.ref, time.Unix(1, 0), image.Options{PlainHTTP: true}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
