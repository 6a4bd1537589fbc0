package proof

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

var (
	//go:embed authority.yaml
	authorityTemplate string
	//go:embed external.yaml
	externalDatabase []byte
)

// Names of the databases with TLS.
const (
	// authority is the one of the session, and the ClusterIssuer that signs with it.
	authority         = "proof-authority"
	externalNamespace = "proof-database"
	externalHost      = "database." + externalNamespace + ".svc"
	// externalSecret has the user of the external database, and is in its namespace as in the portal's.
	externalSecret = "external-database"
	// authoritySecret has the authority's certificate, for who trusts it.
	authoritySecret = "database-authority"
	serverSecret    = application + "-database-tls"
	// authorityFile is where the chart mounts what database.tls.caSecret has.
	authorityFile = "/etc/backstage-database/ca.crt"
)

// certified has the session's authority sign for these ClusterIssuers, and gives its certificate.
func (s *Session) certified(ctx context.Context, issuers ...string) (ca []byte, err error) {
	var yaml bytes.Buffer
	if err := template.Must(template.New("").Parse(authorityTemplate)).Execute(&yaml, map[string]any{"Authority": authority, "Issuers": issuers}); err != nil {
		return nil, err
	}
	if _, err := s.apply(ctx, yaml.Bytes()); err != nil {
		return nil, err
	}
	return s.issued(ctx, "cert-manager", authority)
}

