package health

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var now = time.Date(2026, 11, 23, 10, 1, 10, 0, time.UTC)

func TestPod(t *testing.T) {
	t.Parallel()
	const start = "startTime: '2026-11-23T10:01:00Z'\n"
	cases := map[string]struct {
		status string
		events []corev1.Event
		later  time.Duration
		// want is the worst problem, with ! before one that is certain; empty where there is none.
		want string
	}{
		"ready":     {status: "phase: Running\nconditions: [{type: Ready, status: 'True'}]"},
		"succeeded": {status: "phase: Succeeded"},
		"new":       {status: "phase: Pending"},
		"creating":  {status: start + "containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]"},
		"mount": {
			status: "containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]",
			events: []corev1.Event{event("FailedMount", "", "MountVolume.SetUp failed for volume \"config\" : configmap \"app\" not found", 1)},
			want:   "Pod ns/p: FailedMount: MountVolume.SetUp failed for volume \"config\" : configmap \"app\" not found",
		},
		"events of another pod": {
			status: "containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]",
			events: []corev1.Event{func() corev1.Event { e := event("FailedMount", "", "x", 1); e.InvolvedObject.UID = "other"; return e }()},
		},
		"evicted": {
			status: "phase: Failed\nreason: Evicted\nmessage: 'The node was low on resource: memory. '",
			want:   "Pod ns/p: Evicted: The node was low on resource: memory",
		},
		"invalid image name": {
			status: "containerStatuses: [{name: a, state: {waiting: {reason: InvalidImageName, message: 'couldn''t parse image name \"A:b:c\"'}}}]",
			want:   "!Pod ns/p: InvalidImageName: container a waits: couldn't parse image name \"A:b:c\"",
		},
		"crash of an init container": {
			status: "initContainerStatuses: [{name: migrate, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 3, reason: Error, message: 'no database\n'}}}]",
			want:   "!Pod ns/p: CrashLoopBackOff: container migrate exits with code 3, restarted once: no database",
		},
		"init container runs": {
			status: "initContainerStatuses: [{name: migrate, state: {running: {}}}]\ncontainerStatuses: [{name: a, state: {waiting: {reason: PodInitializing}}}]",
		},
		"the certain one first": {
			status: "containerStatuses: [{name: a, state: {running: {}}}, {name: b, state: {waiting: {reason: InvalidImageName}}}]",
			want:   "!Pod ns/p: InvalidImageName: container b waits: ",
		},
		"config error at first": {
			status: start + "containerStatuses: [{name: a, state: {waiting: {reason: CreateContainerConfigError, message: secret \"s\" not found}}}]",
			want:   "Pod ns/p: CreateContainerConfigError: container a waits: secret \"s\" not found",
		},
		// The pod that makes it may still pull its image.
		"config error, something is missing": {
			status: start + "containerStatuses: [{name: a, state: {waiting: {reason: CreateContainerConfigError, message: secret \"s\" not found}}}]",
			later:  time.Minute,
			want:   "Pod ns/p: CreateContainerConfigError: container a waits: secret \"s\" not found",
		},
		"config error for long": {
			status: start + "containerStatuses: [{name: a, state: {waiting: {reason: CreateContainerConfigError, message: secret \"s\" not found}}}]",
			later:  2 * time.Minute,
			want:   "!Pod ns/p: CreateContainerConfigError: container a waits: secret \"s\" not found",
		},
		"registry away, told by an event": {
			status: "containerStatuses: [{name: a, image: i, state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image \"i\"}}}]",
			events: []corev1.Event{event("Failed", "a", "Failed to pull image \"i\": failed to pull and unpack image \"docker.io/library/i:latest\": failed to resolve reference \"docker.io/library/i:latest\": failed to do request: Head \"http://m:5000/v2/\": dial tcp: lookup m on 10.0.0.1:53: no such host", 4)},
			want:   "Pod ns/p: ImagePullBackOff: the registry of image i does not answer: Head \"http://m:5000/v2/\": dial tcp: lookup m on 10.0.0.1:53: no such host",
		},
		"events of another container": {
			status: "containerStatuses: [{name: a, image: i, state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image \"i\"}}}]",
			events: []corev1.Event{event("Failed", "b", "Failed to pull image \"i\": short read", 4)},
			want:   "Pod ns/p: ImagePullBackOff: the image i cannot be pulled: Back-off pulling image \"i\"",
		},
		"a tag like a status is not there": {
			status: "containerStatuses: [{name: a, image: 'r/app:1.502.0', state: {waiting: {reason: ErrImagePull, message: 'failed to pull and unpack image \"r/app:1.502.0\": failed to resolve reference \"r/app:1.502.0\": r/app:1.502.0: not found'}}}]",
			want:   "!Pod ns/p: ErrImagePull: the image r/app:1.502.0 is not in its registry",
		},
		"a tag like a refusal is not there": {
			status: "containerStatuses: [{name: a, image: 'r/app:1.403.0', state: {waiting: {reason: ErrImagePull, message: 'failed to resolve reference \"r/app:1.403.0\": r/app:1.403.0: not found'}}}]",
			want:   "!Pod ns/p: ErrImagePull: the image r/app:1.403.0 is not in its registry",
		},
		"refused by status": {
			status: "containerStatuses: [{name: a, image: 'r/app:1', state: {waiting: {reason: ErrImagePull, message: 'failed to resolve reference \"r/app:1\": unexpected status from HEAD request to http://m/v2/app/manifests/1: 403 Forbidden'}}}]",
			want:   "!Pod ns/p: ErrImagePull: the registry refuses to give the image r/app:1",
		},
		"volume is being made": {
			status: "conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, lastTransitionTime: '2026-11-23T10:00:00Z', message: pod has unbound immediate PersistentVolumeClaims.}]",
			want:   "Pod ns/p: Unschedulable: no node takes the pod: pod has unbound immediate PersistentVolumeClaims",
		},
		"nodes that start, unnamed": {
			status: "conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, lastTransitionTime: '2026-11-23T10:00:00Z', message: '0/3 nodes are available: 3 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.'}]",
			want:   "Pod ns/p: Unschedulable: no node takes the pod: 0/3 nodes are available: 3 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling",
		},
		"nodes that are taken, and one with a taint": {
			status: "conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, lastTransitionTime: '2026-11-23T10:00:00Z', message: '0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.'}]",
			want:   "!Pod ns/p: Unschedulable: no node takes the pod: 0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu",
		},
		"no node fits": {
			status: "conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, lastTransitionTime: '2026-11-23T10:00:00Z', message: '0/1 nodes are available: 1 Insufficient cpu.'}]",
			want:   "!Pod ns/p: Unschedulable: no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid"}}
			if err := yaml.UnmarshalStrict([]byte(c.status), &pod.Status); err != nil {
				t.Fatal(err)
			}
			problems := Pod(&pod, c.events, now.Add(c.later))
			got := ""
			if len(problems) > 0 {
				got = problems[0].String()
				if problems[0].Certain {
					got = "!" + got
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func event(reason, container, message string, count int32) corev1.Event {
	e := corev1.Event{Reason: reason, Message: message, Count: count, InvolvedObject: corev1.ObjectReference{UID: "uid"}}
	if container != "" {
		e.InvolvedObject.FieldPath = "spec.containers{" + container + "}"
	}
	return e
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	failing := event("FailedCreate", "", "create Pod a-0 in StatefulSet a failed error: pods \"a-0\" is forbidden: exceeded quota", 9)
	failing.FirstTimestamp, failing.LastTimestamp = metav1.NewTime(now.Add(-time.Minute)), metav1.NewTime(now.Add(-time.Second))
	cases := map[string]struct {
		object string
		events []corev1.Event
		want   string
	}{
		"deployment not observed": {
			object: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: ns, generation: 2}, status: {observedGeneration: 1}}",
			want:   "Deployment ns/a: LatestGenerationNotObserved: Deployment generation is 2, but latest observed generation is 1",
		},
		"daemon set done": {
			object: "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a, namespace: ns, generation: 1}, status: {observedGeneration: 1, desiredNumberScheduled: 1, currentNumberScheduled: 1, updatedNumberScheduled: 1, numberAvailable: 1, numberReady: 1}}",
		},
		"stateful set cannot make pods": {
			object: "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, namespace: ns, uid: uid, generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1}}",
			events: []corev1.Event{failing},
			want:   "!StatefulSet ns/a: FailedCreate: no pod can be made: create Pod a-0 in StatefulSet a failed error: pods \"a-0\" is forbidden: exceeded quota",
		},
		"scaled to nothing": {
			object: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: ns, generation: 1}, spec: {replicas: 0}, status: {observedGeneration: 1, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]}}",
		},
		"job failed": {
			object: "{apiVersion: batch/v1, kind: Job, metadata: {name: a, namespace: ns}, status: {failed: 7, startTime: x, conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded}]}}",
			want:   "!Job ns/a: JobFailed: Job Failed. failed: 7/1",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			json, err := yaml.YAMLToJSONStrict([]byte(c.object))
			if err != nil {
				t.Fatal(err)
			}
			obj := &unstructured.Unstructured{}
			if err := obj.UnmarshalJSON(json); err != nil {
				t.Fatal(err)
			}
			got := ""
			if p := Workload(obj, c.events, now); p != nil {
				if got = p.String(); p.Certain {
					got = "!" + got
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTransient(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]bool{
		`dial tcp 10.0.0.1:5000: connect: connection refused`:                          true,
		`dial tcp: lookup registry on 10.96.0.10:53: server misbehaving`:               true,
		`dial tcp: lookup registry: not found`:                                         true,
		`unexpected status from HEAD request to http://m/v2/: 503 Service Unavailable`: true,
		`context deadline exceeded`:                                                    true,
		`rpc error: code = Unavailable desc = connection error`:                        true,
		`failed to resolve reference "r/a:b": r/a:b: not found`:                        false,
		`manifest unknown`:                     false,
		`charts/nope: app path does not exist`: false,
		`toomanyrequests: too many requests`:   true,
		`failed to extract layer sha256:5030000: archive/tar: invalid tar header`:                                                                                       false,
		`pull access denied, repository does not exist or may require authorization`:                                                                                    false,
		`remote error: tls: TLS handshake timeout`:                                                                                                                      true,
		`read tcp 10.0.0.2:1->10.0.0.1:80: read: connection reset by peer`:                                                                                              true,
		`failed to resolve reference "docker.io/user/app:1.502.0": docker.io/user/app:1.502.0: not found`:                                                               false,
		`failed to resolve reference "docker.io/user/app:503": docker.io/user/app:503: not found`:                                                                       false,
		`failed to resolve reference "docker.io/unavailable/eof:500-rc": docker.io/unavailable/eof:500-rc: not found`:                                                   false,
		`manifest for version 1.502.0 not found`:                                                                                                                        false,
		`failed to resolve reference "docker.io/user/app:1.502.0": unexpected status from HEAD request to http://m:5000/v2/user/app/manifests/1.502.0: 502 Bad Gateway`: true,
		`received unexpected HTTP status: 503`:                                                                                                                          true,
		`Get "http://10.96.0.1:443/api": dial tcp 10.96.0.1:443: i/o timeout`:                                                                                           true,
		`Head "http://10.87.0.4:5000/v2/user/app/manifests/1.403.0": EOF`:                                                                                               true,
		`YAML parse error on templates/a.yaml: error converting YAML to JSON: line 500a`:                                                                                false,
	} {
		if got := Transient(message); got != want {
			t.Errorf("%q: %t", message, got)
		}
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conditions []corev1.NodeCondition
		want       string
	}{
		"ready":   {conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		"silent":  {want: "Node n: NotReady: the node has not reported yet"},
		"no cni":  {conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "cni plugin not initialized"}}, want: "Node n: KubeletNotReady: cni plugin not initialized"},
		"unknown": {conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."}}, want: "Node n: NodeStatusUnknown: Kubelet stopped posting node status"},
	} {
		node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Conditions: c.conditions}}
		got := ""
		if p := Node(&node); p != nil {
			got = p.String()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
