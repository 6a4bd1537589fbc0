package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// Scope is what an Observer watches: all objects of a resource in a namespace, or the one with a name.
type Scope struct {
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
}

// Observer keeps an up to date copy of some objects of a cluster, by watches. It survives an API server that goes away
// and comes back.
type Observer struct {
	stores  map[Scope]cache.Store
	changed chan struct{}
	stop    func()
	network *network

	mu  sync.Mutex
	err error
}

// Observe starts to watch, and returns when everything was listed once. Stop ends it.
func (c *Client) Observe(ctx context.Context, scopes ...Scope) (*Observer, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &Observer{stores: map[Scope]cache.Store{}, changed: make(chan struct{}, 1), network: c.network}
	var running sync.WaitGroup
	o.stop = func() { cancel(); running.Wait() }
	var synced []cache.InformerSynced
	for _, s := range scopes {
		if _, ok := o.stores[s]; ok {
			continue
		}
		informer := dynamicinformer.NewFilteredDynamicInformer(c.Dynamic, s.Resource, s.Namespace, 0, cache.Indexers{}, func(l *metav1.ListOptions) {
			if s.Name != "" {
				l.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.Name).String()
			}
		}).Informer()
		if err := errors.Join(
			informer.SetTransform(func(obj any) (any, error) {
				if u, ok := obj.(*unstructured.Unstructured); ok {
					u.SetManagedFields(nil)
				}
				return obj, nil
			}),
			informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { o.failed(err) }),
		); err != nil {
			o.stop()
			return nil, fmt.Errorf("watch %s: %w", s.Resource.Resource, err)
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { o.received() },
			UpdateFunc: func(any, any) { o.received() },
			DeleteFunc: func(any) { o.received() },
		}); err != nil {
			o.stop()
			return nil, fmt.Errorf("watch %s: %w", s.Resource.Resource, err)
		}
		o.stores[s] = informer.GetStore()
		synced = append(synced, informer.HasSynced)
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	if err := o.list(ctx, synced); err != nil {
		o.stop()
		return nil, err
	}
	return o, nil
}

// list waits for the first list. What the cluster refuses for good ends it; what it cannot answer yet does not.
func (o *Observer) list(ctx context.Context, synced []cache.InformerSynced) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		all := true
		for _, s := range synced {
			all = all && s()
		}
		if all {
			return nil
		}
		if err := o.Err(); apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
			return fmt.Errorf("watch the cluster: %w", err)
		}
		select {
		case <-ctx.Done():
			if err := o.Err(); err != nil {
				return fmt.Errorf("watch the cluster: %w", Unreachable(err))
			}
			return fmt.Errorf("watch the cluster: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Stop ends the watches.
func (o *Observer) Stop() { o.stop() }

// Changed gets a value when something changed since the last one was taken.
func (o *Observer) Changed() <-chan struct{} { return o.changed }

// Err is why nothing is received: the last error of a watch or of the network, nil when all went well since.
func (o *Observer) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	return o.network.last()
}

// List gives copies of the objects of a scope.
func (o *Observer) List(s Scope) []*unstructured.Unstructured {
	store, ok := o.stores[s]
	if !ok {
		return nil
	}
	var objs []*unstructured.Unstructured
	for _, obj := range store.List() {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			objs = append(objs, u.DeepCopy())
		}
	}
	return objs
}

func (o *Observer) failed(err error) {
	// A watch that ends or is too old is begun again, that is their normal life.
	if errors.Is(err, io.EOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	o.mu.Lock()
	o.err = err
	o.mu.Unlock()
	o.signal()
}

func (o *Observer) received() {
	o.mu.Lock()
	o.err = nil
	o.mu.Unlock()
	o.signal()
}

func (o *Observer) signal() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// As converts objects to a type of the Kubernetes API. What does not fit the type is left out: an API server gives
// nothing else.
func As[T any](objs []*unstructured.Unstructured) []T {
	typed := make([]T, 0, len(objs))
	for _, obj := range objs {
		var t T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &t); err == nil {
			typed = append(typed, t)
		}
	}
	return typed
}

// The resources that a wait looks at.
var (
	Pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	Events       = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	Nodes        = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	Namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	Deployments  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	ReplicaSets  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	StatefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	DaemonSets   = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	Jobs         = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
)
