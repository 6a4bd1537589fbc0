package sync

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// Want is what must run before a sync is done.
type Want struct {
	// Revision is the commit, in full.
	Revision string
	// Image and Digest, if given, are what the application's containers of that image must run: its name without tag,
	// and sha256:….
	Image, Digest string
	// Containers are the names of those that must run Image, whatever image they name. Each has to be in a pod that runs.
	Containers []string
}

// Observed is what the cluster held at one moment.
type Observed struct {
	// Application, nil where there is none.
	Application *unstructured.Unstructured
	// Refreshed says that Argo CD has looked at Git since it was asked to. Misses is how often it had done so and found
	// another commit.
	Refreshed bool
	Misses    int
	// Workloads, ReplicaSets, Pods and Events are those of the namespaces the Application has objects in.
	Workloads   []*unstructured.Unstructured
	ReplicaSets []*unstructured.Unstructured
	Pods        []corev1.Pod
	Events      []corev1.Event
	Now         time.Time
}

// Verdict is what follows.
type Verdict struct {
	// Result is what was seen.
	Result Result
	// Done says that exactly what is wanted runs. Waiting says, where it does not, what for.
	Done    bool
	Waiting string
	// Failure is set where waiting longer cannot help.
	Failure *Failure
	// Refresh says that Argo CD should look at Git again. Missed says that it looked and found another commit.
	Refresh, Missed bool
	// Terminate says that an operation for another revision stands in the way.
	Terminate bool
	// Sync says that Argo CD should be told to apply the revision: it does not do so by itself, and no operation that
	// succeeded says that the cluster is what the commit says.
	Sync bool
}

// Result is what runs.
type Result struct {
	Application string `json:"application"`
	// Revision is the commit that Argo CD compares the cluster with.
	Revision string `json:"revision"`
	Sync     string `json:"sync"`
	Health   string `json:"health"`
	// Phase is that of the last operation, OperationRevision the commit it applied. That is an older one where the
	// commit changes no object.
	Phase             string     `json:"phase"`
	OperationRevision string     `json:"operationRevision"`
	Resources         []Resource `json:"resources"`
	Pods              []Pod      `json:"pods"`
	Failure           *Failure   `json:"failure,omitempty"`
	Seconds           float64    `json:"seconds"`
}

