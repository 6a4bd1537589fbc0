package kube

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	authv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a command in a container and gives what it printed. The error of one that failed carries its last line on
// standard error.
func (c *Client) Exec(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	request := c.Core.RESTClient().Post().
		Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(c.config, "POST", request.URL())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return stdout.String(), fmt.Errorf("%s in %s: %w: %s", command[0], NameOf("Pod", namespace, pod), Unreachable(err), lines[len(lines)-1])
	}
	return stdout.String(), nil
}

// As is a client that has the rights of a service account and no others.
func (c *Client) As(ctx context.Context, namespace, serviceAccount string) (*Client, error) {
	token, err := c.Core.ServiceAccounts(namespace).CreateToken(ctx, serviceAccount, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("a token of %s: %w", NameOf("ServiceAccount", namespace, serviceAccount), Unreachable(err))
	}
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	return New(config)
}

// Can asks the API server whether this client may do something.
func (c *Client) Can(ctx context.Context, a authzv1.ResourceAttributes) (bool, error) {
	var answer authzv1.SelfSubjectAccessReview
	err := c.review(ctx, "selfsubjectaccessreviews", &authzv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: reviewAPI, Kind: "SelfSubjectAccessReview"},
		Spec:     authzv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a},
	}, &answer)
	return answer.Status.Allowed, err
}

// Rules asks the API server for all that this client may do with the objects of a namespace. One that does not know all
// of it is an error.
func (c *Client) Rules(ctx context.Context, namespace string) ([]authzv1.ResourceRule, error) {
	var answer authzv1.SelfSubjectRulesReview
	err := c.review(ctx, "selfsubjectrulesreviews", &authzv1.SelfSubjectRulesReview{
		TypeMeta: metav1.TypeMeta{APIVersion: reviewAPI, Kind: "SelfSubjectRulesReview"},
		Spec:     authzv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
	}, &answer)
	if err == nil && (answer.Status.Incomplete || answer.Status.EvaluationError != "") {
		err = fmt.Errorf("the rights in %s are not known in full: %s", namespace, answer.Status.EvaluationError)
	}
	return answer.Status.ResourceRules, err
}

const reviewAPI = "authorization.k8s.io/v1"

// review creates a review, which is its own answer.
func (c *Client) review(ctx context.Context, resource string, question, answer any) error {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(question)
	if err != nil {
		return err
	}
	reviews := schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: resource}
	created, err := c.Dynamic.Resource(reviews).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if err != nil {
		return Unreachable(err)
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(created.Object, answer)
}
