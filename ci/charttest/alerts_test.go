package charttest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
)

// Prometheus' own engine evaluates the alerts on series as kube-state-metrics serves them. The release is backstage in
// backstage-system; a sample every minute, and the alerts are evaluated at the end of two days.
func TestAlerts(t *testing.T) {
	t.Parallel()
	const (
		cron   = `{namespace="backstage-system",cronjob="backstage-backup",job="kube-state-metrics",instance="a"}`
		failed = `{namespace="backstage-system",job_name="backstage-backup-%d",job="kube-state-metrics",instance="a"%s}`
	)
	// seconds since the series began, for hours of them.
	at := func(hours float64) string { return fmt.Sprintf("%.0f", hours*3600) }
	job := func(number int, status string, created float64) string {
		return fmt.Sprintf("kube_job_status_failed"+failed+" %s\nkube_job_created"+failed+" %s\n", number, `,reason="BackoffLimitExceeded"`, status+"x2880", number, "", at(created)+"x2880")
	}
	cases := map[string]struct {
		alert  string
		series string
		fires  bool
	}{
		"a backup that is 27 hours old":          {"BackstageBackupMissed", "kube_cronjob_created" + cron + " 0x2880\nkube_cronjob_status_last_successful_time" + cron + " " + at(21) + "x2880", true},
		"a backup of an hour ago":                {"BackstageBackupMissed", "kube_cronjob_created" + cron + " 0x2880\nkube_cronjob_status_last_successful_time" + cron + " " + at(47) + "x2880", false},
		"an old CronJob that never succeeded":    {"BackstageBackupMissed", "kube_cronjob_created" + cron + " 0x2880", true},
		"a new CronJob that never succeeded":     {"BackstageBackupMissed", "kube_cronjob_created" + cron + " " + at(40) + "x2880", false},
		"another CronJob that never succeeded":   {"BackstageBackupMissed", `kube_cronjob_created{namespace="other",cronjob="backstage-backup"} 0x2880`, false},
		"a failure and no success ever":          {"BackstageBackupFailed", job(1, "1", 40), true},
		"a failure after the last success":       {"BackstageBackupFailed", job(1, "1", 40) + "kube_cronjob_status_last_successful_time" + cron + " " + at(24) + "x2880", true},
		"a failure before the last success":      {"BackstageBackupFailed", job(1, "1", 24) + "kube_cronjob_status_last_successful_time" + cron + " " + at(40) + "x2880", false},
		"a success with a pod that failed":       {"BackstageBackupFailed", job(1, "1", 24) + "kube_cronjob_status_last_successful_time" + cron + " " + at(24.1) + "x2880", false},
		"no failure":                             {"BackstageBackupFailed", job(1, "0", 24), false},
		"a portal that restarts":                 {"BackstageRestarts", restarts("backstage-6d5f8c9b7d-x2x7z"), true},
		"a database that restarts":               {"BackstageRestarts", restarts("backstage-database-0"), false},
		"a portal of another name that restarts": {"BackstageRestarts", restarts("backstage-team-6d5f8c9b7d-x2x7z"), false},
	}
	all := expressions(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := promqltest.LoadedStorage(t, "load 1m\n  "+strings.ReplaceAll(strings.TrimSpace(c.series), "\n", "\n  "))
			engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
			query, err := engine.NewInstantQuery(context.Background(), storage, nil, all[c.alert], time.Unix(48*3600, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer query.Close()
			result, err := query.Exec(context.Background()).Vector()
			if err != nil {
				t.Fatalf("%s: %v", all[c.alert], err)
			}
			if fires := len(result) > 0; fires != c.fires {
				t.Errorf("%s fires: %t, want %t: %v\n%s", c.alert, fires, c.fires, result, all[c.alert])
			}
			if len(result) > 1 {
				t.Errorf("%s fires %d times, not once: %v", c.alert, len(result), result)
			}
		})
	}
}

func restarts(pod string) string {
	return `kube_pod_container_status_restarts_total{namespace="backstage-system",pod="` + pod + `",container="backend"} 0+1x2880`
}
