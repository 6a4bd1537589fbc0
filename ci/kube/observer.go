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
	client  *Client
	scopes  []Scope
	changed chan struct{}
	stop    func()

	mu     sync.Mutex
	err    error
	stores map[Scope]cache.Store
}

// watches are informers that run, one per scope.
type watches struct {
	stores map[Scope]cache.Store
	synced []cache.InformerSynced
	stop   func()
}

// Observe starts to watch, and returns when everything was listed once. Stop ends it.
func (c *Client) Observe(ctx context.Context, scopes ...Scope) (*Observer, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &Observer{client: c, scopes: scopes, changed: make(chan struct{}, 1)}
	w, err := o.watch(ctx)
	if err == nil {
		err = o.list(ctx, w.synced)
	}
	if err != nil {
		cancel()
		w.stop()
		return nil, err
	}
	o.stores = w.stores
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.revive(ctx, w)
	}()
	o.stop = func() { cancel(); <-done }
	return o, nil
}

// watch starts the informers.
func (o *Observer) watch(ctx context.Context) (watches, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	w := watches{stores: map[Scope]cache.Store{}, stop: func() { cancel(); running.Wait() }}
	for _, s := range o.scopes {
		if _, ok := w.stores[s]; ok {
			continue
		}
		informer := dynamicinformer.NewFilteredDynamicInformer(o.client.Dynamic, s.Resource, s.Namespace, 0, cache.Indexers{}, func(l *metav1.ListOptions) {
			if s.Name != "" {
				l.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.Name).String()
			}
		}).Informer()
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { o.received() },
			UpdateFunc: func(any, any) { o.received() },
			DeleteFunc: func(any) { o.received() },
		})
		if err := errors.Join(
			err,
			informer.SetTransform(func(obj any) (any, error) {
				if u, ok := obj.(*unstructured.Unstructured); ok {
					u.SetManagedFields(nil)
				}
				return obj, nil
			}),
			informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { o.failed(err) }),
		); err != nil {
			return w, fmt.Errorf("watch %s: %w", s.Resource.Resource, err)
		}
		w.stores[s] = informer.GetStore()
		w.synced = append(w.synced, informer.HasSynced)
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	return w, nil
}

// revive begins all watches anew when the API server is back after it was away. By themselves they would pause for up
// to half a minute.
func (o *Observer) revive(ctx context.Context, w watches) {
	defer func() { w.stop() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if away = away || o.client.network.last() != nil; !away || !o.client.answers(ctx) {
			continue
		}
		fresh, err := o.watch(ctx)
		if err == nil {
			limited, cancel := context.WithTimeout(ctx, 10*time.Second)
			err = o.list(limited, fresh.synced)
			cancel()
		}
		if err != nil {
			fresh.stop()
			continue
		}
		old := w
		w, away = fresh, false
		o.mu.Lock()
		o.stores = w.stores
		o.mu.Unlock()
		o.received()
		old.stop()
	}
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
	return o.client.network.last()
}

// List gives copies of the objects of a scope.
func (o *Observer) List(s Scope) []*unstructured.Unstructured {
	o.mu.Lock()
	store, ok := o.stores[s]
	o.mu.Unlock()
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
