package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

func TestToldAlone(t *testing.T) {
	t.Parallel()
	const dev = "backstage-dev"
	before, well := notice{dev, "Succeeded", "1", "before"}, notice{dev, "Succeeded", "2", "all tasks run"}
	cases := map[string]struct {
		notices []notice
		err     string
	}{
		"told":                  {[]notice{before, well}, ""},
		"nothing":               {nil, "the webhook is not told that the sync of backstage-dev at 2 is Succeeded, but []"},
		"of another commit":     {[]notice{before}, "is not told"},
		"of a failure":          {[]notice{{dev, "Failed", "2", ""}}, "is not told"},
		"of one without":        {[]notice{well, {"backstage", "Succeeded", "2", ""}}, "the webhook is told of backstage, which has no subscription"},
		"of one without a name": {[]notice{{}}, "which has no subscription"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := toldAlone(c.notices, notice{application: dev, phase: "Succeeded", revision: "2"})
			if !strings.Contains(text(err), c.err) || (c.err == "") != (err == nil) || err == nil && got != well {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestNoticesOf(t *testing.T) {
	t.Parallel()
	got := noticesOf([]record{
		{Of: "LogRecord", Service: "other", Body: "a line"},
		{Of: "LogRecord", Service: "argocd-notifications", Body: "done", Attributes: map[string]string{"application": "a", "phase": "Succeeded", "revision": "1"}},
	})
	if want := []notice{{"a", "Succeeded", "1", "done"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// What a webhook is sent is JSON, whatever Argo CD says of an operation, and the triggers are those that are subscribed to.
func TestNotifications(t *testing.T) {
	t.Parallel()
	objects, err := manifests.Decode(strings.NewReader(string(notificationsManifest)))
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := unstructured.NestedStringMap(objects[0].Object, "data")
	if err != nil {
		t.Fatal(err)
	}
	for trigger, services := range subscriptions(t) {
		if data["trigger."+trigger] == "" {
			t.Errorf("there is no trigger %s", trigger)
		}
		for service := range services {
			if data["service.webhook."+service] == "" {
				t.Errorf("there is no service %s", service)
			}
		}
	}
	var sent struct {
		Webhook map[string]struct{ Body string }
	}
	if err := yaml.Unmarshal([]byte(data["template.operation"]), &sent); err != nil {
		t.Fatal(err)
	}
	body, err := template.New("").Funcs(template.FuncMap{"toJson": func(value any) (string, error) {
		text, err := json.Marshal(value)
		return string(text), err
	}}).Parse(sent.Webhook["collector"].Body)
	if err != nil {
		t.Fatal(err)
	}
	const said = "one or more \"tasks\"\nare not valid"
	var made strings.Builder
	told := func(operation map[string]any) {
		t.Helper()
		made.Reset()
		if err := body.Execute(&made, map[string]any{"app": map[string]any{"metadata": map[string]any{"name": "backstage-dev"}, "status": map[string]any{"operationState": operation}}}); err != nil {
			t.Fatal(err)
		}
	}
	// One that failed before there was a revision.
	told(map[string]any{"phase": "Error", "message": said})
	if !json.Valid([]byte(made.String())) {
		t.Errorf("%s is no JSON", made.String())
	}
	told(map[string]any{"phase": "Failed", "message": said, "syncResult": map[string]any{"revision": "1"}})
	var logs struct {
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []struct {
					Body       struct{ StringValue string }
					Attributes []struct {
						Key   string
						Value struct{ StringValue string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(made.String()), &logs); err != nil {
		t.Fatalf("%v\n%s", err, made.String())
	}
	got := logs.ResourceLogs[0].ScopeLogs[0].LogRecords[0]
	if got.Body.StringValue != said || len(got.Attributes) != 3 || got.Attributes[0].Value.StringValue != "backstage-dev" {
		t.Errorf("got %+v", got)
	}
}

// subscriptions are those of the proof, as charts/gitops takes them.
func subscriptions(t *testing.T) map[string]map[string]string {
	t.Helper()
	text := fmt.Sprintf(subscribed, "dev")
	var values struct {
		Notifications map[string]map[string]string
	}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil || len(values.Notifications) != 2 {
		t.Fatalf("%+v, %v", values, err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.Render(t.Context(), filepath.Join("../..", gitopsChart), chart.Release{}, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range rendered.Manifests {
		for trigger := range values.Notifications {
			if m.Kind == "ApplicationSet" && !strings.Contains(m.YAML, "subscribe."+trigger+".collector: \"\"\n") {
				t.Errorf("no subscription to %s:\n%s", trigger, m.YAML)
			}
		}
	}
	return values.Notifications
}
