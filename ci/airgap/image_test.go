package airgap

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// tree makes a folder with a program, a link and an empty folder, in the order
// given, with the time given.
func tree(t *testing.T, at time.Time, order ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, what := range order {
		path := filepath.Join(dir, what)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch filepath.Base(what) {
		case "program":
			err = os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755)
		case "link":
			err = os.Symlink("program", path)
		case "empty":
			err = os.Mkdir(path, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(what) != "link" {
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestTarDir(t *testing.T) {
	t.Parallel()
	pack := func(dir, prefix string) []byte {
		archive := filepath.Join(t.TempDir(), "x.tar")
		if err := tarDir(dir, prefix, archive); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one := pack(tree(t, time.Unix(1e9, 0), "bin/program", "bin/link", "empty"), "usr")
	two := pack(tree(t, time.Unix(2e9, 5), "empty", "bin/link", "bin/program"), "usr")
	if !bytes.Equal(one, two) {
		t.Error("the same files make different bytes")
	}
	if bytes.Equal(one, pack(tree(t, time.Now(), "bin/program"), "usr")) {
		t.Error("different files make the same bytes")
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(one)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 1 {
			t.Errorf("%s is of %d:%d (%s) at %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		got = append(got, h.Name+" "+h.FileInfo().Mode().String()+" "+h.Linkname)
	}
	want := []string{"usr/ drwxr-xr-x ", "usr/bin/ drwxr-xr-x ", "usr/bin/link Lrwxrwxrwx program", "usr/bin/program -rwxr-xr-x ", "usr/empty/ drwxr-xr-x "}
	if len(got) > 0 && len(want) > 0 {
		// The folder itself has the mode t.TempDir gave it.
		got[0], want[0] = got[0][:4], want[0][:4]
	}
	if !slices.Equal(got, want) {
		t.Errorf("it holds %q, want %q", got, want)
	}
	if err := tarDir(filepath.Join(t.TempDir(), "missing"), "", filepath.Join(t.TempDir(), "x.tar")); err == nil {
		t.Error("a missing folder is no error")
	}
}

func TestImageRoundTrip(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		compressed bool
		media      types.MediaType
	}{
		"plain":      {false, types.OCIUncompressedLayer},
		"compressed": {true, types.OCILayer},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var layers []string
			for _, what := range []string{"bin/program", "empty"} {
				archive := filepath.Join(t.TempDir(), "layer.tar")
				if err := tarDir(tree(t, time.Unix(1, 0), what), "", archive); err != nil {
					t.Fatal(err)
				}
				layers = append(layers, archive)
			}
			img := image{ref: "docker.io/library/x:1", compressed: c.compressed, config: v1.Config{User: "65532", Env: []string{"A=b"}, Cmd: []string{"x"}}}
			var digests []v1.Hash
			for range 2 {
				dir := t.TempDir()
				if err := img.write(layers, dir); err != nil {
					t.Fatal(err)
				}
				back, err := readImage(dir)
				if err != nil {
					t.Fatal(err)
				}
				digest, err := back.Digest()
				if err != nil {
					t.Fatal(err)
				}
				digests = append(digests, digest)
				check(t, back, layers, c.media)
			}
			if digests[0] != digests[1] {
				t.Errorf("the same layers make %s and %s", digests[0], digests[1])
			}
		})
	}
	if _, err := readImage(t.TempDir()); err == nil {
		t.Error("an empty folder is an image")
	}
	if err := (image{}).write([]string{filepath.Join(t.TempDir(), "missing")}, t.TempDir()); err == nil {
		t.Error("a missing layer is no error")
	}
}

// check holds the image to its configuration and its layers to the archives.
func check(t *testing.T, img v1.Image, archives []string, media types.MediaType) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || config.Config.User != "65532" || !slices.Equal(config.Config.Env, []string{"A=b"}) {
		t.Errorf("the configuration is %+v", config)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != len(archives) {
		t.Fatalf("%d layers, want %d", len(layers), len(archives))
	}
	for i, layer := range layers {
		if got, err := layer.MediaType(); err != nil || got != media {
			t.Errorf("layer %d is %s, %v", i, got, err)
		}
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(content)
		content.Close()
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(archives[i])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("layer %d is not its archive", i)
		}
	}
}

// TestImageKey: everything that is in the image decides its key.
func TestImageKey(t *testing.T) {
	t.Parallel()
	key := func(change func(img *image)) string {
		img := image{ref: "example.org/a:1", config: v1.Config{Env: []string{"A=b"}, ExposedPorts: map[string]struct{}{"1/tcp": {}, "2/tcp": {}}}}
		change(&img)
		return img.part("image", nil, nil, nil).Key()
	}
	first := key(func(*image) {})
	cases := map[string]struct {
		change func(img *image)
		same   bool
	}{
		"nothing":   {func(*image) {}, true},
		"reference": {func(img *image) { img.ref = "example.org/a:2" }, false},
		"layers":    {func(img *image) { img.compressed = true }, false},
		"ports":     {func(img *image) { img.config.ExposedPorts = map[string]struct{}{"3/tcp": {}} }, false},
		"volumes":   {func(img *image) { img.config.Volumes = map[string]struct{}{"/data": {}} }, false},
		"signal":    {func(img *image) { img.config.StopSignal = "SIGQUIT" }, false},
		"labels":    {func(img *image) { img.config.Labels = map[string]string{"a": "b"} }, false},
		"health":    {func(img *image) { img.config.Healthcheck = &v1.HealthConfig{Test: []string{"CMD", "true"}} }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := key(c.change); (got == first) != c.same || got != key(c.change) {
				t.Errorf("the key is %s, then %s; it was %s", got, key(c.change), first)
			}
		})
	}
}
