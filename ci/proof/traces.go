package proof

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

//go:embed collector.yaml
var collectorManifest []byte

const (
	tracingNamespace = "proof-tracing"
	// traced is a request that nothing else makes.
	traced = "/api/catalog/entities/by-name/component/default/backstage-backend"
	// batched is longer than the backend keeps spans back.
	batched = 8 * time.Second
)

// newCollector runs a collector that has heard nothing: one of an earlier feature goes.
func (s *Session) newCollector(ctx context.Context) ([]*unstructured.Unstructured, error) {
	if err := s.vacate(ctx, tracingNamespace); err != nil {
		return nil, err
	}
	return s.runs(ctx, collectorManifest)
}

// untraced runs a collector, and has a portal without tracing send it nothing. The portal is there first: an earlier feature
// may have left one that sends.
func (s *Session) untraced(ctx context.Context) (string, error) {
	if err := s.shape(ctx, "test: the chart as it was released", nil); err != nil {
		return "", err
	}
	applied, err := s.newCollector(ctx)
	if err != nil {
		return "", err
	}
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	if err := s.unheard(ctx); err != nil {
		return "", fmt.Errorf("without tracing %w", err)
	}
	return fmt.Sprintf("%s has no span %s after a request to %s", manifests.Images(applied)[0], batched, traced), nil
}

// unheard makes a request, and says whether the collector has no span then.
func (s *Session) unheard(ctx context.Context) error {
	if _, err := request(ctx, http.MethodGet, s.Ingress+traced, s.token, nil); err != nil {
		return err
	}
	if err := pause(ctx, batched); err != nil {
		return err
	}
	spans, err := s.collected(ctx)
	if err == nil && len(spans) > 0 {
		err = fmt.Errorf("the collector has %d spans, the first %+v", len(spans), spans[0])
	}
	return err
}

// tracingValues are those of a portal that sends the collector every trace.
func tracingValues() map[string]any {
	return map[string]any{"tracing": map[string]any{"enabled": true, "endpoint": "http://collector." + tracingNamespace + ":4318", "ratio": 1}}
}

// traces has a request to the API arrive at the collector, as a span with its route, by whose trace the backend's log knows
// the request as well.
func (s *Session) traces(ctx context.Context) (string, error) {
	if err := s.shape(ctx, "test: trace requests", tracingValues()); err != nil {
		return "", err
	}
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	found, took, err := s.heard(ctx)
	if err != nil {
		return "", err
	}
	route := found.Attributes["http.route"]
	if !strings.HasPrefix(route, "/api/catalog") {
		return "", fmt.Errorf("the span of %s has the route %q", traced, route)
	}
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	said, err := s.logOf(ctx, namespace, pod.Name, "backend")
	if err != nil {
		return "", err
	}
	if found.Trace == "" || !strings.Contains(said, found.Trace) {
		return "", errors.New("the backend's log does not know the trace " + found.Trace)
	}
	return fmt.Sprintf("a request to %s is the span %q of the service %s with the route %s, at the collector %.1f s later; the backend's log has its trace %s",
		traced, found.Name, found.Service, route, took.Seconds(), found.Trace), nil
}

// heard makes a request, and gives its span at the collector and how long that took to be there.
func (s *Session) heard(ctx context.Context) (found record, took time.Duration, err error) {
	if _, err := request(ctx, http.MethodGet, s.Ingress+traced, s.token, nil); err != nil {
		return record{}, 0, err
	}
	began := time.Now()
	err = until(ctx, arrives, func(ctx context.Context) error {
		spans, err := s.collected(ctx)
		if err != nil {
			return err
		}
		for _, sp := range spans {
			if sp.Service == application && sp.Kind == "Server" && sp.Attributes["url.path"] == traced {
				found = sp
				return nil
			}
		}
		return fmt.Errorf("none of the collector's %d spans is of %s and a request to %s", len(spans), application, traced)
	})
	return found, time.Since(began), err
}

// collected are the spans in the collector's log.
func (s *Session) collected(ctx context.Context) ([]record, error) {
	return s.collectedOf(ctx, "Span")
}

// collectedOf are the records of one kind in the collector's log.
func (s *Session) collectedOf(ctx context.Context, of string) ([]record, error) {
	pod, err := s.podOf(ctx, tracingNamespace, "app=collector")
	if err != nil {
		return nil, err
	}
	said, err := s.logOf(ctx, tracingNamespace, pod.Name, "")
	return slices.DeleteFunc(recordsOf(said), func(r record) bool { return r.Of != of }), err
}

// record is what the collector says of one thing that it was sent.
type record struct {
	// Of is "Span" or "LogRecord".
	Of                               string
	Service, Name, Kind, Trace, Body string
	Attributes                       map[string]string
}

// begun is the first line of a record.
var begun = regexp.MustCompile(`^(Span|LogRecord) #\d+$`)

// recordsOf reads what the collector's debug exporter prints in detail: a resource with its attributes, and then its spans
// or log records with theirs.
func recordsOf(log string) []record {
	var records []record
	var service string
	// What is said of a resource comes before its records.
	var within bool
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		attribute, isAttribute := strings.CutPrefix(key, "-> ")
		begins := begun.FindStringSubmatch(line)
		switch {
		case strings.Contains(line, "ResourceSpans #"), strings.Contains(line, "ResourceLog #"):
			service, within = "", false
		case isAttribute && attribute == "service.name":
			service = inner(value)
		case begins != nil:
			within = true
			records = append(records, record{Of: begins[1], Service: service, Attributes: map[string]string{}})
		case !within:
		case isAttribute:
			records[len(records)-1].Attributes[attribute] = inner(value)
		case key == "Trace ID":
			records[len(records)-1].Trace = value
		case key == "Name":
			records[len(records)-1].Name = value
		case key == "Kind":
			records[len(records)-1].Kind = value
		case key == "Body":
			records[len(records)-1].Body = inner(value)
		}
	}
	return records
}

// inner is the value in TYPE(VALUE).
func inner(text string) string {
	_, value, _ := strings.Cut(text, "(")
	return strings.TrimSuffix(value, ")")
}
