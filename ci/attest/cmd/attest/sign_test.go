package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// chart is a Helm chart in a registry, and another one beside it.
func chart(t *testing.T) (ref, other string) {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	repository := strings.TrimPrefix(s.URL, "http://") + "/app-chart"
	push := func(version string) string {
		artifact, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
			Layer: static.NewLayer([]byte(version), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
		})
		if err != nil {
			t.Fatal(err)
		}
		described := mutate.Annotations(mutate.ConfigMediaType(artifact, "application/vnd.cncf.helm.config.v1+json"),
			map[string]string{"org.opencontainers.image.created": "2026-11-23T09:35:00Z"}).(v1.Image)
		tag, err := name.NewTag(repository + ":" + version)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, described); err != nil {
			t.Fatal(err)
		}
		digest, err := described.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return repository + "@" + digest.String()
	}
	return push("0.2.0"), push("0.2.1")
}

// TestSign signs a chart and verifies it: what is not signed, or by another key, is refused.
func TestSign(t *testing.T) {
	private := keyPair(t)
	ref, other := chart(t)

	var unsigned signed
	if err := json.Unmarshal([]byte(must(t, "sign", ref)), &unsigned); err != nil {
		t.Fatal(err)
	}
	if unsigned.Signed || len(unsigned.Attached) != 0 {
		t.Errorf("nothing signs, and it says %+v", unsigned)
	}
	if _, err := attestRun(t, "verify", ref, "--key", "cosign.pub"); err == nil || !refused(err) || !strings.Contains(err.Error(), "unsigned: nothing is attached to it") {
		t.Errorf("unsigned: %v", err)
	}
	// What cannot be read is not refused: it may be signed.
	if _, err := attestRun(t, "verify", "127.0.0.1:1/app@"+ref[strings.Index(ref, "sha256:"):], "--key", "cosign.pub"); err == nil || refused(err) {
		t.Errorf("no registry: %v", err)
	}

	t.Setenv(keyVariable, private)
	t.Setenv(keyPasswordVariable, canary)
	var first, second signed
	if err := json.Unmarshal([]byte(must(t, "sign", ref)), &first); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(must(t, "sign", ref)), &second); err != nil {
		t.Fatal(err)
	}
	if !first.Signed || len(first.Attached) != 1 || first.Attached[0].Kept || !second.Attached[0].Kept || second.Attached[0].Digest != first.Attached[0].Digest {
		t.Errorf("the first time %+v, the second %+v", first, second)
	}
	if said := must(t, "verify", ref, "--key", "cosign.pub"); !strings.Contains(said, first.SignedBy) {
		t.Errorf("it does not say by whom: %s", said)
	}
	if _, err := attestRun(t, "verify", other, "--key", "cosign.pub"); err == nil || !strings.Contains(err.Error(), "unsigned") {
		t.Errorf("another chart: %v", err)
	}

	t.Chdir(t.TempDir())
	must(t, "generate-key-pair")
	if _, err := attestRun(t, "verify", ref, "--key", "cosign.pub"); err == nil || !refused(err) || !strings.Contains(err.Error(), "its signature is refused: signed by another key") {
		t.Errorf("another key: %v", err)
	}
}
