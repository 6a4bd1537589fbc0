// Package health says in words why something in a cluster does not run, and whether waiting longer can help.
package health

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Problem is why an object is not healthy.
type Problem struct {
	// Kind, Namespace and Name say which object it is.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Container is the pod's container concerned.
	Container string `json:"container,omitempty"`
	// Reason is Kubernetes' word: ImagePullBackOff, Unschedulable.
	Reason string `json:"reason"`
	// Message is one sentence for people.
	Message string `json:"message"`
	// Detail is what the cluster said, where Message is not just that.
	Detail string `json:"detail,omitempty"`
	// Certain says that waiting longer cannot help.
	Certain bool `json:"certain"`
}

// Object is how messages call the object.
func (p Problem) Object() string {
	if p.Namespace == "" {
		return p.Kind + " " + p.Name
	}
	return p.Kind + " " + p.Namespace + "/" + p.Name
}

// String is the whole sentence.
func (p Problem) String() string {
	return fmt.Sprintf("%s: %s: %s", p.Object(), p.Reason, p.Message)
}

// Certain gives the first problem that waiting cannot solve, nil where there is none.
func Certain(problems []Problem) *Problem {
	for _, p := range problems {
		if p.Certain {
			return &p
		}
	}
	return nil
}

// How long a state that often passes may last before it counts as one that does not.
const (
	// scheduling: a pod that leaves makes room for the next one.
	schedulingGrace = 15 * time.Second
	// creation: Secrets, ConfigMaps and service accounts of one sync are applied within moments of each other.
	creationGrace = 20 * time.Second
	// missing: another pod, or a controller, may be about to make the Secret or ConfigMap.
	missingGrace = 90 * time.Second
)

// Event reasons and container states, as the kubelet writes them.
const (
	errImagePull     = "ErrImagePull"
	imagePullBackOff = "ImagePullBackOff"
	crashLoopBackOff = "CrashLoopBackOff"
)

// Pod says why a pod is not ready, worst first. Events are those of the pod's namespace; now is when they were read.
func Pod(pod *corev1.Pod, events []corev1.Event, now time.Time) []Problem {
	if pod.Status.Phase == corev1.PodSucceeded || ready(pod) {
		return nil
	}
	mine := of(pod.UID, events)
	problem := Problem{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}
	var problems []Problem
	if p, ok := scheduling(problem, pod, now); ok {
		problems = append(problems, p)
	}
	if pod.Status.Phase == corev1.PodFailed {
		p := problem
		p.Reason = cmp.Or(pod.Status.Reason, "Failed")
		p.Message = cmp.Or(sentence(pod.Status.Message), "the pod ended")
		problems = append(problems, p)
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		p := problem
		p.Container = s.Name
		if p, ok := container(p, pod, s, mine, now); ok {
			problems = append(problems, p)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		switch {
		case a.Certain == b.Certain:
			return 0
		case a.Certain:
			return -1
		}
		return 1
	})
	return problems
}

func scheduling(p Problem, pod *corev1.Pod, now time.Time) (Problem, bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
			continue
		}
		p.Reason = cmp.Or(c.Reason, "Unscheduled")
		p.Message = "no node takes the pod: " + sentence(c.Message)
		p.Certain = c.Reason == corev1.PodReasonUnschedulable && !passing(c.Message) && now.Sub(c.LastTransitionTime.Time) > schedulingGrace
		return p, true
	}
	return p, false
}

// passing says of a scheduler's message that what it tells passes: a node that starts, a volume that is being made.
func passing(message string) bool {
	for _, s := range []string{"no nodes available", "node.kubernetes.io/", "unbound immediate PersistentVolumeClaims", "persistentvolumeclaim"} {
		if strings.Contains(message, s) {
			return true
		}
	}
	return allTainted.MatchString(message)
}

// allTainted is a scheduler's message of Kubernetes 1.37, which does not name them, that taints alone keep a pod from each
// node: those of nodes that start, most likely. Where some nodes lack something else this one does not match.
var allTainted = regexp.MustCompile(`\A\d+/\d+ nodes are available: \d+ node\(s\) had untolerated taint\(s\)\.`)

func container(p Problem, pod *corev1.Pod, s corev1.ContainerStatus, events []corev1.Event, now time.Time) (Problem, bool) {
	switch waiting := s.State.Waiting; {
	case waiting != nil:
		return waits(p, pod, s, *waiting, events, now)
	case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
		p.Reason = cmp.Or(s.State.Terminated.Reason, "Error")
		p.Message = exit(s.Name, s.State.Terminated, s.RestartCount)
		return p, true
	case s.State.Running != nil && !s.Ready && !isInit(pod, s.Name):
		p.Reason = "NotReady"
		p.Message = fmt.Sprintf("container %s runs, and is not ready yet", s.Name)
		if e := latest(events, "Unhealthy", s.Name); e != nil {
			p.Message = fmt.Sprintf("container %s is not ready: %s", s.Name, sentence(e.Message))
		}
		return p, true
	}
	return p, false
}

