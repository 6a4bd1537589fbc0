package manifests

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

func decode(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	objs, err := Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return objs
}

func TestDecode(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		text string
		want string
		err  string
	}{
		"one":             {text: "apiVersion: v1\nkind: Secret\nmetadata: {name: a}", want: "Secret a"},
		"several":         {text: "---\n# a comment alone\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b, namespace: ns}\n---\n", want: "Secret a, Secret ns/b"},
		"a list":          {text: "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}", want: "Secret a, Secret b"},
		"nothing":         {text: "---\n# nothing\n", err: "it holds no object"},
		"not YAML":        {text: "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\na: [", err: "document 2: "},
		"key twice":       {text: "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nkind: ConfigMap", err: "document 1: "},
		"not an object":   {text: "- a", err: "document 1 is not an object"},
		"no kind":         {text: "apiVersion: v1\nmetadata: {name: a}", err: "document 1 has no apiVersion or no kind"},
		"no API":          {text: "kind: Secret\nmetadata: {name: a}", err: "document 1, a Secret, has no apiVersion or no metadata.name"},
		"no name":         {text: "apiVersion: v1\nkind: Secret\nmetadata: {generateName: a}", err: "document 1, a Secret, has no apiVersion or no metadata.name"},
		"a chart's error": {text: "Error: no such file", err: "document 1 has no apiVersion or no kind"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs, err := Decode(strings.NewReader(c.text))
			if c.err != "" {
				if !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, obj := range objs {
				got = append(got, kube.Name(obj))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

// TestNumbers: an integer that becomes a float is refused by the API server.
func TestNumbers(t *testing.T) {
	t.Parallel()
	obj := decode(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 3}")[0]
	if n, found, err := unstructured.NestedInt64(obj.Object, "spec", "replicas"); n != 3 || !found || err != nil {
		t.Errorf("%v %v %v", n, found, err)
	}
}

const workloads = `apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {initContainers: [{name: i, image: b:1}], containers: [{name: c, image: a:1, imagePullPolicy: Always}]}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ns}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: c:1}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: a:1}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: d}
`

func TestImages(t *testing.T) {
	t.Parallel()
	if got := Images(decode(t, workloads)); !slices.Equal(got, []string{"a:1", "b:1", "c:1"}) {
		t.Errorf("got %v", got)
	}
}

func TestStages(t *testing.T) {
	t.Parallel()
	var got []string
	for _, stage := range stages(decode(t, workloads)) {
		var names []string
		for _, obj := range stage {
			names = append(names, obj.GetKind())
		}
		got = append(got, strings.Join(names, " "))
	}
	if want := []string{"Namespace CustomResourceDefinition", "Deployment CronJob Pod"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	crds := decode(t, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: as.example.com}
spec: {group: example.com, names: {kind: A}, versions: [{name: v1, served: true}, {name: v1beta1, served: false}]}
`)
	if got := kinds(crds); len(got) != 1 || got[0].String() != "example.com/v1, Kind=A" {
		t.Errorf("got %v", got)
	}
}

func TestRollout(t *testing.T) {
	t.Parallel()
	const (
		deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: ns, uid: d, generation: 2, annotations: {deployment.kubernetes.io/revision: "2"}}
spec: {replicas: 1}
status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1, readyReplicas: READY, availableReplicas: READY, conditions: [{type: Available, status: "True"}, {type: Progressing, status: "True", reason: NewReplicaSetAvailable}]}
`
		sets = `apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: a-1, namespace: ns, uid: s1, annotations: {deployment.kubernetes.io/revision: "1"}, ownerReferences: [{uid: d, controller: true}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: a-2, namespace: ns, uid: s2, annotations: {deployment.kubernetes.io/revision: "2"}, ownerReferences: [{uid: d, controller: true}]}
`
		crash = `apiVersion: v1
kind: Pod
metadata: {name: POD, namespace: ns, ownerReferences: [{uid: SET, controller: true}]}
status: {containerStatuses: [{name: c, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2}}}]}
`
		stateful = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a, namespace: ns, uid: d, generation: 1}
spec: {replicas: 1}
status: {observedGeneration: 1, replicas: 1, updateRevision: new}
`
	)
	cases := map[string]struct {
		live, sets, pods string
		generation       int64
		want             string
	}{
		"not seen":           {want: "Deployment ns/a: InProgress: it has not been seen yet"},
		"seen as it was":     {live: strings.ReplaceAll(deployment, "READY", "1"), generation: 3, want: "Deployment ns/a: InProgress: it has not been seen yet"},
		"done":               {live: strings.ReplaceAll(deployment, "READY", "1"), sets: sets},
		"new pod crashes":    {live: strings.ReplaceAll(deployment, "READY", "0"), sets: sets, pods: strings.NewReplacer("POD", "a-2-x", "SET", "s2").Replace(crash), want: "!Pod ns/a-2-x: CrashLoopBackOff: container c exits with code 2, restarted 3 times"},
		"old pod crashes":    {live: strings.ReplaceAll(deployment, "READY", "0"), sets: sets, pods: strings.NewReplacer("POD", "a-1-x", "SET", "s1").Replace(crash), want: "Deployment ns/a: LessAvailable: Available: 0/1"},
		"stateful, old pod":  {live: stateful, pods: strings.NewReplacer("POD", "a-0", "SET", "d").Replace(crash), want: "StatefulSet ns/a: LessReady: Ready: 0/1"},
		"stateful, new pod":  {live: stateful, pods: strings.NewReplacer("name: POD,", "name: a-0, labels: {controller-revision-hash: new},", "SET", "d").Replace(crash), want: "!Pod ns/a-0: CrashLoopBackOff: container c exits with code 2, restarted 3 times"},
		"another set's pods": {live: strings.ReplaceAll(deployment, "READY", "0"), pods: strings.NewReplacer("POD", "x", "SET", "elsewhere").Replace(crash), want: "Deployment ns/a: LessAvailable: Available: 0/1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			applied := decode(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: ns}")[0]
			applied.SetGeneration(c.generation)
			var live, sets []*unstructured.Unstructured
			var pods []corev1.Pod
			if c.live != "" {
				live = decode(t, c.live)
			}
			if c.sets != "" {
				sets = decode(t, c.sets)
			}
			if c.pods != "" {
				pods = kube.As[corev1.Pod](decode(t, c.pods))
			}
			got := ""
			if problems := Rollout(applied, live, sets, pods, nil, time.Now()); len(problems) > 0 {
				if got = problems[0].String(); problems[0].Certain {
					got = "!" + got
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
