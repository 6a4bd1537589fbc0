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
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
	secret, err := s.Client.Core.Secrets(namespace).Get(ctx, application+"-tls", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	issued, err := certificate(secret.Data["tls.crt"])
	if err != nil {
		return "", fmt.Errorf("tls.crt of the Secret: %w", err)
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		return "", errors.New("the Secret has no ca.crt")
	}
	address, err := url.Parse(s.HTTPS)
	if err != nil {
		return "", err
	}
	var served *x509.Certificate
	if err := until(ctx, arrives, func(ctx context.Context) (err error) {
		served, err = s.overTLS(ctx, authority)
		return err
	}); err != nil {
		return "", err
	}
	if !served.Equal(issued) {
		return "", fmt.Errorf("the ingress answers with the certificate %s, not with %s", served.SerialNumber, issued.SerialNumber)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := s.overTLS(ctx, x509.NewCertPool()); !errors.As(err, &unknown) {
		return "", fmt.Errorf("who does not know the authority is not told so: %v", err)
	}
	return fmt.Sprintf("%s/ is the app, with the certificate %x of %s, valid until %s, verified against the Secret's authority and by no other",
		s.HTTPS, issued.SerialNumber, address.Hostname(), issued.NotAfter.Format(time.DateOnly)), nil
}

// overTLS asks for the app with some authorities in trust, and gives the certificate that answered.
func (s *Session) overTLS(ctx context.Context, trusted *x509.CertPool) (*x509.Certificate, error) {
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.HTTPS+"/", nil)
	if err != nil {
		return nil, err
	}
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
		return nil, fmt.Errorf("%s/ is not the app: %s", s.HTTPS, answer.Status)
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
