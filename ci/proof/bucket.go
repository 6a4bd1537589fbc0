package proof

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

//go:embed s3.yaml
var s3Manifest []byte

// Names of the bucket.
const (
	bucketNamespace = "proof-s3"
	bucket          = "portal"
	// bucketSecret has the keys of the bucket, and is in the server's namespace as in the portal's.
	bucketSecret = "backstage-bucket"
	// bucketFolder is where the chart puts the dumps of a release.
	bucketFolder = "bucket:" + bucket + "/" + namespace + "/" + application
	// listBucket lists all that is in it, NAME SIZE a line.
	listBucket = "rclone lsf --recursive --files-only --format ps --separator ' ' bucket:" + bucket
)

// bucketValues are those of a portal with a PostgreSQL of its own whose dumps go into the bucket.
func bucketValues() map[string]any {
	values := postgresValues()
	merge(values, map[string]any{"backup": map[string]any{
		"destination": "s3", "keep": 1,
		"s3": map[string]any{"endpoint": "http://s3." + bucketNamespace + ".svc:7070", "bucket": bucket, "existingSecret": bucketSecret},
	}})
	return values
}

// serveBucket runs an S3 server and makes the bucket in it, which the chart expects to be there.
func (s *Session) serveBucket(ctx context.Context) (string, error) {
	if err := s.namespaced(ctx, bucketNamespace); err != nil {
		return "", err
	}
	keys := map[string]string{"access-key-id": rand.Text(), "secret-access-key": rand.Text()}
	for _, in := range []string{bucketNamespace, namespace} {
		if _, err := s.secret(ctx, in, bucketSecret, keys); err != nil {
			return "", err
		}
	}
	applied, err := s.runs(ctx, s3Manifest)
	if err != nil {
		return "", err
	}
	if _, err := s.rclone(ctx, "rclone mkdir bucket:"+bucket); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; the bucket %s is made", strings.Join(manifests.Images(applied), " and "), bucket), nil
}

// rclone runs a command beside the S3 server.
func (s *Session) rclone(ctx context.Context, command string) (string, error) {
	pod, err := s.podOf(ctx, bucketNamespace, "app=s3")
	if err != nil {
		return "", err
	}
	said, err := s.Client.Exec(ctx, bucketNamespace, pod.Name, "client", "sh", "-c", command)
	return strings.TrimSpace(said), err
}

// backupToBucket has the chart's CronJob put a dump into the bucket, from which the oldest one goes, and nothing else; and
// with a key that is wrong it fails.
func (s *Session) backupToBucket(ctx context.Context) (string, error) {
	kept, err := s.keeps(ctx, bucketValues())
	if err != nil {
		return "", err
	}
	recent := "backstage-" + time.Now().UTC().Add(-24*time.Hour).Format("20060102T150405Z") + ".dump"
	old, foreign := bucketFolder+"/backstage-20200101T000000Z.dump", "bucket:"+bucket+"/another/backstage-20200101T000000Z.dump"
	stay := []string{bucketFolder + "/" + recent, bucketFolder + "/notes.txt", foreign}
	for _, name := range append(stay, old) {
		if _, err := s.rclone(ctx, "echo text | rclone rcat "+name); err != nil {
			return "", err
		}
	}
	size, list, err := s.dumpToBucket(ctx, "bucket", old, stay)
	if err != nil {
		return "", err
	}
	refused, err := s.wrongKey(ctx)
	if err != nil {
		return "", err
	}
	if err := s.bucketStays(ctx, list); err != nil {
		return "", fmt.Errorf("a backup with a wrong key: %w", err)
	}
	return fmt.Sprintf("%s. %s of %s bytes is in the bucket, the oldest dump is removed, a newer one, another file and another folder's dump stay; with a wrong key the Job fails: %s",
		kept, s.platform.dump, size, refused), nil
}

// dumpToBucket runs the chart's backup once, as a Job of this name, and gives the size of its dump and the bucket's list, from
// which something is gone and where other things stay.
func (s *Session) dumpToBucket(ctx context.Context, job, gone string, stay []string) (size, list string, err error) {
	if _, err := s.dump(ctx, job); err != nil {
		return "", "", err
	}
	if list, err = s.rclone(ctx, listBucket); err != nil {
		return "", "", err
	}
	size, err = inBucket(list, "bucket:"+bucket+"/", bucketFolder+"/"+s.platform.dump, gone, stay)
	return size, list, err
}

// bucketStays refuses a bucket whose list is another than it was.
func (s *Session) bucketStays(ctx context.Context, list string) error {
	after, err := s.rclone(ctx, listBucket)
	if err == nil && after != list {
		err = fmt.Errorf("the bucket has changed from %q to %q", list, after)
	}
	return err
}

// inBucket reads in a list, NAME SIZE a line, the size of what was put into a bucket, and refuses a list that still has what
// was to go, or lacks what was to stay.
func inBucket(list, root, put, gone string, stay []string) (size string, err error) {
	sizes := map[string]string{}
	for line := range strings.Lines(list) {
		name, bytes, _ := strings.Cut(strings.TrimSpace(line), " ")
		sizes[root+name] = bytes
	}
	switch size = sizes[put]; {
	case size == "" || size == "0":
		return "", fmt.Errorf("%s is not in the bucket, or empty: %q", put, list)
	case sizes[gone] != "":
		return "", fmt.Errorf("%s is still in the bucket", gone)
	}
	for _, name := range stay {
		if sizes[name] == "" {
			return "", fmt.Errorf("%s did not stay in the bucket: %q", name, list)
		}
	}
	return size, nil
}

// wrongSignature is what a server of buckets says of what another key has signed.
var wrongSignature = regexp.MustCompile(`SignatureDoesNotMatch: .+`)

// wrongKey has the chart's backup run with another secret key than the bucket's, and gives what it says of that.
func (s *Session) wrongKey(ctx context.Context) (string, error) {
	const secret = bucketSecret + "-wrong"
	right, err := s.Client.Core.Secrets(namespace).Get(ctx, bucketSecret, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if _, err := s.secret(ctx, namespace, secret, map[string]string{"access-key-id": string(right.Data["access-key-id"]), "secret-access-key": rand.Text()}); err != nil {
		return "", err
	}
	return s.backupFails(ctx, "refused", wrongSignature, another(bucketSecret, secret))
}
