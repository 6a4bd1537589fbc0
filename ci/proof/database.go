package proof

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

//go:embed volumes.yaml
var volumesTemplate string

// Names of the database in the cluster.
const (
	storageClass   = "proof"
	databaseSecret = "backstage-database"
	databasePod    = application + "-database-0"
	dataClaim      = "data-" + databasePod
	backupClaim    = application + "-backup"
	// volumes is the folder of the node with those of the proof.
	volumes = "/var/lib/proof"
)

// postgresValues are those of a portal with a PostgreSQL of its own, small as the cluster is.
func postgresValues() map[string]any {
	small := func(cpu, memory string) map[string]any {
		return map[string]any{"requests": map[string]any{"cpu": cpu, "memory": memory}}
	}
	volume := map[string]any{"size": "1Gi", "className": storageClass}
	return map[string]any{
		"database": map[string]any{
			"type": "statefulset", "existingSecret": databaseSecret,
			"statefulset": map[string]any{"storage": volume, "resources": small("10m", "64Mi")},
		},
		"backup": map[string]any{"enabled": true, "volume": volume, "resources": small("10m", "32Mi")},
	}
}

// provide has what the chart's database wants beforehand in a namespace: a Secret that is not in Git, and volumes.
func (s *Session) provide(ctx context.Context, in string) error {
	made, err := s.secret(ctx, in, databaseSecret, map[string]string{"username": "backstage", "password": rand.Text()})
	if err != nil || !made {
		return err // Where it was there, so are the volumes.
	}
	if s.platform.node, err = s.worker(ctx); err != nil {
		return err
	}
	type volume struct{ Namespace, Claim, Path string }
	var all []volume
	for _, claim := range []string{dataClaim, backupClaim} {
		path := volumes + "/" + in + "/" + claim
		if _, err := cluster.OnNode(ctx, s.Cluster, s.platform.node, "mkdir", "-p", path); err != nil {
			return err
		}
		all = append(all, volume{in, claim, path})
	}
	var yaml bytes.Buffer
	if err := template.Must(template.New("").Parse(volumesTemplate)).Execute(&yaml, map[string]any{"Class": storageClass, "Node": s.platform.node, "Volumes": all}); err != nil {
		return err
	}
	_, err = s.apply(ctx, yaml.Bytes())
	s.platform.database = s.platform.database || in == namespace
	return err
}

// worker is a node that takes pods.
func (s *Session) worker(ctx context.Context) (string, error) {
	nodes, err := s.Client.Core.Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, n := range nodes.Items {
		free := true
		for _, t := range n.Spec.Taints {
			free = free && t.Effect != corev1.TaintEffectNoSchedule
		}
		if free {
			return n.Name, nil
		}
	}
	return "", errors.New("no node takes pods")
}

// registered is how many entities somebody registers through the portal: nothing but the database knows of them.
const registered = 25

func (s *Session) database(ctx context.Context) (string, error) {
	return s.keeps(ctx, postgresValues())
}

// keeps has the portal keep its catalog in a PostgreSQL of its own, with what somebody registers in it.
func (s *Session) keeps(ctx context.Context, values map[string]any) (string, error) {
	if err := s.provide(ctx, namespace); err != nil {
		return "", err
	}
	file, err := s.serveEntities(ctx)
	if err != nil {
		return "", err
	}
	values["appConfig"] = map[string]any{"backend": map[string]any{"reading": map[string]any{"allow": []any{map[string]any{"host": file.Host}}}}}
	if err := s.shape(ctx, "test: give the portal a PostgreSQL", values); err != nil {
		return "", err
	}
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	if err := s.register(ctx, file); err != nil {
		return "", err
	}
	if s.platform.catalog, err = s.settledCatalog(ctx); err != nil {
		return "", err
	}
	held, err := s.query(ctx, entitiesHeld)
	if err != nil {
		return "", err
	}
	if want := fmt.Sprint(len(s.platform.catalog)); held != want {
		return "", fmt.Errorf("PostgreSQL holds %s entities, the portal lists %s", held, want)
	}
	return fmt.Sprintf("%s in its own StatefulSet holds the %s entities that the portal lists, %d of them registered by a guest", databasePod, held, registered), nil
}

// entitiesHeld is the question how many entities a database holds.
const entitiesHeld = "select count(*) from catalog.final_entities where final_entity is not null"

