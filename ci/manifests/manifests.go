// Package manifests applies Kubernetes manifests to a cluster and waits until what they ask for runs.
package manifests

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

// Manager is the field manager of everything that is applied.
const Manager = "gitops"

// ErrManifest says that a manifest cannot be read.
var ErrManifest = errors.New("unusable manifest")

// Options are how manifests are applied.
type Options struct {
	// Namespace is for objects of namespaced kinds that name none. It is not created.
	Namespace string
	// PullPolicy, if set, is that of every container.
	PullPolicy corev1.PullPolicy
}

// Decode reads a stream of YAML documents. Empty ones are left out, lists are taken apart.
func Decode(r io.Reader) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(r))
	var objs []*unstructured.Unstructured
	for n := 1; ; n++ {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrManifest, err)
		}
		content, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return nil, fmt.Errorf("%w: document %d: %w", ErrManifest, n, err)
		}
		var fields map[string]any
		if err := json.Unmarshal(content, &fields); err != nil {
			return nil, fmt.Errorf("%w: document %d is not an object", ErrManifest, n)
		}
		if len(fields) == 0 {
			continue
		}
		obj := &unstructured.Unstructured{}
		// Reads numbers as the API does: integers stay integers.
		if err := obj.UnmarshalJSON(content); err != nil {
			return nil, fmt.Errorf("%w: document %d has no apiVersion or no kind", ErrManifest, n)
		}
		if obj.IsList() {
			list, err := obj.ToList()
			if err != nil {
				return nil, fmt.Errorf("%w: document %d: %w", ErrManifest, n, err)
			}
			for i := range list.Items {
				objs = append(objs, &list.Items[i])
			}
			continue
		}
		if obj.GetAPIVersion() == "" || obj.GetName() == "" {
			return nil, fmt.Errorf("%w: document %d, a %s, has no apiVersion or no metadata.name", ErrManifest, n, obj.GetKind())
		}
		objs = append(objs, obj)
	}
	if len(objs) == 0 {
		return nil, fmt.Errorf("%w: it holds no object", ErrManifest)
	}
	return objs, nil
}

// Images gives the images that objects run, sorted, each once.
func Images(objs []*unstructured.Unstructured) []string {
	var images []string
	for _, obj := range objs {
		for _, c := range containers(obj) {
			if image, ok := c["image"].(string); ok {
				images = append(images, image)
			}
		}
	}
	slices.Sort(images)
	return slices.Compact(images)
}

// containers gives the containers of a pod template, or of a pod, to read or to change.
func containers(obj *unstructured.Unstructured) []map[string]any {
	path := []string{"spec", "template", "spec"}
	switch obj.GetKind() {
	case "Pod":
		path = []string{"spec"}
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template", "spec"}
	}
	var all []map[string]any
	for _, list := range []string{"initContainers", "containers"} {
		found, _, _ := unstructured.NestedFieldNoCopy(obj.Object, append(slices.Clone(path), list)...)
		entries, _ := found.([]any)
		for _, e := range entries {
			if c, ok := e.(map[string]any); ok {
				all = append(all, c)
			}
		}
	}
	return all
}

// stages orders objects: those that others need to exist come first. Within a stage the order stays.
func stages(objs []*unstructured.Unstructured) [][]*unstructured.Unstructured {
	var first, rest []*unstructured.Unstructured
	for _, obj := range objs {
		switch obj.GetKind() {
		case "Namespace", kindCRD:
			first = append(first, obj)
		default:
			rest = append(rest, obj)
		}
	}
	return [][]*unstructured.Unstructured{first, rest}
}

const kindCRD = "CustomResourceDefinition"

// Apply makes the cluster hold the objects, by server-side apply; a field that somebody else owns is taken over. CRDs
// are established before anything else is applied. What it gives is the objects as the cluster has them now.
func Apply(ctx context.Context, c *kube.Client, objs []*unstructured.Unstructured, o Options) ([]*unstructured.Unstructured, error) {
	var applied []*unstructured.Unstructured
	for n, stage := range stages(objs) {
		// The API server works on a large CRD for a second or two, on each by itself. The rest is quick, and in the
		// order of its author.
		limit := 1
		if n == 0 {
			limit = 4
		}
		done, err := applyAll(ctx, c, stage, o, limit)
		if err != nil {
			return nil, err
		}
		applied = append(applied, done...)
		crds := slices.DeleteFunc(slices.Clone(done), func(a *unstructured.Unstructured) bool { return a.GetKind() != kindCRD })
		if len(crds) > 0 {
			if err := Wait(ctx, c, crds); err != nil {
				return nil, err
			}
			if err := served(ctx, c, crds); err != nil {
				return nil, err
			}
		}
	}
	return applied, nil
}

