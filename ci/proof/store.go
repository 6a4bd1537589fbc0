package proof

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	authzv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
)

//go:embed store.yaml
var storeManifest []byte

// beyondStore wants of the store what its account may not read.
const beyondStore = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: proof-withheld
  namespace: ` + namespace + `
spec:
  refreshInterval: 5s
  secretStoreRef: {name: proof, kind: SecretStore}
  data:
    - secretKey: token
      remoteRef: {key: ` + anotherSecret + `, property: token}
`

// Names of the store.
const (
	storeNamespace = "proof-store"
	// storedSecret is the one in the store.
	storedSecret = "github"
	storeReader  = "store-reader"
	// anotherSecret is beside it, and none of the store's business.
	anotherSecret = "another"
	// filledSecret is the one that the chart has filled.
	filledSecret = application + "-github"
)

// store runs the External Secrets Operator, and makes a store that it may read one Secret of.
func (s *Session) store(ctx context.Context) (string, error) {
	images, err := s.install(ctx, "external-secrets")
	if err != nil {
		return "", err
	}
	if err := s.namespaced(ctx, storeNamespace); err != nil {
		return "", err
	}
	for _, name := range []string{storedSecret, anotherSecret} {
		if _, err := s.secret(ctx, storeNamespace, name, map[string]string{"token": rand.Text()}); err != nil {
			return "", err
		}
	}
	if _, err := s.apply(ctx, storeManifest); err != nil {
		return "", err
	}
	reader, err := s.Client.As(ctx, namespace, storeReader)
	if err != nil {
		return "", err
	}
	for name, want := range map[string]bool{storedSecret: true, anotherSecret: false} {
		may, err := reader.Can(ctx, authzv1.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: storeNamespace, Name: name})
		if err != nil {
			return "", err
		}
		if may != want {
			return "", fmt.Errorf("that %s may read the Secret %s/%s is %t", storeReader, storeNamespace, name, may)
		}
	}
	if err := s.withheld(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; its store is the Secret %s/%s, which %s may read, and no other there: another one is not handed out", images[0], storeNamespace, storedSecret, storeReader), nil
}

// withheld asks the store for what its account may not read. The operator itself may: it must not use that.
func (s *Session) withheld(ctx context.Context) error {
	applied, err := s.apply(ctx, []byte(beyondStore))
	if err != nil {
		return err
	}
	wanted := applied[0]
	if err := until(ctx, arrives, func(ctx context.Context) error {
		now, err := s.get(ctx, wanted.GetAPIVersion(), wanted.GetKind(), wanted.GetName())
		if err != nil {
			return err
		}
		return refusedBy(now)
	}); err != nil {
		return fmt.Errorf("an ExternalSecret for what the store may not read: %w", err)
	}
	if _, err := s.Client.Core.Secrets(namespace).Get(ctx, wanted.GetName(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("the Secret %s is filled with what the store may not read (%v)", wanted.GetName(), err)
	}
	return s.remove(ctx, wanted)
}

// refusedBy says whether the operator has looked at an ExternalSecret and not filled its Secret.
func refusedBy(external *unstructured.Unstructured) error {
	conditions, _, _ := unstructured.NestedSlice(external.Object, "status", "conditions")
	ready, known := health.ConditionOf(conditions, "Ready")
	switch {
	case !known:
		return errors.New("the operator has not looked at it yet")
	case ready.Status != "False":
		return fmt.Errorf("it is Ready: %s", ready.Message)
	}
	return nil
}

// filled has the chart's ExternalSecret fill the Secret that the portal's pod takes its token from, and follow the store.
func (s *Session) filled(ctx context.Context) (string, error) {
	if _, err := s.Client.Core.Secrets(namespace).Get(ctx, filledSecret, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("the Secret %s is there before anything fills it (%v)", filledSecret, err)
	}
	if err := s.shape(ctx, "test: fill a Secret from a store", map[string]any{
		"githubToken": map[string]any{"existingSecret": filledSecret, "key": "token"},
		"externalSecrets": map[string]any{
			"enabled": true, "refreshInterval": "5s", "storeRef": map[string]any{"name": "proof", "kind": "SecretStore"},
			"secrets": []any{map[string]any{"name": filledSecret, "data": map[string]any{"token": map[string]any{"key": storedSecret, "property": "token"}}}},
		},
	}); err != nil {
		return "", err
	}
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	stored, err := s.Client.Core.Secrets(storeNamespace).Get(ctx, storedSecret, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	// Its hash: what the token is, is nobody's business.
	said, err := s.Client.Exec(ctx, namespace, pod.Name, "backend", "node", "-e", "console.log(require('node:crypto').createHash('sha256').update(process.env.GITHUB_TOKEN ?? '').digest('hex'))")
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(said) != fmt.Sprintf("%x", sha256.Sum256(stored.Data["token"])) {
		return "", errors.New("GITHUB_TOKEN of the backend is not what the store has")
	}
	changed := rand.Text()
	stored.Data["token"] = []byte(changed)
	if _, err := s.Client.Core.Secrets(storeNamespace).Update(ctx, stored, metav1.UpdateOptions{}); err != nil {
		return "", err
	}
	began := time.Now()
	if err := until(ctx, arrives, func(ctx context.Context) error {
		got, err := s.Client.Core.Secrets(namespace).Get(ctx, filledSecret, metav1.GetOptions{})
		if err == nil && string(got.Data["token"]) != changed {
			err = fmt.Errorf("the Secret %s does not have yet what the store has", filledSecret)
		}
		return err
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("the ExternalSecret fills the Secret %s, the backend has its value as GITHUB_TOKEN; another value in the store is in the Secret after %.1f s",
		filledSecret, time.Since(began).Seconds()), nil
}
