package proof

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
	"github.com/backstage-gitops/backstage-gitops/ci/environments"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

func TestFeatures(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		asked   []string
		workers int
		want    []string
		err     string
	}{
		"none":                 {},
		"in their own order":   {asked: []string{"tls", "postgres"}, want: []string{"postgres", "tls"}},
		"all":                  {asked: []string{AllFaults}, workers: 2, want: FeatureNames()},
		"all on one node":      {asked: []string{AllFaults}, err: "spread wants pods on 2 nodes: add --workers 2"},
		"spread on one node":   {asked: []string{"spread"}, workers: 1, err: "add --workers 2"},
		"unknown":              {asked: []string{"tls", "service-mesh"}, err: `"service-mesh"; there are upgrade, sign-in, postgres, s3, tls, gateway, `},
		"a fault is no part":   {asked: []string{"node"}, workers: 2, err: ErrFeature.Error()},
		"more nodes than need": {asked: []string{"upgrade"}, workers: 8, want: []string{"upgrade"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := Features(c.asked, c.workers)
			if !strings.Contains(text(err), c.err) || (c.err == "") != (err == nil) {
				t.Fatalf("got %v, want %q", err, c.err)
			}
			var got []string
			for _, s := range found {
				got = append(got, s.Name)
				if s.Components == nil || len(s.steps) == 0 {
					t.Errorf("%s has no steps, or its components are null in JSON", s.Name)
				}
			}
			if err == nil && !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A feature that fails takes away what it made, also where the run was interrupted, and not for ever.
func TestAttempt(t *testing.T) {
	t.Parallel()
	broken, stuck := errors.New("broken"), errors.New("stuck")
	both := []string{"keep logs of some", "clear"}
	cases := map[string]struct {
		run         error
		interrupted bool
		// leaves says that the feature clears nothing away; clear is how that ends.
		leaves bool
		clear  error
		// keep is how the keeping of logs ends.
		keep error
		// then is what comes after the failure, in its order.
		then []string
		want string
	}{
		"shown":                      {},
		"failed":                     {run: broken, then: both, want: "broken"},
		"failed, and no logs":        {run: broken, keep: stuck, then: both, want: "broken"},
		"interrupted":                {run: context.Canceled, interrupted: true, then: both, want: "context canceled"},
		"failed, nothing in the way": {run: broken, leaves: true, want: "broken"},
		"failed, and stays":          {run: broken, then: both, clear: stuck, want: "broken; and what some made is not taken away: stuck"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var then []string
			in := func(ctx context.Context, what string) {
				if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
					what += ", without a time of its own"
				}
				then = append(then, what)
			}
			keep := func(ctx context.Context, feature string) error {
				in(ctx, "keep logs of "+feature)
				return c.keep
			}
			f := Feature{Name: "some", clear: func(_ *Session, ctx context.Context) error {
				in(ctx, "clear")
				return c.clear
			}}
			if c.leaves {
				f.clear = nil
			}
			if c.interrupted {
				cancel()
			}
			s := &Session{Timeout: time.Minute}
			shown, err := s.attempt(ctx, f, func(*Session, context.Context) (string, error) { return "seen", c.run }, keep)
			if text(err) != c.want || !errors.Is(err, c.run) || !slices.Equal(then, c.then) || c.run == nil && shown != "seen" {
				t.Errorf("got %q, %v, then %q", shown, err, then)
			}
		})
	}
}

func TestUntouched(t *testing.T) {
	t.Parallel()
	const dump, before = "backstage-20261130T120000Z.dump", "aa  backstage-20261129T120000Z.dump\nbb  backstage-20261130T120000Z.dump\n"
	cases := map[string]struct{ before, after, want string }{
		"as it was":            {before, before, ""},
		"a part is left":       {before, "cc  ." + dump + ".part\n" + before, "a backup that failed changed its volume"},
		"the dump is another":  {before, strings.Replace(before, "bb", "cc", 1), "a backup that failed changed its volume"},
		"a dump is gone":       {before, "bb  " + dump + "\n", "a backup that failed changed its volume"},
		"no dump at all":       {"", "", dump + " is not on the backup's volume"},
		"the dump was a part":  {"bb  " + dump + ".part\n", "bb  " + dump + ".part\n", dump + " is not on the backup's volume"},
		"the dump is a suffix": {"bb  ." + dump + "\n", "bb  ." + dump + "\n", dump + " is not on the backup's volume"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := text(untouched(c.before, c.after, dump)); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnother(t *testing.T) {
	t.Parallel()
	job := func(secret, elsewhere string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"kind": "Job", "apiVersion": "batch/v1", "spec": map[string]any{"secretName": secret, "other": elsewhere, "limit": int64(3)}}}
	}
	got := job("keys", "keys-of-others")
	if err := another("keys", "wrong")(got); err != nil || !reflect.DeepEqual(got, job("wrong", "keys-of-others")) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := another("nothing", "wrong")(job("keys", "")); err == nil || !strings.Contains(err.Error(), "does not name nothing") {
		t.Errorf("what is not named is replaced: %v", err)
	}
}

// A backup that fails tells why in the words of the tools that it runs.
func TestWhyBackupsFail(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		why        *regexp.Regexp
		said, want string
	}{
		"a wrong key": {
			wrongSignature, "ERROR : S3: api error SignatureDoesNotMatch: The request signature we calculated does not match.\nmore", "SignatureDoesNotMatch: The request signature we calculated does not match.",
		},
		"another authority": {
			unverified, `pg_dump: error: connection to server at "backstage-database" (10.96.1.2), port 5432 failed: SSL error: certificate verify failed`, "SSL error: certificate verify failed",
		},
		"another database":     {unverified, `pg_dump: error: connection to server at "backstage-database" (10.96.1.2), port 5432 failed: FATAL: no such user`, ""},
		"no way to the bucket": {cutOff, `Get "http://s3:7070/portal?list-type=2": dial tcp 10.96.1.2:7070: i/o timeout`, "dial tcp 10.96.1.2:7070: i/o timeout"},
		"no name":              {cutOff, `Get "http://s3:7070/portal?list-type=2": dial tcp: lookup s3: i/o timeout`, ""},
		"no server":            {cutOff, `Get "http://s3:7070/portal?list-type=2": dial tcp 10.96.1.2:7070: connect: connection refused`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.why.FindString(c.said); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLacking(t *testing.T) {
	t.Parallel()
	before := map[string]string{"component:default/a": "1", "component:default/b": "2"}
	cases := map[string]struct {
		after map[string]string
		want  string
	}{
		"all are there":      {map[string]string{"component:default/a": "1", "component:default/b": "2"}, ""},
		"and one more":       {map[string]string{"component:default/a": "1", "component:default/b": "2", "x": "3"}, ""},
		"one is lost":        {map[string]string{"component:default/a": "1"}, "component:default/b is lost"},
		"one was made anew":  {map[string]string{"component:default/a": "1", "component:default/b": "9"}, "component:default/b is another one than before: 9, not 2"},
		"nothing is there":   {nil, "is lost"},
		"one has no name id": {map[string]string{"component:default/a": "1", "component:default/b": ""}, "component:default/b is lost"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := text(lacking(before, c.after)); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestEntitiesFile(t *testing.T) {
	t.Parallel()
	decoder := yaml.NewDecoder(strings.NewReader(string(entitiesFile(3))))
	for i := range 3 {
		var entity struct{ Metadata struct{ Name string } }
		if err := decoder.Decode(&entity); err != nil || entity.Metadata.Name != fmt.Sprintf("registered-%d", i) {
			t.Errorf("entity %d is %q, %v", i, entity.Metadata.Name, err)
		}
	}
}

func TestDumped(t *testing.T) {
	t.Parallel()
	said := "dumped backstage as backstage-20261123T201523Z.dump, 81231 bytes"
	if got := dumped.FindString(said); got != "backstage-20261123T201523Z.dump" {
		t.Errorf("got %q", got)
	}
	if got := dumped.FindString("dumped nothing"); got != "" {
		t.Errorf("got %q", got)
	}
}

// A proof goes on where a cluster cannot show something, and says so.
func TestNotHereIsNoFailureAndIsSaid(t *testing.T) {
	t.Parallel()
	var lack *notHere
	if err := fmt.Errorf("around: %w", &notHere{"no CNI"}); !errors.As(err, &lack) || lack.Error() != "no CNI" {
		t.Errorf("got %v", err)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	other := errors.New("no pod runs")
	cases := map[string]struct {
		from error
		want string
	}{
		"not reached": {&errUnreached{"a:1", "no answer"}, ""},
		"reached":     {nil, "a:1 is reached"},
		"not tried":   {other, other.Error()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := refuses(t.Context(), func(context.Context, string) error { return c.from }, "a:1")
			if text(err) != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Every environment of the repository fits into the proof's cluster, which has none of what prod expects there.
func TestEnvironmentsFitIntoTheCluster(t *testing.T) {
	t.Parallel()
	const root = "../.."
	checkout, err := environments.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range checkout.Environments {
		values := environmentValues()
		merge(values, postgresValues())
		values["certManager"] = map[string]any{"certificate": map[string]any{"enabled": false}}
		values["image"] = map[string]any{"tag": "a", "digest": "sha256:" + strings.Repeat("0", 64)}
		text, err := merged(filepath.Join(root, e.Values), values)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		rendered, err := chart.Render(t.Context(), filepath.Join(root, checkout.Chart), chart.Release{}, file)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		for _, kind := range []string{"NetworkPolicy", "PodDisruptionBudget"} {
			if e.Name == "prod" && !slices.ContainsFunc(rendered.Manifests, func(m chart.Manifest) bool { return m.Kind == kind }) {
				t.Errorf("prod has no %s here", kind)
			}
		}
		for _, m := range rendered.Manifests {
			if strings.Contains(m.Group, "cert-manager") || strings.Contains(m.Group, "coreos") || m.Kind == "HorizontalPodAutoscaler" {
				t.Errorf("%s has a %s, which this cluster does not know", e.Name, m.Kind)
			}
			if m.Kind != "Deployment" {
				continue
			}
			if !strings.Contains(m.YAML, "replicas: 1\n") {
				t.Errorf("%s has no pod:\n%s", e.Name, m.YAML)
			}
			for _, secret := range secretsOf(t, m) {
				if secret != databaseSecret && secret != authSecret {
					t.Errorf("%s wants the Secret %s, which nobody makes there", e.Name, secret)
				}
			}
		}
	}
}

func TestLastEnvironment(t *testing.T) {
	t.Parallel()
	s := &Session{repository: &repository{dir: "../.."}}
	prod, err := s.lastEnvironment()
	if err != nil || prod.Name != "prod" || prod.values.CertManager.Certificate.IssuerRef.Kind != "ClusterIssuer" {
		t.Errorf("got %+v, %v", prod, err)
	}
	// Its policies let the namespace scrape that a stranger of the proof is in.
	if got := fmt.Sprint(prod.values.NetworkPolicy["prometheus"]); !strings.Contains(got, "kubernetes.io/metadata.name:monitoring") || !strings.Contains(strangers, "name: monitoring\n") {
		t.Errorf("Prometheus is in %s", got)
	}
}

func TestEncrypted(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ row, want, err string }{
		"all":      {"5 5 TLSv1.3", "all 5 connections to it are by TLSv1.3", ""},
		"not all":  {"5 4 TLSv1.3", "", "1 of the 5 connections to PostgreSQL are without TLS"},
		"none":     {"0 0 none", "", "PostgreSQL has no connection of a pod"},
		"no words": {"", "", `PostgreSQL says of its connections "": EOF`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := encrypted(c.row)
			if got != c.want || text(err) != c.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// secretsOf are the Secrets that the environment of a Deployment's containers comes from.
func secretsOf(t *testing.T, m chart.Manifest) []string {
	t.Helper()
	object, err := m.Object()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range object.(*appsv1.Deployment).Spec.Template.Spec.Containers {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				names = append(names, from.SecretRef.Name)
			}
		}
		for _, variable := range c.Env {
			if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
				names = append(names, variable.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	return names
}

func TestUtilization(t *testing.T) {
	t.Parallel()
	hpa := func(metrics ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"currentMetrics": metrics}}}
	}
	cpu := map[string]any{"type": "Resource", "resource": map[string]any{"name": "cpu", "current": map[string]any{"averageUtilization": int64(130)}}}
	if got, err := utilization(hpa(map[string]any{"type": ""}, cpu)); err != nil || got != 130 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := utilization(hpa()); err == nil {
		t.Error("an autoscaler that knows nothing has a value")
	}
}

func TestIsReady(t *testing.T) {
	t.Parallel()
	pod := func(status corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}}
	}
	if !isReady(pod(corev1.ConditionTrue)) || isReady(pod(corev1.ConditionFalse)) || isReady(corev1.Pod{}) {
		t.Error("a pod is ready when its condition says so, and only then")
	}
}

// The manifests of the proof's own are ones that the API server takes for what they are.
func TestManifestsOfThePlatform(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml  string
		kinds string
	}{
		"strangers":     {strangers, "Namespace Namespace Namespace Deployment Deployment Deployment"},
		"external":      {string(externalDatabase), "Certificate ConfigMap Deployment Service"},
		"s3":            {string(s3Manifest), "Deployment Service"},
		"collector":     {string(collectorManifest), "Namespace ConfigMap Deployment Service"},
		"notifications": {string(notificationsManifest), "ConfigMap"},
		"store":         {string(storeManifest), "ServiceAccount Role RoleBinding SecretStore"},
		"deny all":      {denyAll, "NetworkPolicy"},
		"prometheus":    {string(prometheusManifest), "Namespace ServiceAccount ClusterRole ClusterRoleBinding Prometheus ServiceMonitor"},
	} {
		objects, err := manifests.Decode(strings.NewReader(c.yaml))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var kinds []string
		for _, o := range objects {
			kinds = append(kinds, o.GetKind())
		}
		if got := strings.Join(kinds, " "); got != c.kinds {
			t.Errorf("%s has %s, want %s", name, got, c.kinds)
		}
	}
}

// The manifests of the proof's own run the images that the cluster's registry has.
func TestImagesOfThePlatform(t *testing.T) {
	t.Parallel()
	versions, err := os.ReadFile("../../.dagger/versions.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, yaml := range [][]byte{externalDatabase, s3Manifest, collectorManifest, prometheusManifest} {
		for _, image := range regexp.MustCompile(`image: (.+)`).FindAllSubmatch(yaml, -1) {
			if !strings.Contains(string(versions), fmt.Sprintf("Image = %q", image[1])) {
				t.Errorf("versions.go has another image than %s", image[1])
			}
		}
	}
}

func TestInBucket(t *testing.T) {
	t.Parallel()
	const root, put, gone = "bucket:b/", "bucket:b/f/new", "bucket:b/f/old"
	stay := []string{"bucket:b/notes.txt"}
	cases := map[string]struct{ list, want, err string }{
		"as it should be":     {"f/new 4711\nnotes.txt 5\n", "4711", ""},
		"not there":           {"notes.txt 5", "", "bucket:b/f/new is not in the bucket, or empty"},
		"empty":               {"f/new 0\nnotes.txt 5", "", "or empty"},
		"the oldest is there": {"f/new 4711\nf/old 5\nnotes.txt 5", "", "bucket:b/f/old is still in the bucket"},
		"too much is gone":    {"f/new 4711", "", "bucket:b/notes.txt did not stay"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := inBucket(c.list, root, put, gone, stay)
			if !strings.Contains(text(err), c.err) || (c.err == "") != (err == nil) || err == nil && got != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestRecordsOf(t *testing.T) {
	t.Parallel()
	log, err := os.ReadFile("testdata/collector.log")
	if err != nil {
		t.Fatal(err)
	}
	want := []record{
		{Of: "Span", Service: "backstage", Name: "GET /api/catalog", Kind: "Server", Trace: "0af7651916cd43dd8448eb211c80319c", Attributes: map[string]string{"url.path": "/api/catalog/entities", "http.route": "/api/catalog", "http.response.status_code": "200"}},
		{Of: "Span", Service: "backstage", Name: "SELECT", Kind: "Client", Trace: "0af7651916cd43dd8448eb211c80319c", Attributes: map[string]string{"db.statement": "select f(a) from b"}},
		{Of: "Span", Service: "other", Name: "GET", Kind: "Server", Trace: "1af7651916cd43dd8448eb211c80319c", Attributes: map[string]string{}},
		{Of: "LogRecord", Service: "argocd-notifications", Body: "successfully synced (all tasks run)", Attributes: map[string]string{"application": "backstage-dev", "phase": "Succeeded", "revision": "4faa647"}},
		{Of: "LogRecord", Body: "a line", Attributes: map[string]string{}},
	}
	if got := recordsOf(string(log)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := recordsOf("2026-11-30T04:00:00.000Z\tinfo\tEverything is ready. Begin running and processing data."); got != nil {
		t.Errorf("nothing was sent: %+v", got)
	}
}

func TestFormerVersionOfTheChart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	repo := git.Open(dir)
	s := &Session{Release: Release{Chart: "charts/backstage"}, repository: &repository{dir: dir, chart: "charts/backstage", repo: repo}}
	if err := os.MkdirAll(filepath.Join(dir, s.Chart), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := repo.Run(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("init", "--quiet", "--initial-branch", "main")
	var commits []string
	for _, version := range []string{"0.1.0", "0.1.7", "0.2.0", "0.2.1"} {
		if err := os.WriteFile(filepath.Join(dir, s.Chart, "Chart.yaml"), []byte("version: "+version+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		run("add", "--all")
		run("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", version)
		commits = append(commits, run("rev-parse", "HEAD"))
	}
	s.platform.released = commits[3]
	commit, from, to, err := s.former(ctx)
	if err != nil || commit != commits[1] || from != "0.1.7" || to != "0.2.1" {
		t.Errorf("got %s, %s to %s, %v", commit, from, to, err)
	}
	s.platform.released = commits[1]
	if _, _, _, err := s.former(ctx); err == nil || !strings.Contains(err.Error(), "have no version before 0.1.7: fetch its whole history") {
		t.Errorf("without a former version: %v", err)
	}
}

func TestCertificateIsVerified(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(title)) }))
	defer server.Close()
	s := &Session{HTTPS: server.URL}
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	// The name is another one than that of the address.
	got, err := s.overTLS(t.Context(), "example.com", trusted)
	if err != nil || !got.Equal(server.Certificate()) {
		t.Errorf("got %v, %v", got, err)
	}
	var wrong x509.HostnameError
	if _, err := s.overTLS(t.Context(), "portal.example.org", trusted); !errors.As(err, &wrong) {
		t.Errorf("a name that it is not for: %v", err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := s.overTLS(t.Context(), "example.com", x509.NewCertPool()); !errors.As(err, &unknown) {
		t.Errorf("an authority that nobody knows: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7)}, &x509.Certificate{SerialNumber: big.NewInt(7)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	read, err := certificate(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err != nil || read.SerialNumber.Int64() != 7 {
		t.Errorf("got %v, %v", read, err)
	}
	for _, bad := range []string{"", "text", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))} {
		if _, err := certificate([]byte(bad)); err == nil {
			t.Errorf("%q is a certificate", bad)
		}
	}
}
