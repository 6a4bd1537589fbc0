// Package kube connects to a cluster and watches what it holds.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// ErrKubeconfig says that a kubeconfig cannot be used.
var ErrKubeconfig = errors.New("unusable kubeconfig")

// Client is a connection to one cluster.
type Client struct {
	// Dynamic reads and writes any object.
	Dynamic dynamic.Interface
	// Core reads what unstructured objects cannot give: logs.
	Core corev1client.CoreV1Interface
	// Mapper knows the cluster's kinds. Reset it after a CRD was added.
	Mapper meta.ResettableRESTMapper

	config  *rest.Config
	network *network
}

// network remembers how the last request went: a watch that is refused a connection begins anew and tells nobody.
type network struct {
	mu  sync.Mutex
	err error
}

// recorder is a transport that tells network of its requests.
type recorder struct {
	http.RoundTripper
	*network
}

// RoundTrip is one request.
func (n recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := n.RoundTripper.RoundTrip(r)
	if err != nil && r.Context().Err() != nil {
		return response, err // It was given up, which says nothing of the network.
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = nil
	if err != nil {
		n.err = &url.Error{Op: r.Method, URL: r.URL.String(), Err: err}
	}
	return response, err
}

func (n *network) last() error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Connect makes a client from a kubeconfig file. It asks the cluster nothing yet.
func Connect(kubeconfig string) (*Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no file %s", ErrKubeconfig, kubeconfig)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrKubeconfig, kubeconfig, err)
	}
	return New(config)
}

// New makes a client. The client side limit on requests per second is off: it exists to protect shared clusters from
// controllers, and slows a program that ends after a hundred requests.
func New(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.UserAgent = "gitops"
	// Warnings of the API server (deprecated fields in others' manifests) are for the authors of these.
	config.WarningHandler = rest.NoWarnings{}
	n := &network{}
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return recorder{RoundTripper: rt, network: n} })
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	// Not the clientset of all APIs: it would link each of them.
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	return &Client{
		Dynamic: d,
		Core:    core,
		config:  config,
		network: n,
		Mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(served)),
	}, nil
}

// answers says whether the API server is there and ready.
func (c *Client) answers(ctx context.Context) bool {
	return c.Core.RESTClient().Get().AbsPath("/readyz").Timeout(2*time.Second).Do(ctx).Error() == nil
}

// Mapping is how the cluster serves a kind.
func (c *Client) Mapping(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	m, err := c.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	switch {
	case meta.IsNoMatchError(err):
		return nil, fmt.Errorf("the cluster has no kind %s in %s; is its CRD installed?", kind.Kind, kind.GroupVersion())
	case err != nil:
		return nil, Unreachable(err)
	}
	return m, nil
}

// Resource is where an object is read and written. An object of a namespaced kind without a namespace goes to the
// namespace given.
func (c *Client) Resource(obj *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	m, err := c.Mapping(obj.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(m.Resource), nil
	}
	if n := obj.GetNamespace(); n != "" {
		namespace = n
	}
	if namespace == "" {
		return nil, fmt.Errorf("%s has no namespace; give one", Name(obj))
	}
	return c.Dynamic.Resource(m.Resource).Namespace(namespace), nil
}

// Name is how messages call an object: Deployment argocd/argocd-repo-server.
func Name(obj *unstructured.Unstructured) string {
	return NameOf(obj.GetKind(), obj.GetNamespace(), obj.GetName())
}

// NameOf is Name from its parts.
func NameOf(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}

// Unreachable says of errors of the network that the cluster does not answer. Others stay as they are.
func Unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		server := u.URL
		if parsed, e := url.Parse(u.URL); e == nil {
			server = parsed.Scheme + "://" + parsed.Host
		}
		return fmt.Errorf("the cluster's API at %s does not answer: %w", server, u.Err)
	}
	return err
}