// issued waits for a certificate in a Secret.
func (s *Session) issued(ctx context.Context, in, secret string) (crt []byte, err error) {
	err = until(ctx, 2*time.Minute, func(ctx context.Context) error {
		found, err := s.Client.Core.Secrets(in).Get(ctx, secret, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if crt = found.Data["tls.crt"]; len(crt) == 0 {
			return fmt.Errorf("the Secret %s/%s has no certificate yet", in, secret)
		}
		return nil
	})
	return crt, err
}

// externalTLS has the portal use a PostgreSQL outside of its release, which takes no connection without TLS.
func (s *Session) externalTLS(ctx context.Context) (string, error) {
	ca, err := s.certified(ctx, authority)
	if err != nil {
		return "", err
	}
	if err := s.external(ctx, ca); err != nil {
		return "", err
	}
	if s.platform.database {
		if err := s.leave(ctx); err != nil {
			return "", err
		}
	}
	if err := s.shape(ctx, "test: use a PostgreSQL of somebody else's, by TLS", map[string]any{"database": map[string]any{
		"type": "external", "host": externalHost, "existingSecret": externalSecret,
		"tls": map[string]any{"enabled": true, "caSecret": authoritySecret},
	}}); err != nil {
		return "", err
	}
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	pod, err := s.podOf(ctx, externalNamespace, "app=database")
	if err != nil {
		return "", err
	}
	ask := func(ctx context.Context, sql string) (string, error) {
		return s.psql(ctx, externalNamespace, pod.Name, sql)
	}
	held, err := ask(ctx, entitiesHeld)
	if err != nil {
		return "", err
	}
	if held == "0" {
		return "", errors.New("the external database holds no entity of the portal's")
	}
	connections, err := allEncrypted(ctx, ask)
	if err != nil {
		return "", err
	}
	var seen []string
	for _, try := range []struct{ what, trust, want string }{
		{"with the authority of caSecret", authorityFile, "connected"},
		{"without TLS", "nobody", "no encryption"},
		{"with the authorities that Node knows", "known", "refused: unable to verify the first certificate"},
	} {
		said, err := s.clientSays(ctx, externalHost, try.trust)
		if err != nil {
			return "", err
		}
		if !strings.Contains(said, try.want) {
			return "", fmt.Errorf("%s the portal's client says %q, not %q", try.what, said, try.want)
		}
		seen = append(seen, try.what+" "+said)
	}
	return fmt.Sprintf("%s holds %s entities; %s. The portal's own client says: %s", externalHost, held, connections, strings.Join(seen, "; ")), nil
}

// external makes the external PostgreSQL, with what the chart wants of it beforehand in the portal's namespace.
func (s *Session) external(ctx context.Context, ca []byte) error {
	if err := s.namespaced(ctx, externalNamespace); err != nil {
		return err
	}
	user := map[string]string{"username": "backstage", "password": rand.Text()}
	for _, in := range []string{externalNamespace, namespace} {
		if _, err := s.secret(ctx, in, externalSecret, user); err != nil {
			return err
		}
	}
	if _, err := s.secret(ctx, namespace, authoritySecret, map[string]string{"ca.crt": string(ca)}); err != nil {
		return err
	}
	_, err := s.runs(ctx, externalDatabase)
	return err
}

// leave has the portal's pods end while its database is there: they would look for it outside while they drain.
func (s *Session) leave(ctx context.Context) error {
	before, err := s.running(ctx)
	if err != nil {
		return err
	}
	revision, err := s.shaped(ctx, "test: leave the database", map[string]any{"replicas": 0})
	if err != nil {
		return err
	}
	if err := s.synced(ctx, revision); err != nil {
		return err
	}
	for _, p := range before {
		if err := s.gone(ctx, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// databaseTLS has the release's own PostgreSQL serve TLS, and take a certificate that is renewed.
func (s *Session) databaseTLS(ctx context.Context) (string, error) {
	if err := s.provide(ctx, namespace); err != nil {
		return "", err
	}
	certificate := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"secretName": serverSecret, "dnsNames": []any{application + "-database"},
		"privateKey": map[string]any{"algorithm": "ECDSA"},
		"issuerRef":  map[string]any{"group": "cert-manager.io", "kind": "ClusterIssuer", "name": authority},
	}}}
	certificate.SetAPIVersion("cert-manager.io/v1")
	certificate.SetKind("Certificate")
	certificate.SetNamespace(namespace)
	certificate.SetName(serverSecret)
	if _, err := manifests.Apply(ctx, s.Client, []*unstructured.Unstructured{certificate}, manifests.Options{}); err != nil {
		return "", err
	}
	before, err := s.issued(ctx, namespace, serverSecret)
	if err != nil {
		return "", err
	}
	values := postgresValues()
	merge(values, map[string]any{"database": map[string]any{"tls": map[string]any{"enabled": true, "caSecret": serverSecret, "serverSecret": serverSecret}}})
	if err := s.shape(ctx, "test: have the portal's own PostgreSQL serve TLS", values); err != nil {
		return "", err
	}
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	connections, err := allEncrypted(ctx, s.query)
	if err != nil {
		return "", err
	}
	dumped, err := s.dump(ctx, "tls")
	if err != nil {
		return "", err
	}
	refused, err := s.wrongAuthority(ctx)
	if err != nil {
		return "", err
	}
	if err := s.serves(ctx, before, arrives); err != nil {
		return "", err
	}
	renewed, err := s.renewed(ctx, before)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; %s, by verify-full; by another authority the Job fails, %s, and the volume is as it was. %s", connections, firstLine(dumped), refused, renewed), nil
}

// unverified is what PostgreSQL's tools say of a server that their authority does not vouch for.
var unverified = regexp.MustCompile(`SSL error: certificate verify failed`)

// wrongAuthority has the chart's backup trust the cluster's own authority, which has not signed for the database, and gives
// what it says of that. It leaves nothing of its own, and what was dumped before.
func (s *Session) wrongAuthority(ctx context.Context) (string, error) {
	const secret = authoritySecret + "-wrong"
	other, err := s.Client.Core.ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if _, err := s.secret(ctx, namespace, secret, map[string]string{"ca.crt": other.Data["ca.crt"]}); err != nil {
		return "", err
	}
	before, err := s.backedUp(ctx)
	if err != nil {
		return "", err
	}
	why, err := s.backupFails(ctx, "distrusting", unverified, another(serverSecret, secret))
	if err != nil {
		return "", err
	}
	after, err := s.backedUp(ctx)
	if err != nil {
		return "", err
	}
	return why, untouched(before, after, s.platform.dump)
}

// backedUp are the files of the backup's volume, a checksum and a name a line.
func (s *Session) backedUp(ctx context.Context) (string, error) {
	return cluster.OnNode(ctx, s.Cluster, s.platform.node, "sh", "-euc", "cd "+volumes+"/"+namespace+"/"+backupClaim+` && sha256sum $(ls -A)`)
}

// untouched says whether a folder with a dump has the same files as before, with the same content.
func untouched(before, after, dump string) error {
	switch {
	case !strings.Contains(before, "  "+dump+"\n"):
		return fmt.Errorf("%s is not on the backup's volume: %q", dump, before)
	case after != before:
		return fmt.Errorf("a backup that failed changed its volume from %q to %q", before, after)
	}
	return nil
}

// renewed has the certificate of the release's PostgreSQL renewed, and sees the server that runs serve the new one.
func (s *Session) renewed(ctx context.Context, before []byte) (string, error) {
	pods := s.Client.Core.Pods(namespace)
	server, err := pods.Get(ctx, databasePod, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	// cert-manager writes the same status.
	if err := until(ctx, arrives, func(ctx context.Context) error { return s.renew(ctx, serverSecret) }); err != nil {
		return "", err
	}
	var after []byte
	if err := until(ctx, 2*time.Minute, func(ctx context.Context) (err error) {
		if after, err = s.issued(ctx, namespace, serverSecret); err == nil && bytes.Equal(after, before) {
			err = errors.New("the certificate is not renewed yet")
		}
		return err
	}); err != nil {
		return "", err
	}
	began := time.Now()
	// The kubelet looks every minute or so, the container beside the server every half.
	if err := s.serves(ctx, after, 2*reloads); err != nil {
		return "", err
	}
	took := time.Since(began)
	same, err := pods.Get(ctx, databasePod, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if same.UID != server.UID {
		return "", fmt.Errorf("%s is another pod than before", databasePod)
	}
	for _, c := range same.Status.ContainerStatuses {
		if c.RestartCount > 0 {
			return "", fmt.Errorf("the container %s of %s was restarted %d times", c.Name, databasePod, c.RestartCount)
		}
	}
	return fmt.Sprintf("Renewed, its certificate is served %.1f s later by the same server", took.Seconds()), nil
}

// renew asks cert-manager for a new certificate, as cmctl does.
func (s *Session) renew(ctx context.Context, name string) error {
	certificate, err := s.get(ctx, "cert-manager.io/v1", "Certificate", name)
	if err != nil {
		return err
	}
	r, err := s.Client.Resource(certificate, namespace)
	if err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(certificate.Object, "status", "conditions")
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedSlice(certificate.Object, append(conditions, map[string]any{
		"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "The proof wants another one",
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	}), "status", "conditions"); err != nil {
		return err
	}
	_, err = r.UpdateStatus(ctx, certificate, metav1.UpdateOptions{FieldManager: manifests.Manager})
	return err
}

// serves waits until the release's PostgreSQL serves a certificate.
func (s *Session) serves(ctx context.Context, crt []byte, limit time.Duration) error {
	want, err := certificate(crt)
	if err != nil {
		return err
	}
	return until(ctx, limit, func(ctx context.Context) error {
		said, err := s.clientSays(ctx, application+"-database", authorityFile)
		if err == nil && !strings.HasSuffix(said, fmt.Sprintf("%X", want.SerialNumber.Bytes())) {
			err = fmt.Errorf("the server does not serve the certificate %X: %s", want.SerialNumber.Bytes(), said)
		}
		return err
	})
}

// databaseClient connects to a PostgreSQL by the portal's own client and credentials, and says how that went. Whom it
// trusts is nobody, for a connection without TLS, those that Node knows, or those of a file.
const databaseClient = `
const [, host, trust] = process.argv;
const client = new (require('pg').Client)({
  host, database: 'backstage', user: process.env.POSTGRES_USER, password: process.env.POSTGRES_PASSWORD, connectionTimeoutMillis: 5000,
  ssl: trust !== 'nobody' && { ca: trust === 'known' ? undefined : require('node:fs').readFileSync(trust) },
});
client.connect().then(() => {
  const { stream } = client.connection;
  console.log('connected' + (trust === 'nobody' ? '' : ' by ' + stream.getProtocol() + ', certificate ' + stream.getPeerCertificate().serialNumber));
  process.exit();
}, e => { console.log('refused: ' + e.message); process.exit(); });`

// clientSays is how the portal's pod fares with databaseClient.
func (s *Session) clientSays(ctx context.Context, host, trust string) (string, error) {
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	said, err := s.Client.Exec(ctx, namespace, pod.Name, "backend", "node", "-e", databaseClient, host, trust)
	return strings.TrimSpace(said), err
}

// allEncrypted waits until PostgreSQL has connections of pods, each of them by TLS.
func allEncrypted(ctx context.Context, ask func(context.Context, string) (string, error)) (string, error) {
	var shown string
	err := until(ctx, arrives, func(ctx context.Context) error {
		row, err := ask(ctx, `select format('%s %s %s', count(*), count(*) filter (where ssl), coalesce(max(version), 'none')) from pg_stat_ssl join pg_stat_activity using (pid)
			where backend_type = 'client backend' and client_addr is not null`)
		if err == nil {
			shown, err = encrypted(row)
		}
		return err
	})
	return shown, err
}

// encrypted reads how many connections there are, how many of them by TLS, and by which version of it.
func encrypted(row string) (string, error) {
	var all, safe int
	var version string
	if _, err := fmt.Sscan(row, &all, &safe, &version); err != nil {
		return "", fmt.Errorf("PostgreSQL says of its connections %q: %w", row, err)
	}
	switch {
	case all == 0:
		return "", errors.New("PostgreSQL has no connection of a pod")
	case safe < all:
		return "", fmt.Errorf("%d of the %d connections to PostgreSQL are without TLS", all-safe, all)
	}
	return fmt.Sprintf("all %d connections to it are by %s", all, version), nil
}