// Resource is an object that the Application is made of.
type Resource struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Sync      string `json:"sync,omitempty"`
	Health    string `json:"health,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Pod is a pod of the Application.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Current says that it is of the workload's newest template. Terminating says that it is on its way out.
	Current     bool        `json:"current"`
	Terminating bool        `json:"terminating,omitempty"`
	Containers  []Container `json:"containers"`
}

// Container is one of a pod.
type Container struct {
	Name     string `json:"name"`
	Image    string `json:"image"`
	ImageID  string `json:"imageID"`
	Ready    bool   `json:"ready"`
	Restarts int32  `json:"restarts"`
}

// Failure is why a revision will not run.
type Failure struct {
	// Reason is one word: ComparisonError, OperationFailed, ImagePullBackOff.
	Reason string `json:"reason"`
	// Object is what failed: Pod backstage-system/backstage-… or Application argocd/backstage.
	Object string `json:"object"`
	// Message is one sentence for people, Detail what the cluster said where that is more.
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
	// Log is the end of what the container said that failed.
	Log []string `json:"log,omitempty"`

	problem *health.Problem
}

func (f *Failure) Error() string { return f.Object + ": " + f.Reason + ": " + f.Message }

// The words of Argo CD.
const (
	synced  = "Synced"
	healthy = "Healthy"

	phaseRunning     = "Running"
	phaseTerminating = "Terminating"
	phaseSucceeded   = "Succeeded"
	phaseFailed      = "Failed"
	phaseError       = "Error"

	comparisonError = "ComparisonError"
	invalidSpec     = "InvalidSpecError"
	syncError       = "SyncError"
)

// Patience of the decision.
const (
	// maxMisses is how often Argo CD is asked again when it finds another commit on the branch than the wanted one: a
	// push can be so fresh that Git's server did not tell of it.
	maxMisses = 3
	// lag is how much later than the Application this program may see the objects it is made of.
	lag = 5 * time.Second
)

// Judge decides whether what is wanted runs, never will, or may yet. It asks nothing but its arguments.
func Judge(want Want, o Observed) Verdict {
	if o.Application == nil {
		return Verdict{Failure: &Failure{Reason: "NotFound", Object: "Application", Message: "there is no such Application; gitops argocd application makes it"}}
	}
	j := &judgement{want: want, o: o, app: read(o.Application)}
	j.collect()
	j.decide()
	return j.v
}

type judgement struct {
	want Want
	o    Observed
	app  application
	v    Verdict
	// newest are the pods of the workloads' newest templates.
	newest []corev1.Pod
}

func (j *judgement) decide() {
	switch {
	case !j.o.Refreshed:
		j.wait("Argo CD has not looked at Git since it was asked to")
	case j.conditions():
	case !slices.Contains(j.app.revisions(), j.want.Revision):
		j.otherRevision()
	case j.empty():
		j.fail("Empty", fmt.Sprintf("%s renders no object at %s", j.app.source(), short(j.want.Revision)), "")
	case j.operation(), j.pods():
	case j.app.Status.Sync.Status != synced:
		j.wait("the cluster is not what the commit says yet" + j.unsynced())
	case j.app.Status.Health.Status != healthy:
		j.wait("not everything is healthy yet" + j.unhealthy())
	case j.unproven():
	default:
		j.v.Done, j.v.Waiting = j.image()
	}
}

func (j *judgement) wait(why string) { j.v.Waiting = why }

func (j *judgement) fail(reason, message, detail string) {
	j.v.Failure = &Failure{Reason: reason, Object: kube.Name(j.o.Application), Message: message}
	if detail != message {
		j.v.Failure.Detail = detail
	}
}

// conditions looks at what Argo CD found wrong before it applied anything. It was told of the present commit: the
// refresh resolves the branch anew, and its outcome is written in one patch with the end of the request.
func (j *judgement) conditions() bool {
	for _, c := range j.app.Status.Conditions {
		switch c.Type {
		case comparisonError, invalidSpec:
			if transient(c.Message) {
				j.v.Refresh = true
				j.wait("Argo CD cannot read the commit: " + explain(c.Message))
				return true
			}
			j.fail(c.Type, explain(c.Message), c.Message)
			return true
		case syncError:
			if !strings.Contains(c.Message, j.want.Revision) {
				continue
			}
			if strings.Contains(c.Message, "auto-sync will wipe out all resources") {
				j.fail("Empty", fmt.Sprintf("%s renders no object at %s, and Argo CD refuses to remove all there is", j.app.source(), short(j.want.Revision)), c.Message)
				return true
			}
			if op := j.app.Status.OperationState; op != nil && op.revision() == j.want.Revision {
				continue // The operation itself says more.
			}
			j.fail(c.Type, explain(c.Message), c.Message)
			return true
		}
	}
	return false
}

func (j *judgement) otherRevision() {
	at := cmp.Or(strings.Join(j.app.revisions(), ", "), "nothing")
	if j.o.Misses >= maxMisses && j.app.Status.Sync.Status != "Unknown" && at != "nothing" {
		j.fail("OtherRevision", fmt.Sprintf("%s of %s is at %s, not at %s; push that commit there, or sync what is there",
			j.app.Spec.Source.TargetRevision, j.app.Spec.Source.RepoURL, short(at), short(j.want.Revision)), "")
		return
	}
	j.v.Refresh, j.v.Missed = true, true
	j.wait(fmt.Sprintf("Argo CD is at %s, not at %s yet", short(at), short(j.want.Revision)))
}

func (j *judgement) empty() bool {
	return j.app.Status.Sync.Status == synced && len(j.app.Status.Resources) == 0 && (j.app.Status.OperationState == nil || j.app.Status.OperationState.Phase != phaseRunning)
}

// operation looks at what Argo CD does, or did last.
func (j *judgement) operation() bool {
	op := j.app.Status.OperationState
	if op == nil || op.revision() != j.want.Revision {
		if op != nil && op.Phase == phaseRunning && j.app.Status.Sync.Status != synced {
			if op.revision() == "" {
				// A retry names no commit before it has read Git again, and takes the newest one then.
				j.wait("Argo CD tries again: " + sentence(op.Message))
				return true
			}
			j.v.Terminate = op.stuck()
			j.wait(fmt.Sprintf("an operation for %s is in the way: %s", short(op.revision()), sentence(op.Message)))
			return true
		}
		return false
	}
	switch op.Phase {
	case phaseFailed, phaseError:
		j.fail("Operation"+op.Phase, op.reason(), op.Message)
		return true
	case phaseRunning:
		if r := op.hopeless(); r != nil {
			j.fail(r.word(), r.sentence(), op.Message)
			return true
		}
	}
	return false
}

// unproven says that nothing is as it was when an operation succeeded: the last one failed, on another revision, or there
// was none. Argo CD begins none by itself where the cluster is what the commit says. One that succeeded on another
// revision will do: this one changes no object then.
func (j *judgement) unproven() bool {
	op := j.app.Status.OperationState
	switch {
	case j.app.Operation != nil:
		return false // It begins one.
	case op == nil:
		j.wait("Argo CD has not applied anything")
	case op.Phase == phaseFailed || op.Phase == phaseError:
		j.wait(fmt.Sprintf("the last operation is %s, for %s", op.Phase, short(cmp.Or(op.revision(), "no commit"))))
	default:
		return false
	}
	j.v.Sync = true
	return true
}

// pods looks for pods that will not come up. Only those of the wanted revision count: a pod of the release before may
// crash, that is why there is a new one.
func (j *judgement) pods() bool {
	applied := map[string]bool{}
	op := j.app.Status.OperationState
	if op != nil && op.revision() == j.want.Revision && op.SyncResult != nil {
		for _, r := range op.SyncResult.Resources {
			applied[r.key()] = r.Status == synced || applied[r.key()]
		}
	}
	for _, w := range j.workloads() {
		if j.app.Status.Sync.Status != synced && !applied[keyOf(w)] {
			continue
		}
		var problems []health.Problem
		for _, pod := range manifests.Pods(w, j.o.ReplicaSets, j.o.Pods) {
			if op != nil && op.revision() == j.want.Revision && j.app.Status.Sync.Status != synced && pod.CreationTimestamp.Time.Before(op.StartedAt.Time.Truncate(time.Second)) {
				continue
			}
			problems = append(problems, health.Pod(&pod, j.o.Events, j.o.Now)...)
		}
		if p := health.Workload(w, j.o.Events, j.o.Now); p != nil {
			problems = append(problems, *p)
		}
		if p := health.Certain(problems); p != nil {
			j.v.Failure = &Failure{Reason: p.Reason, Object: p.Object(), Message: p.Message, Detail: p.Detail, problem: p}
			return true
		}
	}
	return false
}

// image compares what runs with the digest wanted.
func (j *judgement) image() (bool, string) {
	if op := j.app.Status.OperationState; op != nil && (op.Phase == phaseRunning || op.Phase == phaseTerminating) || j.app.Operation != nil {
		return false, "Argo CD is still at work: " + cmp.Or(sentence(op.message()), "it begins an operation")
	}
	for _, w := range j.workloads() {
		if p := health.Workload(w, j.o.Events, j.o.Now); p != nil {
			return false, p.String()
		}
	}
	if j.want.Digest == "" {
		return true, ""
	}
	running, missing := 0, slices.Clone(j.want.Containers)
	for _, pod := range j.v.Result.Pods {
		for _, c := range pod.Containers {
			if pod.Terminating || !j.isImage(c.Image) && !slices.Contains(j.want.Containers, c.Name) {
				continue
			}
			where := fmt.Sprintf("container %s of pod %s/%s", c.Name, pod.Namespace, pod.Name)
			switch {
			case digestOf(c.ImageID) == j.want.Digest && c.Ready && pod.Current:
				running++
				missing = slices.DeleteFunc(missing, func(name string) bool { return name == c.Name })
			case !pod.Current:
				return false, fmt.Sprintf("%s is of an older template and still there", where)
			case digestOf(c.ImageID) == j.want.Digest:
				return false, where + " is not ready"
			case c.ImageID != "" && j.settled():
				j.fail("OtherImage", fmt.Sprintf("%s runs %s, not %s; does the commit name that digest?", where, cmp.Or(digestOf(c.ImageID), c.ImageID), j.want.Digest), "")
				return false, ""
			default:
				return false, fmt.Sprintf("%s runs %s", where, cmp.Or(digestOf(c.ImageID), "nothing yet"))
			}
		}
	}
	if running > 0 && len(missing) == 0 {
		return true, ""
	}
	if running > 0 {
		why := "no pod has a container " + strings.Join(missing, " or ")
		if j.settled() {
			j.fail("OtherImage", why+"; does the commit name it?", "")
			return false, ""
		}
		return false, why + " yet"
	}
	if j.settled() {
		j.fail("OtherImage", fmt.Sprintf("nothing of the Application runs the image %s; does the commit name it?", j.want.Image), "")
		return false, ""
	}
	return false, "no pod runs the image " + j.want.Image + " yet"
}

// settled says that the last operation is so long ago that its pods are what is seen.
func (j *judgement) settled() bool {
	op := j.app.Status.OperationState
	return op == nil || op.FinishedAt != nil && j.o.Now.Sub(op.FinishedAt.Time) > lag
}

func (j *judgement) isImage(s string) bool {
	have, err := imageref.Parse(s)
	if err != nil {
		return false
	}
	want, err := imageref.Parse(j.want.Image)
	return err == nil && have.Name() == want.Name()
}

// digestOf is the digest of an imageID: NAME@sha256:…, or sha256:… of an image that was loaded.
func digestOf(imageID string) string {
	if _, digest, ok := strings.Cut(imageID, "@"); ok {
		return digest
	}
	return imageID
}

// workloads are the Deployments, StatefulSets, DaemonSets and Jobs that the Application has.
func (j *judgement) workloads() []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, w := range j.o.Workloads {
		if slices.ContainsFunc(j.app.Status.Resources, func(r resourceStatus) bool { return r.key() == keyOf(w) }) {
			found = append(found, w)
		}
	}
	slices.SortFunc(found, func(a, b *unstructured.Unstructured) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return found
}

// collect fills in the result.
func (j *judgement) collect() {
	s := j.app.Status
	r := Result{
		Application: j.o.Application.GetName(), Revision: strings.Join(j.app.revisions(), ","),
		Sync: s.Sync.Status, Health: s.Health.Status, Resources: []Resource{}, Pods: []Pod{},
	}
	if op := s.OperationState; op != nil {
		r.Phase, r.OperationRevision = op.Phase, op.revision()
	}
	for _, res := range s.Resources {
		r.Resources = append(r.Resources, Resource{
			Group: res.Group, Kind: res.Kind, Namespace: res.Namespace, Name: res.Name, Sync: res.Status,
			Health: res.Health.Status, Message: res.Health.Message,
		})
	}
	current := map[string]bool{}
	for _, w := range j.workloads() {
		for _, pod := range manifests.Pods(w, j.o.ReplicaSets, j.o.Pods) {
			current[string(pod.UID)] = true
			j.newest = append(j.newest, pod)
		}
	}
	for _, pod := range j.o.Pods {
		if !j.owned(pod) || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		p := Pod{
			Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Terminating: pod.DeletionTimestamp != nil,
			Current: current[string(pod.UID)], Containers: []Container{},
		}
		for _, c := range pod.Spec.Containers {
			container := Container{Name: c.Name, Image: c.Image}
			for _, st := range pod.Status.ContainerStatuses {
				if st.Name == c.Name {
					container.ImageID, container.Ready, container.Restarts = st.ImageID, st.Ready, st.RestartCount
				}
			}
			p.Containers = append(p.Containers, container)
		}
		r.Pods = append(r.Pods, p)
	}
	slices.SortFunc(r.Pods, func(a, b Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	j.v.Result = r
}

// owned says whether a pod belongs to a workload of the Application, in whatever generation, or is one of its objects.
func (j *judgement) owned(pod corev1.Pod) bool {
	owner := metav1.GetControllerOf(&pod)
	if owner == nil {
		key := resourceStatus{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}.key()
		return slices.ContainsFunc(j.app.Status.Resources, func(r resourceStatus) bool { return r.key() == key })
	}
	for _, w := range j.workloads() {
		if w.GetUID() == owner.UID {
			return true
		}
		for _, set := range j.o.ReplicaSets {
			if o := metav1.GetControllerOf(set); o != nil && o.UID == w.GetUID() && set.GetUID() == owner.UID {
				return true
			}
		}
	}
	return false
}

func (j *judgement) unsynced() string {
	var all []string
	for _, r := range j.app.Status.Resources {
		if r.Status != synced && r.Status != "" {
			all = append(all, kube.NameOf(r.Kind, r.Namespace, r.Name)+" is "+r.Status)
		}
	}
	if op := j.app.Status.OperationState; op != nil && op.Phase == phaseRunning {
		all = append(all, "the operation says: "+sentence(op.Message))
	}
	return among(all)
}

func (j *judgement) unhealthy() string {
	var all []string
	for _, pod := range j.newest {
		for _, p := range health.Pod(&pod, j.o.Events, j.o.Now) {
			all = append(all, p.String())
		}
	}
	for _, r := range j.app.Status.Resources {
		if r.Health.Status != "" && r.Health.Status != healthy {
			text := kube.NameOf(r.Kind, r.Namespace, r.Name) + " is " + r.Health.Status
			if r.Health.Message != "" {
				text += " (" + sentence(r.Health.Message) + ")"
			}
			all = append(all, text)
		}
	}
	return among(all)
}

func among(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return ": " + strings.Join(all[:min(4, len(all))], "; ")
}

var hexRevision = regexp.MustCompile(`\b[0-9a-f]{40}\b`)

// short shortens every commit in a text.
func short(s string) string {
	return hexRevision.ReplaceAllStringFunc(s, func(sha string) string { return sha[:12] })
}
