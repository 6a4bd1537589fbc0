package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

// Logs is what was gathered of a cluster.
type Logs struct {
	// Dir is the folder; Files are in it, with / between folders.
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
	// Problems are the objects that are not healthy, the certain ones first.
	Problems []health.Problem `json:"problems"`
	// Missing says what could not be gathered, and why.
	Missing []string `json:"missing,omitempty"`
}

// Files that CollectLogs writes beside those of the nodes. MissingFile is there only if something could not be gathered.
const (
	EventsFile    = "events.txt"
	UnhealthyFile = "unhealthy.yaml"
	ProblemsFile  = "problems.json"
	MissingFile   = "missing.txt"
)

// CollectLogs gathers what can be found out about a cluster: the logs of its nodes and their pods, all events, and each
// object that is not healthy with the reason. What cannot be gathered is named in the result: a cluster whose API does
// not answer still has logs.
func CollectLogs(ctx context.Context, name, server, dir string) (*Logs, error) {
	provider, _, err := find(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("collect logs: %w", err)
	}
	l := &Logs{Dir: dir, Problems: []health.Problem{}}
	if err := provider.CollectLogs(name, dir); err != nil {
		for _, e := range aggregated(err) {
			l.Missing = append(l.Missing, "node logs: "+explain(e).Error())
		}
	}
	if err := l.fromAPI(ctx, provider.KubeConfig, name, cmp.Or(server, DefaultServer)); err != nil {
		l.Missing = append(l.Missing, "events and objects: "+err.Error())
	}
	if len(l.Missing) > 0 {
		if err := os.WriteFile(filepath.Join(dir, MissingFile), []byte(strings.Join(l.Missing, "\n")+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("collect logs: %w", err)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		l.Files = append(l.Files, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("collect logs: %w", err)
	}
	return l, nil
}

func (l *Logs) fromAPI(ctx context.Context, kubeconfig func(string, bool) (string, error), name, server string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	text, err := kubeconfig(name, false)
	if err != nil {
		return explain(err)
	}
	pointed, err := pointAt(text, server)
	if err != nil {
		return err
	}
	client, err := connectTo(pointed)
	if err != nil {
		return err
	}
	return l.inspect(ctx, client, time.Now())
}

// inspect writes events and unhealthy objects.
func (l *Logs) inspect(ctx context.Context, client *kube.Client, now time.Time) error {
	list := func(r schema.GroupVersionResource) ([]*unstructured.Unstructured, error) {
		found, err := client.Dynamic.Resource(r).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, kube.Unreachable(err)
		}
		var objs []*unstructured.Unstructured
		for i := range found.Items {
			objs = append(objs, &found.Items[i])
		}
		return objs, nil
	}
	objs, err := list(kube.Events)
	if err != nil {
		return err
	}
	events := kube.As[corev1.Event](objs)
	if err := os.WriteFile(filepath.Join(l.Dir, EventsFile), []byte(eventTable(events)), 0o644); err != nil {
		return err
	}
	var unhealthy []*unstructured.Unstructured
	for _, r := range []schema.GroupVersionResource{kube.Nodes, kube.Deployments, kube.StatefulSets, kube.DaemonSets, kube.Jobs, kube.Pods} {
		objs, err := list(r)
		if err != nil {
			return err
		}
		for _, obj := range objs {
			if problems := problemsOf(obj, events, now); len(problems) > 0 {
				l.Problems = append(l.Problems, problems...)
				obj.SetManagedFields(nil)
				unhealthy = append(unhealthy, obj)
			}
		}
	}
	slices.SortStableFunc(l.Problems, func(a, b health.Problem) int {
		switch {
		case a.Certain == b.Certain:
			return strings.Compare(a.String(), b.String())
		case a.Certain:
			return -1
		}
		return 1
	})
	problems, err := json.MarshalIndent(l.Problems, "", "  ")
	if err != nil {
		return err
	}
	var described strings.Builder
	for _, obj := range unhealthy {
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			return err
		}
		described.WriteString("---\n")
		described.Write(text)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(l.Dir, ProblemsFile), append(problems, '\n'), 0o644),
		os.WriteFile(filepath.Join(l.Dir, UnhealthyFile), []byte(described.String()), 0o644),
	)
}

func problemsOf(obj *unstructured.Unstructured, events []corev1.Event, now time.Time) []health.Problem {
	switch obj.GetKind() {
	case "Pod":
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &pod); err != nil {
			return nil
		}
		return health.Pod(&pod, events, now)
	case "Node":
		var node corev1.Node
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &node); err != nil {
			return nil
		}
		if p := health.Node(&node); p != nil {
			return []health.Problem{*p}
		}
		return nil
	}
	if p := health.Workload(obj, events, now); p != nil {
		return []health.Problem{*p}
	}
	return nil
}

// eventTable lists events, oldest first, as kubectl get events does.
func eventTable(events []corev1.Event) string {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return health.EventTime(a).Compare(health.EventTime(b)) })
	var b strings.Builder
	for _, e := range events {
		count := max(1, e.Count)
		if e.Series != nil {
			count = max(count, e.Series.Count)
		}
		fmt.Fprintf(&b, "%s  %-7s  %-24s  %s  x%d  %s\n", health.EventTime(e).UTC().Format(time.RFC3339), e.Type, e.Reason,
			kube.NameOf(e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name), count, strings.Join(strings.Fields(e.Message), " "))
	}
	return b.String()
}
