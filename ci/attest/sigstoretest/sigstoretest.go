// Package sigstoretest is a Sigstore of a test's own, with Sigstore's own libraries: an authority that certifies the key
// of an identity, the log of its certificates, and a transparency log. Nothing of it is asked over a network, and what it
// signs is verified as that of any other Sigstore is.
package sigstoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/url"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	cosignbundle "github.com/sigstore/cosign/v3/pkg/cosign/bundle"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

// payloadType is that of an in-toto statement.
const payloadType = "application/vnd.in-toto+json"

// The extensions of a certificate: who vouches for the identity, and what the log of certificates has answered.
var (
	issuerExtension = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	loggedExtension = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	// ranExtension is the commit of the workflow that runs.
	ranExtension = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 10}
)

// Sigstore certifies, logs, and signs.
type Sigstore struct {
	// virtual has the transparency log.
	virtual            *ca.VirtualSigstore
	root, intermediate *x509.Certificate
	// authority certifies, certificates is the key of their log.
	authority, certificates *ecdsa.PrivateKey
}

// New is a Sigstore like no other.
func New(t *testing.T) *Sigstore {
	t.Helper()
	virtual, err := ca.NewVirtualSigstore()
	must(t, err)
	top, topKey, err := ca.GenerateRootCa()
	must(t, err)
	intermediate, authority, err := ca.GenerateFulcioIntermediate(top, topKey)
	must(t, err)
	certificates, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return &Sigstore{virtual: virtual, root: top, intermediate: intermediate, authority: authority, certificates: certificates}
}

// TrustedRoot is the JSON by which others trust this Sigstore.
func (s *Sigstore) TrustedRoot(t *testing.T) []byte {
	t.Helper()
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	logs := s.virtual.RekorLogs()
	for id, log := range logs {
		raw, err := hex.DecodeString(id)
		must(t, err)
		log.ID = raw // the library has the hex digits there
	}
	id := s.logID(t)
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			URI: "https://fulcio.localhost", Root: s.root, Intermediates: []*x509.Certificate{s.intermediate}, ValidityPeriodStart: from, ValidityPeriodEnd: to,
		}},
		map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {
			BaseURL: "https://ct.localhost", ID: id[:], ValidityPeriodStart: from, ValidityPeriodEnd: to,
			HashFunc: crypto.SHA256, PublicKey: s.certificates.Public(), SignatureHashFunc: crypto.SHA256,
		}},
		nil, logs)
	must(t, err)
	text, err := trusted.MarshalJSON()
	must(t, err)
	return text
}

// Sign signs a statement as an identity, for which issuer vouches, and returns the bundle.
func (s *Sigstore) Sign(t *testing.T, identity, issuer string, statement []byte) []byte {
	t.Helper()
	return s.SignAt(t, identity, issuer, "", statement)
}

// SignAt signs as Sign does, as a workflow that runs at a commit.
func (s *Sigstore) SignAt(t *testing.T, identity, issuer, commit string, statement []byte) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	certificate := s.certify(t, identity, issuer, commit, key)
	digest := sha256.Sum256(dsse.PAE(payloadType, statement))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(t, err)
	text, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: certificate.Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{s.log(t, certificate, statement, signature)},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: signature}},
		}},
	})
	must(t, err)
	// The library varies its blanks from program to program.
	var same bytes.Buffer
	must(t, json.Compact(&same, text))
	return same.Bytes()
}

// Attach signs a statement as Sign does, and attaches the bundle to an image, named by its digest.
func (s *Sigstore) Attach(t *testing.T, ref, identity, issuer, predicateType string, statement []byte) {
	t.Helper()
	s.AttachAt(t, ref, identity, issuer, "", predicateType, statement)
}

// AttachAt attaches what SignAt signs.
func (s *Sigstore) AttachAt(t *testing.T, ref, identity, issuer, commit, predicateType string, statement []byte) {
	t.Helper()
	image, err := name.NewDigest(ref)
	must(t, err)
	layer := static.NewLayer(s.SignAt(t, identity, issuer, commit, statement), cosignbundle.BundleV03MediaType)
	must(t, ociremote.WriteReferrer(image, cosignbundle.BundleV03MediaType, []v1.Layer{layer}, map[string]string{
		"dev.sigstore.bundle.content": "dsse-envelope", ociremote.BundlePredicateType: predicateType,
	}))
}

// log enters a signature into the transparency log.
func (s *Sigstore) log(t *testing.T, certificate *x509.Certificate, statement, signature []byte) *protorekor.TransparencyLogEntry {
	t.Helper()
	entry, err := s.virtual.GenerateTlogEntry(certificate, &dsse.Envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(signature)}},
	}, signature, time.Now().Unix(), true)
	must(t, err)
	made := entry.TransparencyLogEntry()
	id, err := s.virtual.RekorLogID()
	must(t, err)
	promise, err := s.virtual.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(made.GetCanonicalizedBody()), IntegratedTime: made.GetIntegratedTime(), LogIndex: made.GetLogIndex(), LogID: id,
	})
	must(t, err)
	made.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	made.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	return made
}

// certify makes the certificate of an identity's key, with the answer of the log of certificates in it.
func (s *Sigstore) certify(t *testing.T, identity, issuer, commit string, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	address, err := url.Parse(identity)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{address},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: issuerExtension, Value: []byte(issuer)}},
	}
	if commit != "" {
		value, err := asn1.MarshalWithParams(commit, "utf8")
		must(t, err)
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: ranExtension, Value: value})
	}
	issue := func() *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, s.intermediate, key.Public(), s.authority)
		must(t, err)
		made, err := x509.ParseCertificate(der)
		must(t, err)
		return made
	}
	// The log signs the certificate as it is without its answer.
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: s.logID(t)}, Timestamp: uint64(time.Now().UnixMilli())}
	input, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType, PrecertEntry: &ct.PreCert{
			IssuerKeyHash: sha256.Sum256(s.intermediate.RawSubjectPublicKeyInfo), TBSCertificate: issue().RawTBSCertificate,
		}},
	}})
	must(t, err)
	signed, err := cttls.CreateSignature(*s.certificates, cttls.SHA256, input)
	must(t, err)
	sct.Signature = ct.DigitallySigned(signed)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	must(t, err)
	answer, err := cttls.Marshal(*list)
	must(t, err)
	wrapped, err := asn1.Marshal(answer)
	must(t, err)
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: loggedExtension, Value: wrapped})
	return issue()
}

func (s *Sigstore) logID(t *testing.T) [sha256.Size]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.certificates.Public())
	must(t, err)
	return sha256.Sum256(der)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