// served returns when the API server tells of the kinds of CRDs. It does so some time after they are established.
func served(ctx context.Context, c *kube.Client, crds []*unstructured.Unstructured) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		c.Mapper.Reset()
		var err error
		for _, kind := range kinds(crds) {
			if _, err = c.Mapping(kind); err != nil {
				break
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", names(crds), context.Cause(ctx), err)
		case <-again.C:
		}
	}
}

// kinds are those that CRDs define and serve.
func kinds(crds []*unstructured.Unstructured) []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for _, crd := range crds {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, v := range versions {
			if m, ok := v.(map[string]any); ok && m["served"] == true {
				version, _ := m["name"].(string)
				all = append(all, schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
			}
		}
	}
	return all
}

func applyAll(ctx context.Context, c *kube.Client, objs []*unstructured.Unstructured, o Options, limit int) ([]*unstructured.Unstructured, error) {
	applied := make([]*unstructured.Unstructured, len(objs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i, obj := range objs {
		g.Go(func() (err error) {
			if err = ctx.Err(); err != nil {
				return err
			}
			applied[i], err = apply(ctx, c, obj.DeepCopy(), o)
			return err
		})
	}
	return applied, g.Wait()
}

func apply(ctx context.Context, c *kube.Client, obj *unstructured.Unstructured, o Options) (*unstructured.Unstructured, error) {
	if o.PullPolicy != "" {
		for _, container := range containers(obj) {
			container["imagePullPolicy"] = string(o.PullPolicy)
		}
	}
	r, err := c.Resource(obj, o.Namespace)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", kube.Name(obj), err)
	}
	content, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", kube.Name(obj), err)
	}
	force := true
	a, err := r.Patch(ctx, obj.GetName(), types.ApplyPatchType, content, metav1.PatchOptions{FieldManager: Manager, Force: &force})
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", kube.Name(obj), explain(err, obj, o.Namespace))
	}
	return a, nil
}

func explain(err error, obj *unstructured.Unstructured, namespace string) error {
	if n := obj.GetNamespace(); n != "" {
		namespace = n
	}
	if apierrors.IsNotFound(err) && namespace != "" {
		return fmt.Errorf("the namespace %s is not there: %w", namespace, err)
	}
	return kube.Unreachable(err)
}

// waited are the kinds that have a rollout.
var waited = map[string]bool{"Deployment": true, "StatefulSet": true, "DaemonSet": true, "Job": true, kindCRD: true}

// Wait returns when every Deployment, StatefulSet, DaemonSet, Job and CRD among the objects, as Apply gave them, is
// rolled out. It watches. Where waiting longer cannot help it fails at once, and always with the cluster's reason.
func Wait(ctx context.Context, c *kube.Client, objs []*unstructured.Unstructured) error {
	want := map[kube.Scope]*unstructured.Unstructured{}
	scopes := map[kube.Scope]bool{}
	for _, obj := range objs {
		if !waited[obj.GetKind()] {
			continue
		}
		m, err := c.Mapping(obj.GroupVersionKind())
		if err != nil {
			return err
		}
		s := kube.Scope{Resource: m.Resource, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		want[s], scopes[s] = obj, true
		if obj.GetNamespace() != "" {
			for _, r := range podResources {
				scopes[kube.Scope{Resource: r, Namespace: obj.GetNamespace()}] = true
			}
		}
	}
	if len(want) == 0 {
		return nil
	}
	o, err := c.Observe(ctx, slices.Collect(maps.Keys(scopes))...)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", names(objs), err)
	}
	defer o.Stop()
	// Graces of a problem end without the cluster changing anything.
	grace := time.NewTicker(time.Second)
	defer grace.Stop()
	for {
		problems := judge(o, want, time.Now())
		if len(problems) == 0 {
			return nil
		}
		if p := health.Certain(problems); p != nil {
			return &Failed{Problem: *p}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w; the last state: %s", cause(ctx, o), list(problems))
		case <-o.Changed():
		case <-grace.C:
		}
	}
}