func waits(p Problem, pod *corev1.Pod, s corev1.ContainerStatus, waiting corev1.ContainerStateWaiting, events []corev1.Event, now time.Time) (Problem, bool) {
	p.Reason = waiting.Reason
	p.Message = fmt.Sprintf("container %s waits: %s", s.Name, sentence(waiting.Message))
	grace := creationGrace
	if strings.HasSuffix(waiting.Message, "not found") {
		grace = missingGrace
	}
	late := pod.Status.StartTime != nil && now.Sub(pod.Status.StartTime.Time) > grace
	switch waiting.Reason {
	case "", "ContainerCreating", "PodInitializing":
		e := latest(events, "FailedMount", "")
		if e == nil {
			e = latest(events, "FailedCreatePodSandBox", "")
		}
		if e == nil {
			return p, false
		}
		p.Reason, p.Message = e.Reason, sentence(e.Message)
		return p, true
	case errImagePull, imagePullBackOff:
		p.Detail = waiting.Message
		failed := latest(events, "Failed", s.Name)
		if failed != nil && !known(waiting.Message) {
			p.Detail = failed.Message
		}
		p.Message, p.Certain = pull(s.Image, p.Detail, attempts(events, s.Name))
	case crashLoopBackOff:
		p.Certain = true
		p.Detail = waiting.Message
		p.Message = fmt.Sprintf("container %s ends again and again", s.Name)
		if t := s.LastTerminationState.Terminated; t != nil {
			p.Message = exit(s.Name, t, s.RestartCount)
		}
	case "InvalidImageName", "ErrImageNeverPull":
		p.Certain = true
	default:
		// CreateContainerConfigError, CreateContainerError, RunContainerError, …: the kubelet tries again, and what was
		// missing may come.
		p.Certain = late
	}
	return p, true
}

// exit tells how a container ended.
func exit(name string, t *corev1.ContainerStateTerminated, restarts int32) string {
	s := fmt.Sprintf("container %s exits with code %d", name, t.ExitCode)
	if t.Reason != "" && t.Reason != "Error" {
		s += " (" + t.Reason + ")"
	}
	switch restarts {
	case 0:
	case 1:
		s += ", restarted once"
	default:
		s += fmt.Sprintf(", restarted %d times", restarts)
	}
	if m := sentence(t.Message); m != "" {
		s += ": " + m
	}
	return s
}

// What registries and container runtimes say.
var (
	absent  = regexp.MustCompile(`(?i)\bnot found\b|manifest unknown|name unknown|does not exist|no match for platform|no matching manifest`)
	refused = regexp.MustCompile(`(?i)pull access denied|unauthorized|authentication required|authorization failed|insufficient_scope|denied:|` + httpStatus("40[13]"))
	network = regexp.MustCompile(`(?i)connection refused|connection reset|i/o timeout|no such host|server misbehaving|temporary failure|no route to host|network is unreachable|TLS handshake|deadline exceeded|request canceled|\bEOF\b|too many requests|\bUnavailable\b|error while dialing|` + httpStatus("429|50[0234]"))
	// Some wording of a resolver has "not found" in it as well.
	lookup = regexp.MustCompile(`(?i)\blookup \S+`)
)

// httpStatus matches an HTTP status where it is a word of its own, and no part of a version: 502, not 1.502.0.
func httpStatus(codes string) string { return `(^|[^\w.:/@-])(` + codes + `)([^\w.-]|[.-]\W|[.-]?$)` }

// references are names of images, addresses of registries and the like, which may look like anything.
var references = regexp.MustCompile(`[^\s"'=(]+[:/@][^\s"']*\w`)

// unnamed is a message without the names in it, but for words with a slash.
func unnamed(message string) string {
	return references.ReplaceAllStringFunc(message, func(s string) string {
		if s == "i/o" {
			return s
		}
		return "…"
	})
}

// Transient says of an error's text that it tells of a network or a server that may come back.
func Transient(message string) bool {
	message = unnamed(message)
	return network.MatchString(message) || lookup.MatchString(message)
}

func known(message string) bool {
	return Transient(message) || absent.MatchString(unnamed(message)) || refused.MatchString(unnamed(message))
}

func pull(image, detail string, attempts int) (message string, certain bool) {
	switch {
	case Transient(detail):
		return fmt.Sprintf("the registry of image %s does not answer: %s", image, sentence(detail)), false
	case refused.MatchString(unnamed(detail)):
		// Before absent: registries that hide what they have say "does not exist or may require authorization".
		return fmt.Sprintf("the registry refuses to give the image %s", image), true
	case absent.MatchString(unnamed(detail)):
		return fmt.Sprintf("the image %s is not in its registry", image), true
	}
	return fmt.Sprintf("the image %s cannot be pulled: %s", image, sentence(detail)), attempts > 1
}

