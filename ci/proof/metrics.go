package proof

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

//go:embed prometheus.yaml
var prometheusManifest []byte

// scrapes is how long Prometheus may take to hear of a target and to ask it. The reloader beside it looks at its file every
// three minutes, where it has missed a change that followed another within seconds.
const scrapes = 5 * time.Minute

// The jobs under which Prometheus scrapes the backend: the ServiceMonitor's is named for its Service, the PodMonitor's for
// itself.
const (
	serviceJob = application + "-metrics"
	podJob     = namespace + "/" + application
)

// up is what Prometheus keeps of the backend as a target of a job.
func up(job string) string {
	return fmt.Sprintf("up{namespace=%q,job=%q}", namespace, job)
}

// metricsValues have the backend's metrics scraped by a monitor, and the alert of its absence not wait for long.
func metricsValues(monitor string) map[string]any {
	return map[string]any{"metrics": map[string]any{
		"enabled":        true,
		monitor:          map[string]any{"enabled": true},
		"prometheusRule": map[string]any{"enabled": true, "alerts": map[string]any{"BackstageDown": map[string]any{"for": "10s"}}},
	}}
}

// scraped has Prometheus scrape the backend, by what the chart tells the operator.
func (s *Session) scraped(ctx context.Context) (string, error) {
	images, err := s.install(ctx, "prometheus")
	if err != nil {
		return "", err
	}
	if _, err := s.apply(ctx, prometheusManifest); err != nil {
		return "", err
	}
	if err := s.shape(ctx, "test: show metrics", metricsValues("serviceMonitor")); err != nil {
		return "", err
	}
	series, err := s.scrapedBy(ctx, serviceJob)
	if err != nil {
		return "", err
	}
	// It may have fired before the first scrape.
	if err := s.alert(ctx, ""); err != nil {
		return "", fmt.Errorf("while the portal is there: %w", err)
	}
	return fmt.Sprintf("%s and Prometheus; %s is 1, the backend tells %s series of its own; BackstageDown does not fire", images[0], up(serviceJob), series), nil
}

// podMonitored has a PodMonitor in place of the ServiceMonitor: what went by the Service's job goes by the pods' own.
func (s *Session) podMonitored(ctx context.Context) (string, error) {
	if err := s.tells(ctx, up(podJob), ""); err != nil {
		return "", fmt.Errorf("before there is a PodMonitor: %w", err)
	}
	if err := s.shape(ctx, "test: a PodMonitor instead", metricsValues("podMonitor")); err != nil {
		return "", err
	}
	for _, gone := range []struct{ apiVersion, kind, name string }{
		{"v1", "Service", serviceJob}, {"monitoring.coreos.com/v1", "ServiceMonitor", application},
	} {
		if _, err := s.get(ctx, gone.apiVersion, gone.kind, gone.name); !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("the %s %s is still there (%v)", gone.kind, gone.name, err)
		}
	}
	series, err := s.scrapedBy(ctx, podJob)
	if err != nil {
		return "", err
	}
	if err := until(ctx, scrapes, func(ctx context.Context) error { return s.tells(ctx, up(serviceJob), "") }); err != nil {
		return "", fmt.Errorf("without a ServiceMonitor: %w", err)
	}
	// The alert asks for the PodMonitor's job now: it would fire for the other one.
	if err := s.alert(ctx, ""); err != nil {
		return "", fmt.Errorf("with a PodMonitor: %w", err)
	}
	return fmt.Sprintf("%s is 1, with %s series of the backend's own; %s has ended, the Service %s is gone, and BackstageDown does not fire", up(podJob), series, up(serviceJob), serviceJob), nil
}

// tells says whether Prometheus has a value for a query: nothing where it is to know no such series.
func (s *Session) tells(ctx context.Context, query, want string) error {
	value, err := s.ask(ctx, query)
	if err == nil && value != want {
		err = fmt.Errorf("%s is %q, not %q", query, value, want)
	}
	return err
}

