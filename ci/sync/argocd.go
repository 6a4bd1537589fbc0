package sync

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
)

// application is the part of Argo CD's Application that decides. Importing Argo CD for it would link all of Argo CD.
type application struct {
	Spec struct {
		Source struct {
			RepoURL        string `json:"repoURL"`
			Path           string `json:"path"`
			TargetRevision string `json:"targetRevision"`
		} `json:"source"`
		Destination struct {
			Namespace string `json:"namespace"`
		} `json:"destination"`
	} `json:"spec"`
	// Operation is one that was asked for and not begun.
	Operation map[string]any `json:"operation"`
	Status    struct {
		Sync struct {
			Status    string   `json:"status"`
			Revision  string   `json:"revision"`
			Revisions []string `json:"revisions"`
		} `json:"sync"`
		Health         healthStatus     `json:"health"`
		Conditions     []condition      `json:"conditions"`
		OperationState *operationState  `json:"operationState"`
		Resources      []resourceStatus `json:"resources"`
	} `json:"status"`
}

type healthStatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type condition struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

type operationState struct {
	Phase      string       `json:"phase"`
	Message    string       `json:"message"`
	StartedAt  metav1.Time  `json:"startedAt"`
	FinishedAt *metav1.Time `json:"finishedAt"`
	RetryCount int64        `json:"retryCount"`
	Operation  struct {
		Sync *struct {
			Revision string `json:"revision"`
		} `json:"sync"`
	} `json:"operation"`
	SyncResult *struct {
		Revision  string           `json:"revision"`
		Resources []resourceResult `json:"resources"`
	} `json:"syncResult"`
}

type resourceStatus struct {
	Group     string       `json:"group"`
	Kind      string       `json:"kind"`
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Status    string       `json:"status"`
	Health    healthStatus `json:"health"`
}

type resourceResult struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Status    string `json:"status"`
	Message   string `json:"message"`
	HookPhase string `json:"hookPhase"`
	HookType  string `json:"hookType"`
}

// read takes what it knows of an Application. What does not fit is as if it were not there.
func read(obj *unstructured.Unstructured) application {
	var a application
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &a); err != nil {
		return application{}
	}
	return a
}

func (a application) revisions() []string {
	if a.Status.Sync.Revision != "" {
		return []string{a.Status.Sync.Revision}
	}
	return a.Status.Sync.Revisions
}

func (a application) source() string { return "the chart " + a.Spec.Source.Path }

func (o *operationState) revision() string {
	if o.SyncResult != nil && o.SyncResult.Revision != "" {
		return o.SyncResult.Revision
	}
	if o.Operation.Sync != nil {
		return o.Operation.Sync.Revision
	}
	return ""
}

func (o *operationState) message() string {
	if o == nil {
		return ""
	}
	return o.Message
}

// stuck says of a running operation that it waits to be tried again, or for something to get healthy that may never do
// so: a newer commit may be what heals it, and Argo CD begins no other operation meanwhile. One that applies objects or
// runs hooks is at work.
func (o *operationState) stuck() bool {
	return o.FinishedAt != nil || strings.HasPrefix(o.Message, "waiting for healthy state of ")
}

// reason says why an operation failed: what failed of it, else what it says of itself.
func (o *operationState) reason() string {
	if o.SyncResult != nil {
		for _, r := range o.SyncResult.Resources {
			if r.failed() {
				return r.sentence()
			}
		}
	}
	return explain(o.Message)
}

// hopeless is a part of a running operation that no retry can save.
func (o *operationState) hopeless() *resourceResult {
	if o.SyncResult == nil {
		return nil
	}
	for _, r := range o.SyncResult.Resources {
		if r.hook() && r.failed() || r.failed() && hopeless.MatchString(r.Message) {
			return &r
		}
	}
	return nil
}

// hopeless are the API server's words for an object that it will never take as it is.
var hopeless = regexp.MustCompile(`is invalid:|strict decoding error|cannot be handled as a|unable to decode|field is immutable|violates PodSecurity|admission webhook .* denied|ValidatingAdmissionPolicy|unknown field`)

func (r resourceResult) hook() bool { return r.HookType != "" }

func (r resourceResult) failed() bool {
	return r.Status == "SyncFailed" || r.HookPhase == phaseFailed || r.HookPhase == phaseError
}

func (r resourceResult) word() string {
	if r.hook() {
		return "HookFailed"
	}
	return "SyncFailed"
}

func (r resourceResult) sentence() string {
	what := r.Kind + " " + r.Name
	if r.hook() {
		what = fmt.Sprintf("the %s hook %s", r.HookType, what)
	}
	return what + ": " + explain(r.Message)
}

func (r resourceResult) key() string { return key(r.Group, r.Kind, r.Namespace, r.Name) }

func (r resourceStatus) key() string { return key(r.Group, r.Kind, r.Namespace, r.Name) }

func key(group, kind, namespace, name string) string {
	return strings.Join([]string{group, kind, namespace, name}, "/")
}

func keyOf(obj *unstructured.Unstructured) string {
	return key(obj.GroupVersionKind().Group, obj.GetKind(), obj.GetNamespace(), obj.GetName())
}

// namespaces are those that the Application has objects in, or will have.
func (a application) namespaces() []string {
	all := []string{a.Spec.Destination.Namespace}
	for _, r := range a.Status.Resources {
		all = append(all, r.Namespace)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}

// What Argo CD, its repo server and Helm wrap around the cause.
var wrappings = []*regexp.Regexp{
	regexp.MustCompile(`^Failed to load target state: `),
	regexp.MustCompile(`^failed to generate manifest for source \d+ of \d+: `),
	regexp.MustCompile(`^rpc error: code = \w+ desc = `),
	regexp.MustCompile(`^Manifest generation error \(cached\): `),
	regexp.MustCompile(`^failed to execute helm template command: `),
	regexp.MustCompile(`^failed to get command args to log: `),
	regexp.MustCompile(`^failed running helm: `),
	regexp.MustCompile("(?s)^`helm .*?` failed "),
	regexp.MustCompile(`^(failed )?exit status \d+: `),
	regexp.MustCompile(`^Error: `),
	regexp.MustCompile(`^one or more objects failed to apply, reason: `),
	regexp.MustCompile(`^one or more synchronization tasks are not valid(, reason)?: `),
}

// advice is what Helm adds to errors, for people who run it by hand.
var advice = regexp.MustCompile(`(?s)\s*Use --debug flag to render out invalid YAML.*`)

// explain finds the cause in a message of Argo CD's.
func explain(message string) string {
	s := strings.TrimSpace(message)
	for again := true; again; {
		again = false
		for _, w := range wrappings {
			if t := w.ReplaceAllString(s, ""); t != s {
				s, again = strings.TrimSpace(t), true
			}
		}
	}
	return sentence(advice.ReplaceAllString(s, ""))
}

// transient says of a message that a server was away, which may come back. Helm's own errors name lines and values of the
// chart, and one of these may look like an HTTP status.
func transient(message string) bool {
	// Unimplemented: at the repo-server's address answers what is no repo-server, while its pod is replaced.
	return (health.Transient(message) || strings.Contains(message, "code = Unimplemented")) && !strings.Contains(message, "helm template")
}

// sentence makes one line of a text.
func sentence(s string) string {
	return strings.TrimRight(strings.Join(strings.Fields(s), " "), ".")
}