// Failed is a rollout that cannot succeed any more.
type Failed struct{ Problem health.Problem }

func (f *Failed) Error() string { return f.Problem.String() }

func cause(ctx context.Context, o *kube.Observer) error {
	if err := o.Err(); err != nil {
		return kube.Unreachable(err)
	}
	return context.Cause(ctx)
}

var podResources = []schema.GroupVersionResource{kube.Pods, kube.ReplicaSets, kube.Events}

func judge(o *kube.Observer, want map[kube.Scope]*unstructured.Unstructured, now time.Time) []health.Problem {
	var problems []health.Problem
	for scope, applied := range want {
		var pods []corev1.Pod
		var events []corev1.Event
		var sets []*unstructured.Unstructured
		if scope.Namespace != "" {
			events = kube.As[corev1.Event](o.List(kube.Scope{Resource: kube.Events, Namespace: scope.Namespace}))
			pods = kube.As[corev1.Pod](o.List(kube.Scope{Resource: kube.Pods, Namespace: scope.Namespace}))
			sets = o.List(kube.Scope{Resource: kube.ReplicaSets, Namespace: scope.Namespace})
		}
		problems = append(problems, Rollout(applied, o.List(scope), sets, pods, events, now)...)
	}
	slices.SortFunc(problems, func(a, b health.Problem) int { return strings.Compare(a.String(), b.String()) })
	return problems
}

// Rollout says what is between a workload as it was applied and its being rolled out, from what the cluster holds.
func Rollout(applied *unstructured.Unstructured, live, sets []*unstructured.Unstructured, pods []corev1.Pod, events []corev1.Event, now time.Time) []health.Problem {
	missing := health.Problem{Kind: applied.GetKind(), Namespace: applied.GetNamespace(), Name: applied.GetName(), Reason: "InProgress", Message: "it has not been seen yet"}
	if len(live) == 0 || live[0].GetGeneration() < applied.GetGeneration() {
		return []health.Problem{missing}
	}
	p := health.Workload(live[0], events, now)
	if p == nil {
		return nil
	}
	// The pods say more than the workload: theirs come first.
	var problems []health.Problem
	for _, pod := range Pods(live[0], sets, pods) {
		problems = append(problems, health.Pod(&pod, events, now)...)
	}
	return append(problems, *p)
}

// Pods gives the pods of a workload's newest generation: of a Deployment those of its newest ReplicaSet. Pods that are
// being deleted are left out.
func Pods(workload *unstructured.Unstructured, sets []*unstructured.Unstructured, pods []corev1.Pod) []corev1.Pod {
	owner := workload.GetUID()
	if workload.GetKind() == "Deployment" {
		newest := newestSet(workload, sets)
		if newest == nil {
			return nil
		}
		owner = newest.GetUID()
	}
	revision, _, _ := unstructured.NestedString(workload.Object, "status", "updateRevision")
	var owned []corev1.Pod
	for _, pod := range pods {
		if o := metav1.GetControllerOf(&pod); o == nil || o.UID != owner || pod.DeletionTimestamp != nil {
			continue
		}
		if revision != "" && pod.Labels["controller-revision-hash"] != revision {
			continue
		}
		owned = append(owned, pod)
	}
	return owned
}

const revisionAnnotation = "deployment.kubernetes.io/revision"

// newestSet is the ReplicaSet of a Deployment's present template: the one with the Deployment's own revision. While the
// deployment controller has not seen the present template there is none.
func newestSet(deployment *unstructured.Unstructured, sets []*unstructured.Unstructured) *unstructured.Unstructured {
	observed, _, _ := unstructured.NestedInt64(deployment.Object, "status", "observedGeneration")
	if observed < deployment.GetGeneration() {
		return nil
	}
	for _, set := range sets {
		o := metav1.GetControllerOf(set)
		if o != nil && o.UID == deployment.GetUID() && set.GetAnnotations()[revisionAnnotation] == deployment.GetAnnotations()[revisionAnnotation] {
			return set
		}
	}
	return nil
}

func names(objs []*unstructured.Unstructured) string {
	var all []string
	for _, obj := range objs {
		if waited[obj.GetKind()] {
			all = append(all, kube.Name(obj))
		}
	}
	return strings.Join(all, ", ")
}

func list(problems []health.Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	return strings.Join(all, "; ")
}
