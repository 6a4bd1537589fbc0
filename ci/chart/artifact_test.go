package chart_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	helm "helm.sh/helm/v3/pkg/registry"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

var created = time.Date(2026, 11, 23, 9, 35, 0, 0, time.UTC)

// What Helm pulls from a registry is the very package that was published.
func TestArtifactIsWhatHelmPulls(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	artifact, err := chart.NewArtifact(t.Context(), "../../charts/backstage", created)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://")+"/user/backstage-gitops-chart:"+artifact.Tag(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, artifact, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	file, err := chart.Package(t.Context(), "../../charts/backstage", t.TempDir(), created)
	if err != nil {
		t.Fatal(err)
	}
	packaged, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	client, err := helm.NewClient(helm.ClientOptPlainHTTP(), helm.ClientOptCredentialsFile(filepath.Join(t.TempDir(), "none.json")))
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := client.Pull("oci://" + ref.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pulled.Chart.Data, packaged) {
		t.Error("Helm pulls another chart than was packaged")
	}
	if pulled.Chart.Meta.Name != "backstage" || pulled.Chart.Meta.Version != artifact.Version {
		t.Errorf("Helm reads %+v of it, want version %s", pulled.Chart.Meta, artifact.Version)
	}
	digest, err := artifact.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if pulled.Manifest.Digest != digest.String() {
		t.Errorf("its digest is %s to Helm, %s here", pulled.Manifest.Digest, digest)
	}
}

func TestArtifactIsTheSameAtTheSameTime(t *testing.T) {
	t.Parallel()
	digest := func(at time.Time) string {
		artifact, err := chart.NewArtifact(t.Context(), "../../charts/backstage", at)
		if err != nil {
			t.Fatal(err)
		}
		d, err := artifact.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	first := digest(created)
	if again := digest(created.In(time.FixedZone("CET", 3600))); again != first {
		t.Errorf("the same chart is %s and %s", first, again)
	}
	if later := digest(created.Add(time.Hour)); later == first {
		t.Error("its time is not in it")
	}
}

func TestArtifactTag(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"0.2.0": "0.2.0", "1.0.0-rc.1+build.7": "1.0.0-rc.1_build.7"} {
		if tag := (&chart.Artifact{Version: version}).Tag(); tag != want {
			t.Errorf("%s is published as %s, want %s", version, tag, want)
		}
	}
}

func TestArtifactNameBeside(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"docker.io/user/backstage-gitops": "docker.io/user/backstage",
		"docker.io/user/backstage":        "docker.io/user/backstage-chart",
		"registry:5000/backstage-gitops":  "registry:5000/backstage",
		"10.0.0.1:5000/team/a/portal":     "10.0.0.1:5000/team/a/backstage",
		"portal":                          "backstage",
	} {
		if name := (&chart.Artifact{Name: "backstage"}).NameBeside(image); name != want {
			t.Errorf("beside %s it is %s, want %s", image, name, want)
		}
		if name, err := chart.NameBeside(t.Context(), dir, image); err != nil || name != want {
			t.Errorf("beside %s that in %s is %s, %v, want %s", image, dir, name, err, want)
		}
	}
	if _, err := chart.NameBeside(t.Context(), t.TempDir(), "portal"); !errors.Is(err, chart.ErrChart) {
		t.Errorf("where there is no chart it says %v", err)
	}
}