// register registers a file of entities, unless an earlier part did, and has not lost them.
func (s *Session) register(ctx context.Context, file *url.URL) error {
	body, err := json.Marshal(map[string]string{"type": "url", "target": file.String()})
	if err != nil {
		return err
	}
	if err := until(ctx, arrives, func(ctx context.Context) error {
		there, err := s.catalog(ctx)
		if err != nil || there["component:default/registered-0"] != "" {
			return err
		}
		_, err = request(ctx, http.MethodPost, s.Ingress+"/api/catalog/locations", s.token, bytes.NewReader(body))
		return err
	}); err != nil {
		return fmt.Errorf("register entities: %w", err)
	}
	return nil
}

// settledCatalog is the catalog once it has what was registered and does not grow any more.
func (s *Session) settledCatalog(ctx context.Context) (map[string]string, error) {
	var last map[string]string
	err := until(ctx, 2*time.Minute, func(ctx context.Context) error {
		before := len(last)
		found, err := s.catalog(ctx)
		if err != nil {
			return err
		}
		last = found
		for i := range registered {
			if ref := fmt.Sprintf("component:default/registered-%d", i); found[ref] == "" {
				return fmt.Errorf("the catalog lacks %s", ref)
			}
		}
		if len(found) != before {
			if err := pause(ctx, 3*time.Second); err != nil {
				return err
			}
			return errors.New("the catalog still grows")
		}
		return nil
	})
	return last, err
}

// catalog is what the portal lists: the identity of each entity, which the database gave it when it was new.
func (s *Session) catalog(ctx context.Context) (map[string]string, error) {
	body, err := request(ctx, http.MethodGet, s.Ingress+"/api/catalog/entities?fields=kind,metadata.namespace,metadata.name,metadata.uid", s.token, nil)
	if err != nil {
		return nil, err
	}
	var entities []struct {
		Kind     string
		Metadata struct{ Namespace, Name, UID string }
	}
	if err := json.Unmarshal(body, &entities); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, e := range entities {
		all[strings.ToLower(e.Kind+":"+e.Metadata.Namespace+"/"+e.Metadata.Name)] = e.Metadata.UID
	}
	return all, nil
}

// query asks the database itself.
func (s *Session) query(ctx context.Context, sql string) (string, error) {
	return s.psql(ctx, namespace, databasePod, sql)
}

// psql asks a PostgreSQL in its pod.
func (s *Session) psql(ctx context.Context, in, pod, sql string) (string, error) {
	said, err := s.Client.Exec(ctx, in, pod, "postgresql", "sh", "-c", `exec psql --no-psqlrc --tuples-only --no-align --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="$0"`, sql)
	return strings.TrimSpace(said), err
}

// dumped is the name of a dump in what the backup says.
var dumped = regexp.MustCompile(`backstage-[0-9TZ]+\.dump`)

// backup runs the chart's CronJob now.
func (s *Session) backup(ctx context.Context) (string, error) {
	said, err := s.dump(ctx, "volume")
	if err != nil {
		return "", err
	}
	return "the CronJob, run now: " + firstLine(said), nil
}

// dump runs the chart's CronJob now, as a Job of this name, notes the dump, and gives what was said.
func (s *Session) dump(ctx context.Context, name string) (string, error) {
	job, err := s.backupJob(ctx, application+"-backup-"+name)
	if err != nil {
		return "", err
	}
	said, err := s.runJob(ctx, job, corev1.PodSucceeded)
	if err != nil {
		return "", err
	}
	// Another run of it would find it done.
	if err := s.remove(ctx, job); err != nil {
		return "", err
	}
	if s.platform.dump = dumped.FindString(said); s.platform.dump == "" {
		return "", fmt.Errorf("the backup names no dump: %s", said)
	}
	return said, nil
}

// backupJob is the Job that the chart's CronJob would make.
func (s *Session) backupJob(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	cron, err := s.get(ctx, "batch/v1", "CronJob", application+"-backup")
	if err != nil {
		return nil, err
	}
	spec, found, err := unstructured.NestedMap(cron.Object, "spec", "jobTemplate", "spec")
	if err == nil && !found {
		err = fmt.Errorf("%s has no Job in it", kube.Name(cron))
	}
	if err != nil {
		return nil, err
	}
	job := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	job.SetAPIVersion("batch/v1")
	job.SetKind("Job")
	job.SetNamespace(namespace)
	job.SetName(name)
	return job, nil
}