// scrapedBy waits until Prometheus scrapes the backend under a job. It gives how many series the backend tells of its own.
func (s *Session) scrapedBy(ctx context.Context, job string) (series string, err error) {
	if err := until(ctx, scrapes, func(ctx context.Context) error { return s.tells(ctx, up(job), "1") }); err != nil {
		return "", err
	}
	own := fmt.Sprintf(`{namespace=%q,job=%q,__name__=~"http_server_.+|catalog_.+|nodejs_.+"}`, namespace, job)
	if err := until(ctx, scrapes, func(ctx context.Context) (err error) {
		if series, err = s.ask(ctx, "count("+own+")"); err == nil && series == "" {
			err = errors.New("the backend's own metrics are not there")
		}
		return err
	}); err != nil {
		return "", err
	}
	return series, nil
}

// alerted takes the portal away and sees the chart's alert fire, and end when it is back.
func (s *Session) alerted(ctx context.Context) (string, error) {
	values := metricsValues("serviceMonitor")
	values["replicas"] = 0
	revision, err := s.shaped(ctx, "test: take the portal away", values)
	if err != nil {
		return "", err
	}
	if err := s.synced(ctx, revision); err != nil {
		return "", err
	}
	began := time.Now()
	if err := s.alert(ctx, "firing"); err != nil {
		return "", err
	}
	fired := time.Since(began)
	began = time.Now()
	if err := s.shape(ctx, "test: bring the portal back", metricsValues("serviceMonitor")); err != nil {
		return "", err
	}
	if err := s.alert(ctx, ""); err != nil {
		return "", err
	}
	return fmt.Sprintf("BackstageDown of the chart's PrometheusRule fires %.1f s after the portal was taken away, and has ended %.1f s after the commit that brings it back",
		fired.Seconds(), time.Since(began).Seconds()), nil
}

// alert waits until BackstageDown has a state: "firing", or none, where it does not even wait to fire.
func (s *Session) alert(ctx context.Context, want string) error {
	return until(ctx, scrapes, func(ctx context.Context) error {
		state, err := s.alertState(ctx, "BackstageDown")
		if err == nil && state != want {
			err = fmt.Errorf("the state of BackstageDown is %q, not %q", state, want)
		}
		return err
	})
}

// prometheus asks the API of Prometheus, by way of that of Kubernetes.
func (s *Session) prometheus(ctx context.Context, path, key, value string, data any) error {
	request := s.Client.Core.RESTClient().Get().Namespace("proof-monitoring").Resource("pods").Name("prometheus-proof-0:9090").SubResource("proxy").Suffix(path)
	if key != "" {
		request = request.Param(key, value)
	}
	text, err := request.DoRaw(ctx)
	if err != nil {
		// What is wrong with a query is in its answer, and not in the error.
		var refusal struct{ Error string }
		if json.Unmarshal(text, &refusal) == nil && refusal.Error != "" {
			err = errors.New(refusal.Error)
		}
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	return json.Unmarshal(text, &struct{ Data any }{data})
}

// answered is what Prometheus answers to a query: a time and a value for each series.
type answered struct {
	Result []struct{ Value []any }
}

// ask gives the value of a query's first series, nothing where it has none.
func (s *Session) ask(ctx context.Context, query string) (string, error) {
	var data answered
	if err := s.prometheus(ctx, "api/v1/query", "query", query, &data); err != nil {
		return "", err
	}
	if len(data.Result) == 0 || len(data.Result[0].Value) != 2 {
		return "", nil
	}
	return fmt.Sprint(data.Result[0].Value[1]), nil
}

// alertState is "pending" or "firing" where an alert of that name is active for the portal: environments that other parts
// have left behind have the same alerts.
func (s *Session) alertState(ctx context.Context, name string) (string, error) {
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := s.prometheus(ctx, "api/v1/alerts", "", "", &data); err != nil {
		return "", err
	}
	for _, a := range data.Alerts {
		if a.Labels["alertname"] == name && a.Labels["namespace"] == namespace {
			return a.State, nil
		}
	}
	return "", nil
}