// attempts counts the pulls of a container's image that failed.
func attempts(events []corev1.Event, container string) int {
	n := 0
	for _, e := range events {
		if e.Reason == "Failed" && concerns(e, container) && strings.HasPrefix(e.Message, "Failed to pull image") {
			n += max(1, int(e.Count))
		}
	}
	return n
}

var (
	prefixes = regexp.MustCompile(`rpc error: code = \w+ desc = |Failed to pull image "[^"]*": |failed to pull and unpack image "[^"]*": |failed to resolve reference "[^"]*": |failed to do request: `)
	spaces   = regexp.MustCompile(`\s+`)
)

// sentence makes one line of what a cluster says.
func sentence(message string) string {
	return strings.TrimRight(strings.TrimSpace(spaces.ReplaceAllString(prefixes.ReplaceAllString(message, ""), " ")), ".")
}

// of gives the events about an object, oldest first.
func of(uid types.UID, events []corev1.Event) []corev1.Event {
	var mine []corev1.Event
	for _, e := range events {
		if e.InvolvedObject.UID == uid {
			mine = append(mine, e)
		}
	}
	slices.SortStableFunc(mine, func(a, b corev1.Event) int { return EventTime(a).Compare(EventTime(b)) })
	return mine
}

// EventTime is when an event was last seen.
func EventTime(e corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func latest(events []corev1.Event, reason, container string) *corev1.Event {
	for _, e := range slices.Backward(events) {
		if e.Reason == reason && (container == "" || concerns(e, container)) {
			return &e
		}
	}
	return nil
}

func concerns(e corev1.Event, container string) bool {
	return strings.HasSuffix(e.InvolvedObject.FieldPath, "{"+container+"}")
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func isInit(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == name })
}

// Workload says whether a Deployment, StatefulSet, DaemonSet, Job or CRD is done with its rollout, and if not, why.
func Workload(obj *unstructured.Unstructured, events []corev1.Event, now time.Time) *Problem {
	p := Problem{Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if c, ok := condition(obj, "ReplicaFailure"); ok && c.Status == "True" {
		p.Reason, p.Message = cmp.Or(c.Reason, "FailedCreate"), "no pod can be made: "+sentence(c.Message)
		p.Certain = now.Sub(c.LastTransitionTime) > creationGrace
		return &p
	}
	result, err := status.Compute(obj)
	if err != nil {
		p.Reason, p.Message = "Unknown", sentence(err.Error())
		return &p
	}
	switch result.Status {
	case status.CurrentStatus:
		return nil
	case status.FailedStatus:
		p.Certain = true
	}
	p.Reason, p.Message = string(result.Status), sentence(result.Message)
	for _, c := range result.Conditions {
		if c.Reason != "" {
			p.Reason = c.Reason
		}
	}
	// A StatefulSet and a DaemonSet have no condition for pods that cannot be made, just events.
	if e := latest(of(obj.GetUID(), events), "FailedCreate", ""); e != nil && !p.Certain {
		p.Reason, p.Message = e.Reason, "no pod can be made: "+sentence(e.Message)
		first := e.FirstTimestamp.Time
		p.Certain = !first.IsZero() && EventTime(*e).Sub(first) > creationGrace && now.Sub(EventTime(*e)) < creationGrace
	}
	return &p
}

// Condition is one entry of an object's status.conditions.
type Condition struct {
	Status             string
	Reason             string
	Message            string
	LastTransitionTime time.Time
}

func condition(obj *unstructured.Unstructured, kind string) (Condition, bool) {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	return ConditionOf(list, kind)
}

// ConditionOf finds the condition of a type in a list of them, if it is there.
func ConditionOf(list []any, kind string) (Condition, bool) {
	for _, entry := range list {
		m, ok := entry.(map[string]any)
		if !ok || m["type"] != kind {
			continue
		}
		text := func(key string) string { s, _ := m[key].(string); return s }
		at, _ := time.Parse(time.RFC3339, text("lastTransitionTime"))
		return Condition{Status: text("status"), Reason: text("reason"), Message: text("message"), LastTransitionTime: at}, true
	}
	return Condition{}, false
}

// Node says why a node is not ready.
func Node(node *corev1.Node) *Problem {
	p := Problem{Kind: "Node", Name: node.Name, Reason: "NotReady", Message: "the node has not reported yet"}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			return nil
		}
		p.Reason, p.Message = cmp.Or(c.Reason, p.Reason), sentence(c.Message)
	}
	return &p
}