// backupFails runs the chart's backup once, changed into one that cannot succeed, and gives the part of what it says that
// tells why.
func (s *Session) backupFails(ctx context.Context, name string, why *regexp.Regexp, change func(*unstructured.Unstructured) error) (string, error) {
	job, err := s.backupJob(ctx, application+"-backup-"+name)
	if err != nil {
		return "", err
	}
	if err := change(job); err != nil {
		return "", err
	}
	if err := unstructured.SetNestedField(job.Object, int64(0), "spec", "backoffLimit"); err != nil {
		return "", err
	}
	said, err := s.runJob(ctx, job, corev1.PodFailed)
	// What later steps tell of a failure would name it, and one that hangs would run beside them.
	if err := errors.Join(err, s.remove(context.WithoutCancel(ctx), job)); err != nil {
		return "", err
	}
	told := why.FindString(said)
	if told == "" {
		return "", fmt.Errorf("the backup does not say why it failed: %s", lastLine(said))
	}
	return told, nil
}

// another has an object name one thing in the place of another, wherever that is a whole value of it.
func another(from, to string) func(*unstructured.Unstructured) error {
	return func(obj *unstructured.Unstructured) error {
		text, err := json.Marshal(obj.Object)
		if err != nil {
			return err
		}
		changed := strings.ReplaceAll(string(text), `"`+from+`"`, `"`+to+`"`)
		if changed == string(text) {
			return fmt.Errorf("%s does not name %s", kube.Name(obj), from)
		}
		return obj.UnmarshalJSON([]byte(changed))
	}
}

// restores is the step that loses the database's volume and has the chart bring the dump back from where its values have it.
func restores(values func() map[string]any) func(*Session, context.Context) (string, error) {
	return func(s *Session, ctx context.Context) (string, error) { return s.restore(ctx, values) }
}

func (s *Session) restore(ctx context.Context, values func() map[string]any) (string, error) {
	began := time.Now()
	if _, err := cluster.OnNode(ctx, s.Cluster, s.platform.node, "sh", "-c", "rm -rf "+volumes+"/"+namespace+"/"+dataClaim+"/*"); err != nil {
		return "", err
	}
	pods := s.Client.Core.Pods(namespace)
	lost, err := pods.Get(ctx, databasePod, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	var now int64
	if err := pods.Delete(ctx, databasePod, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		return "", err
	}
	if err := until(ctx, 3*time.Minute, func(ctx context.Context) error {
		fresh, err := pods.Get(ctx, databasePod, metav1.GetOptions{})
		switch {
		case err != nil:
			return err
		case fresh.UID == lost.UID || len(fresh.Status.ContainerStatuses) == 0 || !fresh.Status.ContainerStatuses[0].Ready:
			return fmt.Errorf("the pod %s is not there again", databasePod)
		}
		return nil
	}); err != nil {
		return "", err
	}
	if err := s.lost(ctx); err != nil {
		return "", err
	}
	restoring := values()
	restoring["restore"] = map[string]any{"from": s.platform.dump}
	revision, err := s.shaped(ctx, "test: restore "+s.platform.dump, restoring)
	if err != nil {
		return "", err
	}
	if err := s.synced(ctx, revision); err != nil {
		return "", err
	}
	jobs, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=backstage-backup"})
	if err != nil {
		return "", err
	}
	said := ""
	for _, p := range jobs.Items {
		if strings.HasPrefix(p.Name, application+"-restore-") && p.Status.Phase == corev1.PodSucceeded {
			if said, err = s.podLog(ctx, p.Name); err != nil {
				return "", err
			}
		}
	}
	if !strings.Contains(said, s.platform.dump) {
		return "", fmt.Errorf("the restore says nothing of %s: %q", s.platform.dump, said)
	}
	if err := s.shape(ctx, "test: serve again", values()); err != nil {
		return "", err
	}
	if err := until(ctx, arrives, s.signIn); err != nil {
		return "", err
	}
	if err := until(ctx, arrives, func(ctx context.Context) error {
		after, err := s.catalog(ctx)
		if err != nil {
			return err
		}
		return lacking(s.platform.catalog, after)
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("the volume was emptied and %s; all %d entities are there with the identities they had, %.1f s after the loss",
		firstLine(said), len(s.platform.catalog), time.Since(began).Seconds()), nil
}

// synced waits for a revision with which the portal has no pods, and so no image.
func (s *Session) synced(ctx context.Context, revision string) error {
	_, err := sync.Wait{Name: application, Namespace: sync.DefaultNamespace, Timeout: s.Timeout, Want: sync.Want{Revision: revision}}.Until(ctx, s.Client)
	return err
}

// lost says that nothing of the catalog is in the database. A portal that starts anew may have made another one there.
func (s *Session) lost(ctx context.Context) error {
	there, err := s.query(ctx, "select to_regclass('catalog.final_entities') is not null")
	if err != nil || there == "f" {
		return err
	}
	held, err := s.query(ctx, holding(s.platform.catalog))
	if err != nil || held == "" {
		return err
	}
	return fmt.Errorf("the database is not lost: it holds the entities %s", strings.Join(strings.Fields(held), ", "))
}

// holding is the question which of these entities the database has.
func holding(catalog map[string]string) string {
	var ids []string
	for _, uid := range slices.Sorted(maps.Values(catalog)) {
		ids = append(ids, "'"+strings.ReplaceAll(uid, "'", "''")+"'")
	}
	return "select entity_id from catalog.final_entities where entity_id in (" + strings.Join(ids, ", ") + ")"
}

// lacking says which entities of before are not there any more, or are others of the same name.
func lacking(before, after map[string]string) error {
	for ref, uid := range before {
		switch after[ref] {
		case uid:
		case "":
			return fmt.Errorf("%s is lost", ref)
		default:
			return fmt.Errorf("%s is another one than before: %s, not %s", ref, after[ref], uid)
		}
	}
	return nil
}

// get reads an object of the portal's namespace.
func (s *Session) get(ctx context.Context, apiVersion, kind, name string) (*unstructured.Unstructured, error) {
	return s.getFrom(ctx, namespace, apiVersion, kind, name)
}

// getFrom gives an object of any namespace, or of none.
func (s *Session) getFrom(ctx context.Context, namespace, apiVersion, kind, name string) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion(apiVersion)
	obj.SetKind(kind)
	r, err := s.Client.Resource(obj, namespace)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, name, metav1.GetOptions{})
}

// runJob makes a Job of the portal's namespace, and gives what its pod said that ended in a phase.
func (s *Session) runJob(ctx context.Context, job *unstructured.Unstructured, phase corev1.PodPhase) (said string, err error) {
	if _, err := manifests.Apply(ctx, s.Client, []*unstructured.Unstructured{job}, manifests.Options{}); err != nil {
		return "", err
	}
	err = until(ctx, 5*time.Minute, func(ctx context.Context) (err error) {
		said, err = s.jobLog(ctx, job.GetName(), phase)
		return err
	})
	return said, err
}

// jobLog is what the pod of a Job said that ended in a phase.
func (s *Session) jobLog(ctx context.Context, job string, phase corev1.PodPhase) (string, error) {
	list, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job})
	if err != nil {
		return "", err
	}
	for _, p := range list.Items {
		if p.Status.Phase == phase {
			return s.podLog(ctx, p.Name)
		}
	}
	return "", fmt.Errorf("no pod of the Job %s has %s", job, strings.ToLower(string(phase)))
}

