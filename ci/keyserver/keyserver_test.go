package keyserver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/keyserver"
)

func call(t *testing.T, h http.Handler, method, path string, body []byte) (int, []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(body)))
	return w.Code, w.Body.Bytes()
}

func publicKey(t *testing.T, h http.Handler) []byte {
	t.Helper()
	code, text := call(t, h, http.MethodGet, keyserver.PublicKeyPath, nil)
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	return text
}

func open(t *testing.T, dir string) http.Handler {
	t.Helper()
	h, err := keyserver.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestKeySigns: what it signs its public key verifies, also when another service opens the folder.
func TestKeySigns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	h := open(t, dir)
	digest := sha256.Sum256([]byte("a release"))
	code, signature := call(t, h, http.MethodPost, keyserver.SignPath, digest[:])
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, signature)
	}
	block, _ := pem.Decode(publicKey(t, open(t, dir)))
	if block == nil {
		t.Fatal("the public key is no PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, digest[:], signature) {
		t.Error("the public key does not verify the signature")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v; want the key alone", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

// TestOneKey: services that start at once in an empty folder have one key.
func TestOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := make([][]byte, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() { keys[i] = publicKey(t, open(t, dir)) })
	}
	all.Wait()
	for _, k := range keys {
		if !bytes.Equal(k, keys[0]) {
			t.Error("two keys")
		}
	}
	if bytes.Equal(publicKey(t, open(t, t.TempDir())), keys[0]) {
		t.Error("another folder has the same key")
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, dir)
	for _, body := range [][]byte{nil, make([]byte, 31), make([]byte, 33), make([]byte, 1<<20)} {
		if code, _ := call(t, h, http.MethodPost, keyserver.SignPath, body); code != http.StatusBadRequest {
			t.Errorf("%d bytes are answered with %d", len(body), code)
		}
	}
	if code, _ := call(t, h, http.MethodGet, keyserver.SignPath, nil); code != http.StatusMethodNotAllowed {
		t.Errorf("GET is answered with %d", code)
	}
	if code, _ := call(t, h, http.MethodGet, "/signing.key", nil); code != http.StatusNotFound {
		t.Errorf("the key's file is answered with %d", code)
	}
	for _, text := range []string{"", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if err := os.WriteFile(filepath.Join(dir, "signing.key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keyserver.New(dir); !errors.Is(err, keyserver.ErrKey) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	h := open(t, t.TempDir())
	go func() { done <- keyserver.Serve(ctx, l, h) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+keyserver.HealthPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("health: %d", answer.StatusCode)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
