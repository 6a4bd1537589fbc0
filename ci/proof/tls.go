package proof

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// issues installs cert-manager and waits until its webhook takes an Issuer: the API server has to be told of its
// authority first, some time after its pods are ready.
func (s *Session) issues(ctx context.Context) (string, error) {
	images, err := s.install(ctx, "cert-manager")
	if err != nil {
		return "", err
	}
	issuer := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"selfSigned": map[string]any{}}}}
	issuer.SetAPIVersion("cert-manager.io/v1")
	issuer.SetKind("Issuer")
	issuer.SetName("proof")
	r, err := s.Client.Resource(issuer, namespace)
	if err != nil {
		return "", err
	}
	if err := until(ctx, 2*time.Minute, func(ctx context.Context) error {
		_, err := r.Create(ctx, issuer, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}); err != nil {
		return "", fmt.Errorf("the webhook of cert-manager: %w", err)
	}
	return fmt.Sprintf("%d images, %s the first; its webhook takes an Issuer", len(images), images[0]), nil
}

// https has a certificate issued by the chart's values and asks the portal with it.
func (s *Session) https(ctx context.Context) (string, error) {
	if err := s.shape(ctx, "test: ask for a certificate", map[string]any{
		"certManager": map[string]any{"certificate": map[string]any{"enabled": true}, "issuer": map[string]any{"create": true}},
	}); err != nil {
		return "", err
	}
	address, err := url.Parse(s.HTTPS)
	if err != nil {
		return "", err
	}
	issued, err := s.presented(ctx, namespace, address.Hostname())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/ is the app, with the certificate %x of %s, valid until %s, verified against the Secret's authority and by no other",
		s.HTTPS, issued.SerialNumber, address.Hostname(), issued.NotAfter.Format(time.DateOnly)), nil
}

// presented asks for the app by a host's name, and gives the certificate that answers: the one in the Secret of a release,
// to those who trust the authority in it, and to no others.
func (s *Session) presented(ctx context.Context, in, host string) (*x509.Certificate, error) {
	secret, err := s.Client.Core.Secrets(in).Get(ctx, application+"-tls", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	issued, err := certificate(secret.Data["tls.crt"])
	if err != nil {
		return nil, fmt.Errorf("tls.crt of the Secret: %w", err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		return nil, errors.New("the Secret has no ca.crt")
	}
	var served *x509.Certificate
	if err := until(ctx, arrives, func(ctx context.Context) (err error) {
		served, err = s.overTLS(ctx, host, trusted)
		return err
	}); err != nil {
		return nil, err
	}
	if !served.Equal(issued) {
		return nil, fmt.Errorf("the ingress answers with the certificate %s, not with %s", served.SerialNumber, issued.SerialNumber)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := s.overTLS(ctx, host, x509.NewCertPool()); !errors.As(err, &unknown) {
		return nil, fmt.Errorf("who does not know the authority is not told so: %v", err)
	}
	return issued, nil
}

// production deploys prod's values, as they stand but for what fits them into this cluster, and asks for the portal by
// prod's name.
func (s *Session) production(ctx context.Context) (string, error) {
	if err := s.shape(ctx, "test: the charts as they were released", nil); err != nil {
		return "", err
	}
	prod, err := s.lastEnvironment()
	if err != nil {
		return "", err
	}
	host, issuer := prod.values.Ingress.Hosts[0], prod.values.CertManager.Certificate.IssuerRef
	ca, err := s.certified(ctx, authority, issuer.Name)
	if err != nil {
		return "", err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	var distrusted *tls.CertificateVerificationError
	if _, err := s.overTLS(ctx, host, trusted); !errors.As(err, &distrusted) {
		return "", fmt.Errorf("before prod is deployed, what answers for %s is not distrusted: %v", host, err)
	}
	// Another namespace than prod's own: what is bound to that namespace is for the environments' part.
	st := stage{Environment: prod.Environment, digest: s.Digest}
	st.Namespace = "proof-" + prod.Name
	if err := s.place(ctx, st.Namespace, true); err != nil {
		return "", err
	}
	issued, err := s.asProd(ctx, prod, st)
	// In any case: that part has an Application of the same name.
	if err := errors.Join(err, sync.Delete(ctx, s.Client, sync.DefaultNamespace, nameOf(st), s.Timeout), s.vacate(ctx, st.Namespace)); err != nil {
		return "", err
	}
	return fmt.Sprintf("deployed with its own values, prod answers as %s with the certificate %x, which the %s %s gave it; before, nothing there was trusted",
		host, issued.SerialNumber, issuer.Kind, issuer.Name), nil
}

// asProd deploys prod's values to a stage of its own, and gives the certificate by which that answers as prod.
func (s *Session) asProd(ctx context.Context, prod hardened, st stage) (issued *x509.Certificate, err error) {
	if st.tag, err = s.tag(ctx); err != nil {
		return nil, err
	}
	values := environmentValues()
	merge(values, postgresValues())
	merge(values, map[string]any{"image": map[string]any{"tag": st.tag, "digest": st.digest}})
	all, err := merged(prod.file, values)
	if err != nil {
		return nil, err
	}
	revision, err := s.repository.tip(ctx)
	if err != nil {
		return nil, err
	}
	app := sync.Application{
		Name: nameOf(st), Release: application, Repo: s.repo, Path: s.Chart, Revision: s.Branch,
		DestinationNamespace: st.Namespace, Values: all,
	}
	if _, err := app.Apply(ctx, s.Client); err != nil {
		return nil, err
	}
	if _, err := s.stands(ctx, st, revision, s.Timeout); err != nil {
		return nil, err
	}
	issued, err = s.presented(ctx, st.Namespace, prod.values.Ingress.Hosts[0])
	if err != nil {
		return nil, err
	}
	if !slices.Equal(issued.DNSNames, prod.values.Ingress.Hosts) || issued.Issuer.CommonName != authority {
		return nil, fmt.Errorf("the certificate is for %q, of %s", issued.DNSNames, issued.Issuer)
	}
	return issued, nil
}

// overTLS asks for the app by a host's name with some authorities in trust, and gives the certificate that answered.
func (s *Session) overTLS(ctx context.Context, host string, trusted *x509.CertPool) (*x509.Certificate, error) {
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: host, MinVersion: tls.VersionTLS12}},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.HTTPS+"/", nil)
	if err != nil {
		return nil, err
	}
	r.Host = host
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(title)) {
		return nil, fmt.Errorf("%s/ is not the app of %s: %s", s.HTTPS, host, answer.Status)
	}
	return answer.TLS.PeerCertificates[0], nil
}

// certificate reads the first certificate of a PEM file.
func certificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}
