// Package keyserver keeps a signing key and signs digests with it over HTTP, so that the key never leaves the service's
// own storage: what signs a release to the embedded registry. It authenticates nobody; whoever reaches it may sign.
package keyserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// The paths of the service.
const (
	// HealthPath answers 200 while the service runs.
	HealthPath = "/healthz"
	// PublicKeyPath answers with the public key, PEM.
	PublicKeyPath = "/key.pub"
	// SignPath takes a SHA-256 digest, 32 bytes, and answers with its ECDSA signature, ASN.1.
	SignPath = "/sign"
)

// ErrKey says that the file of the key holds no key.
var ErrKey = errors.New("no signing key")

const file = "signing.key"

// New reads the key of a folder, and makes it where there is none: ECDSA on P-256, which cosign signs with as well.
func New(dir string) (http.Handler, error) {
	key, err := load(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		key, err = create(dir)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+HealthPath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET "+PublicKeyPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, public) })
	mux.HandleFunc("POST "+SignPath, func(w http.ResponseWriter, r *http.Request) {
		digest, err := io.ReadAll(io.LimitReader(r.Body, int64(crypto.SHA256.Size())+1))
		if err != nil || len(digest) != crypto.SHA256.Size() {
			http.Error(w, "want a SHA-256 digest, 32 bytes", http.StatusBadRequest)
			return
		}
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest)
		if err != nil {
			http.Error(w, "the digest could not be signed", http.StatusInternalServerError)
			return
		}
		answer(w, signature)
	})
	return mux, nil
}

func answer(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	// A client that is gone needs no answer.
	_, _ = w.Write(body)
}

func load(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w in %s: remove the file to have another key made; what the lost one signed cannot be verified any more", ErrKey, path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w in %s: %w", ErrKey, path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w in %s: it is not one of ECDSA on P-256", ErrKey, path)
	}
	return key, nil
}

// create makes the key in one step: whoever comes second takes the key of the first.
func create(dir string) (_ *ecdsa.PrivateKey, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Readable by its owner alone from the start.
	made, err := os.CreateTemp(dir, ".key-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(made.Name())) }()
	if err := errors.Join(pem.Encode(made, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), made.Sync(), made.Close()); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, file)
	if err := os.Link(made.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return load(path)
}

// Serve serves until the context ends.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
