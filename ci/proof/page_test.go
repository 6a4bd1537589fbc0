package proof

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func proofs() map[string]*Proof {
	release := Release{
		Revision: "0123456789abcdef0123456789abcdef01234567", Branch: "main", Chart: "charts/backstage",
		Image: "docker.io/user/backstage-gitops", Digest: "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
	}
	pod := func(e sync.Entry) *sync.Status {
		return &sync.Status{
			Application: "backstage", Sync: "Synced", Health: "Healthy", Phase: "Succeeded", Revision: release.Revision,
			Tree: []sync.Entry{{
				Resource: sync.Resource{Kind: "Deployment", Namespace: namespace, Name: "backstage", Sync: "Synced", Health: "Healthy"},
				Children: []sync.Entry{e},
			}},
		}
	}
	return map[string]*Proof{
		"proven": {
			Release: release, Proven: true, Seconds: 12.5,
			Steps: []Step{
				{Name: "Argo CD runs the revision, by digest", Seconds: 10, Shown: "Synced, Healthy"},
				{Name: "all probes are green", Seconds: 2.5, Shown: "backend and frontend started"},
			},
			Status: pod(sync.Entry{
				Resource: sync.Resource{Kind: "Pod", Namespace: namespace, Name: "backstage-1", Health: "Healthy"},
				Images:   []string{release.Image + "@" + release.Digest},
			}),
		},
		"not-here": {
			Release: release, Proven: true, Seconds: 40, NotProvenHere: []string{"only the drawn flows are let through"},
			Steps: []Step{
				{Name: "Argo CD runs the revision, by digest", Seconds: 10, Shown: "Synced, Healthy"},
				{Name: "only the drawn flows are let through", Seconds: 30, NotHere: "no CNI that enforces NetworkPolicy"},
			},
		},
		"no-cluster": {
			Release: Release{Branch: "main", Chart: "charts/backstage"}, Steps: []Step{},
			Run: &Run{
				Failure: "create cluster e2e: kubeadm init: exit code 1: nothing was proven",
				Phases: []Phase{
					{Name: "Read the source", Seconds: 1},
					{Name: "Create the cluster", Start: 1, Seconds: 20, Error: "create cluster e2e: kubeadm init: exit code 1"},
					{Name: "Build the image", Start: 1.5, Seconds: 19.5, Ended: true},
				},
				Missing: []string{"node logs: docker exec: exit code 1"},
			},
		},
		"run": {
			Release: release, Proven: true, Seconds: 10,
			Steps: []Step{{Name: "Argo CD runs the revision, by digest", Seconds: 10, Shown: "Synced, Healthy"}},
			Run: &Run{
				Phases: []Phase{
					{Name: "Read the source", Seconds: 1},
					{Name: "Create the cluster", Start: 1, Seconds: 16, Cluster: &cluster.Cluster{
						Name: "e2e", KubernetesVersion: "v1.37.0", Seconds: 15, Nodes: []cluster.Node{{Name: "e2e-control-plane", Role: "control-plane"}},
						Steps: []cluster.Step{{Step: "node image", Seconds: 3}, {Step: "starting control-plane", Seconds: 12}},
					}},
					{Name: "Build the image", Start: 1.5, Seconds: 60},
					{Name: "Install Argo CD", Start: 17, Seconds: 20, ArgoCD: &sync.Installed{Version: "v3.5.7", Components: []sync.Component{{Kind: "Deployment", Name: "argocd-redis", Replicas: 1}}}},
				},
				ProofBegan: 62,
			},
		},
		"failed": {
			Release: release, Seconds: 4,
			Steps: []Step{
				{Name: "the ingress controller runs", Seconds: 1, Shown: "traefik"},
				{Name: "Argo CD runs the revision, by digest", Seconds: 3, Error: "backstage at 0123: it will not run: <b>ImagePullBackOff</b> | not found"},
			},
			Status: pod(sync.Entry{
				Resource: sync.Resource{Kind: "Pod", Namespace: namespace, Name: "backstage-1", Health: "Degraded"},
				Problems: []health.Problem{{Kind: "Pod", Namespace: namespace, Name: "backstage-1", Message: "the image cannot be pulled", Detail: "manifest unknown"}},
			}),
		},
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	for name, p := range proofs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if name == "failed" {
				if err := os.CopyFS(filepath.Join(dir, logsDir), os.DirFS("testdata/logs")); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Write(dir); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{fileMarkdown, fileHTML} {
				got, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				golden := filepath.Join("testdata", name+filepath.Ext(file))
				if *update {
					if err := os.WriteFile(golden, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil || string(got) != string(want) {
					t.Errorf("%s is another one than %s (%v); look at it, then run with -update:\n%s", file, golden, err, got)
				}
			}
			text, err := os.ReadFile(filepath.Join(dir, fileJSON))
			if err != nil {
				t.Fatal(err)
			}
			var read Proof
			if err := json.Unmarshal(text, &read); err != nil || read.Proven != p.Proven || len(read.Steps) != len(p.Steps) {
				t.Errorf("%s is read back as %+v (%v)", fileJSON, read, err)
			}
		})
	}
}
