package sync

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

// Status is an Application with all that belongs to it.
type Status struct {
	Application       string       `json:"application"`
	Namespace         string       `json:"namespace"`
	Repo              string       `json:"repo"`
	Path              string       `json:"path"`
	TargetRevision    string       `json:"targetRevision"`
	Revision          string       `json:"revision"`
	Sync              string       `json:"sync"`
	Health            string       `json:"health"`
	Phase             string       `json:"phase"`
	Message           string       `json:"message,omitempty"`
	OperationRevision string       `json:"operationRevision"`
	Conditions        []Condition  `json:"conditions"`
	Tree              []Entry      `json:"tree"`
	Events            []TreeEvents `json:"events"`
}

// Condition is something that Argo CD has to say about an Application.
type Condition struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// Entry is an object of the resource tree with those that it owns.
type Entry struct {
	Resource
	// Images are those that a pod's containers run, by imageID.
	Images []string `json:"images,omitempty"`
	// Problems are why it is not healthy.
	Problems []health.Problem `json:"problems,omitempty"`
	Children []Entry          `json:"children,omitempty"`
}

// TreeEvents are the events of one object of the tree, oldest first.
type TreeEvents struct {
	Object string   `json:"object"`
	Events []string `json:"events"`
}

// owned are the kinds that controllers make of an application's objects.
var owned = []schema.GroupVersionResource{kube.ReplicaSets, kube.Pods}

// Read gives an Application as it is now, without waiting for anything.
func Read(ctx context.Context, c *kube.Client, namespace, name string) (*Status, error) {
	obj, err := c.Dynamic.Resource(applications).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no Application %s/%s; gitops argocd application makes it", namespace, name)
	case err != nil:
		return nil, fmt.Errorf("read the Application %s/%s: %w", namespace, name, kube.Unreachable(err))
	}
	var objs []*unstructured.Unstructured
	var events []corev1.Event
	for _, n := range read(obj).namespaces() {
		for _, r := range append(append([]schema.GroupVersionResource{kube.Events}, workloadResources...), owned...) {
			found, err := c.Dynamic.Resource(r).Namespace(n).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("read %s of %s: %w", r.Resource, n, kube.Unreachable(err))
			}
			for i := range found.Items {
				if r == kube.Events {
					events = append(events, kube.As[corev1.Event]([]*unstructured.Unstructured{&found.Items[i]})...)
					continue
				}
				objs = append(objs, &found.Items[i])
			}
		}
	}
	return tree(obj, objs, events, time.Now()), nil
}

// tree puts objects below those that own them.
func tree(app *unstructured.Unstructured, objs []*unstructured.Unstructured, events []corev1.Event, now time.Time) *Status {
	a := read(app)
	s := &Status{
		Application: app.GetName(), Namespace: app.GetNamespace(), Repo: a.Spec.Source.RepoURL, Path: a.Spec.Source.Path,
		TargetRevision: a.Spec.Source.TargetRevision, Revision: strings.Join(a.revisions(), ","), Sync: a.Status.Sync.Status,
		Health: a.Status.Health.Status, Conditions: []Condition{}, Tree: []Entry{}, Events: []TreeEvents{},
	}
	if op := a.Status.OperationState; op != nil {
		s.Phase, s.Message, s.OperationRevision = op.Phase, op.Message, op.revision()
	}
	for _, c := range a.Status.Conditions {
		s.Conditions = append(s.Conditions, Condition{Type: c.Type, Message: explain(c.Message)})
	}
	t := &forest{events: events, now: now, byKey: map[string]*unstructured.Unstructured{}, children: map[types.UID][]*unstructured.Unstructured{}}
	for _, obj := range objs {
		t.byKey[keyOf(obj)] = obj
		if o := metav1.GetControllerOf(obj); o != nil {
			t.children[o.UID] = append(t.children[o.UID], obj)
		}
	}
	for _, r := range a.Status.Resources {
		e := Entry{Resource: Resource{
			Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Sync: r.Status, Health: r.Health.Status, Message: r.Health.Message,
		}}
		if live := t.byKey[r.key()]; live != nil {
			t.grow(&e, live)
		}
		s.Tree = append(s.Tree, e)
	}
	s.Events = append(s.Events, t.said...)
	return s
}

type forest struct {
	events   []corev1.Event
	now      time.Time
	byKey    map[string]*unstructured.Unstructured
	children map[types.UID][]*unstructured.Unstructured
	said     []TreeEvents
	seen     map[types.UID]bool
}

// grow adds to an entry what the live object tells, and what it owns.
func (t *forest) grow(e *Entry, live *unstructured.Unstructured) {
	if t.seen == nil {
		t.seen = map[types.UID]bool{}
	}
	// A Job may be an object of the Application and listed as owned as well.
	if t.seen[live.GetUID()] {
		return
	}
	t.seen[live.GetUID()] = true
	t.listen(live)
	if live.GetKind() == "Pod" {
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &pod); err == nil {
			e.Health = string(pod.Status.Phase)
			e.Problems = health.Pod(&pod, t.events, t.now)
			for _, c := range pod.Status.ContainerStatuses {
				e.Images = append(e.Images, c.Name+"="+c.ImageID)
			}
		}
		return
	}
	if p := health.Workload(live, t.events, t.now); p != nil {
		e.Problems = []health.Problem{*p}
	}
	below := slices.Clone(t.children[live.GetUID()])
	slices.SortFunc(below, func(a, b *unstructured.Unstructured) int { return strings.Compare(keyOf(a), keyOf(b)) })
	for _, child := range below {
		c := Entry{Resource: Resource{
			Group: child.GroupVersionKind().Group, Kind: child.GetKind(), Namespace: child.GetNamespace(), Name: child.GetName(),
		}}
		t.grow(&c, child)
		if len(c.Children) == 0 && child.GetKind() == "ReplicaSet" {
			// The sets of earlier releases, kept for a rollback by hand.
			continue
		}
		e.Children = append(e.Children, c)
	}
}

func (t *forest) listen(obj *unstructured.Unstructured) {
	var mine []corev1.Event
	for _, e := range t.events {
		if e.InvolvedObject.UID == obj.GetUID() {
			mine = append(mine, e)
		}
	}
	if len(mine) == 0 {
		return
	}
	slices.SortStableFunc(mine, func(a, b corev1.Event) int { return health.EventTime(a).Compare(health.EventTime(b)) })
	said := TreeEvents{Object: kube.Name(obj)}
	for _, e := range mine {
		said.Events = append(said.Events, fmt.Sprintf("%s %s %s: %s", health.EventTime(e).UTC().Format(time.RFC3339), e.Type, e.Reason, sentence(e.Message)))
	}
	t.said = append(t.said, said)
}