// podLog is what a pod of the portal's namespace said that has one container.
func (s *Session) podLog(ctx context.Context, pod string) (string, error) {
	return s.logOf(ctx, namespace, pod, "")
}

// logOf is what a container said.
func (s *Session) logOf(ctx context.Context, in, pod, container string) (string, error) {
	stream, err := s.Client.Core.Pods(in).GetLogs(pod, &corev1.PodLogOptions{Container: container}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	text, err := io.ReadAll(io.LimitReader(stream, 16<<20))
	return strings.TrimSpace(string(text)), err
}

// web serves one file to the pods.
type web struct {
	server *http.Server
	url    *url.URL
}

func (w *web) close() error { return w.server.Close() }

// serveEntities serves a file of entities from here, under an address that pods reach.
func (s *Session) serveEntities(ctx context.Context) (*url.URL, error) {
	if s.platform.web != nil {
		return s.platform.web.url, nil
	}
	ingress, err := url.Parse(s.Ingress)
	if err != nil {
		return nil, err
	}
	// The address from which this program reaches the cluster is that by which the cluster reaches it. Nothing is sent.
	toCluster, err := (&net.Dialer{}).DialContext(ctx, "udp4", ingress.Host)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(toCluster.LocalAddr().String())
	if err := errors.Join(err, toCluster.Close()); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", ":0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	content := entitiesFile(registered)
	w := &web{
		server: &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })},
		url:    &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/catalog-info.yaml"},
	}
	go func() { _ = w.server.Serve(listener) }()
	s.platform.web = w
	return w.url, nil
}

// entitiesFile is a file of the catalog with components.
func entitiesFile(count int) []byte {
	var yaml bytes.Buffer
	for i := range count {
		fmt.Fprintf(&yaml, "---\napiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: registered-%d\nspec:\n  type: service\n  lifecycle: experimental\n  owner: platform\n", i)
	}
	return yaml.Bytes()
}
