package chart_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

// Each message names the key and what it wants.
func TestRefusedValues(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		values string
		is     error
		says   []string
	}{
		"unknown key":                           {`{imgae: {}}`, chart.ErrSchema, []string{"imgae", "not allowed"}},
		"unknown key deep down":                 {`{image: {sha: x}}`, chart.ErrSchema, []string{"/image", "sha", "not allowed"}},
		"digest that is none":                   {`{image: {digest: latest}}`, chart.ErrSchema, []string{"/image/digest", "sha256:"}},
		"digest in capitals":                    {`{image: {digest: "sha256:` + strings.Repeat("A", 64) + `"}}`, chart.ErrSchema, []string{"/image/digest"}},
		"tag that is a number":                  {`{image: {tag: 1.10}}`, chart.ErrSchema, []string{"/image/tag", "want string"}},
		"tag with a space":                      {`{image: {tag: "a b"}}`, chart.ErrSchema, []string{"/image/tag"}},
		"no tag":                                {`{image: {tag: null}}`, chart.ErrSchema, []string{"/image", "tag"}},
		"repository with a tag":                 {`{image: {repository: "docker.io/u/n:v1"}}`, chart.ErrSchema, []string{"/image/repository"}},
		"repository with a digest":              {`{image: {repository: "docker.io/u/n@sha256:00"}}`, chart.ErrSchema, []string{"/image/repository"}},
		"repository with a scheme":              {`{image: {repository: "https://docker.io/u/n"}}`, chart.ErrSchema, []string{"/image/repository"}},
		"node port below range":                 {`{service: {nodePort: {enabled: true, port: 29999}}}`, chart.ErrSchema, []string{"/service/nodePort/port", "want 30,000"}},
		"node port above range":                 {`{service: {nodePort: {enabled: true, port: 32768}}}`, chart.ErrSchema, []string{"/service/nodePort/port", "want 32,767"}},
		"node port out of range":                {`{service: {nodePort: {enabled: true, port: 8000}}}`, chart.ErrSchema, []string{"/service/nodePort/port", "want 30,000"}},
		"port out of range":                     {`{service: {ports: [{name: backend, port: 0}, {name: frontend, port: 70000}]}}`, chart.ErrSchema, []string{"/service/ports/0/port", "/service/ports/1/port"}},
		"one port":                              {`{service: {ports: [{name: backend, port: 4001}]}}`, chart.ErrSchema, []string{"/service/ports"}},
		"backend twice":                         {`{service: {ports: [{name: backend, port: 1}, {name: backend, port: 2}]}}`, chart.ErrTemplate, []string{`no port named "frontend"`}},
		"service of another type":               {`{service: {type: ExternalName}}`, chart.ErrSchema, []string{"/service/type"}},
		"env value is a number":                 {`{env: [{name: A, value: 1}]}`, chart.ErrSchema, []string{"/env/0/value", "want string"}},
		"env name":                              {`{env: [{name: "A B", value: x}]}`, chart.ErrSchema, []string{"/env/0/name"}},
		"token in plain text":                   {`{env: [{name: GITHUB_TOKEN, value: x}]}`, chart.ErrTemplate, []string{"githubToken.existingSecret"}},
		"two addresses of the app":              {`{appConfig: {app: {baseUrl: "https://a.example.org"}}}`, chart.ErrTemplate, []string{"BACKSTAGE_BASE_URL", "https://a.example.org", "appConfig.app.baseUrl"}},
		"host that is none":                     {`{ingress: {enabled: true, hosts: ["https://a"]}}`, chart.ErrSchema, []string{"/ingress/hosts/0"}},
		"ingress without a host":                {`{ingress: {enabled: true}}`, chart.ErrTemplate, []string{"ingress.hosts"}},
		"annotation is no string":               {`{ingress: {annotations: {a: true}}}`, chart.ErrSchema, []string{"/ingress/annotations/a", "want string"}},
		"rights without a token":                {`{rbac: {create: true}}`, chart.ErrTemplate, []string{"serviceAccount.automountServiceAccountToken"}},
		"boolean as text":                       {`{serviceAccount: {automountServiceAccountToken: "false"}}`, chart.ErrSchema, []string{"want boolean"}},
		"probe with a handler":                  {`{probes: {startup: {exec: {}}}}`, chart.ErrSchema, []string{"/probes/startup", "exec"}},
		"config is text":                        {`{appConfig: "app: {}"}`, chart.ErrSchema, []string{"/appConfig", "want object"}},
		"address without a scheme":              {`{appConfig: {app: {baseUrl: localhost:8000}}}`, chart.ErrSchema, []string{"/appConfig/app/baseUrl", "https?"}},
		"listen port of the config":             {`{appConfig: {backend: {listen: {port: ":4001"}}}}`, chart.ErrSchema, []string{"/appConfig/backend/listen/port", "want integer"}},
		"host with a port":                      {`{ingress: {enabled: true, hosts: ["a:80"]}}`, chart.ErrSchema, []string{"/ingress/hosts/0"}},
		"host in capitals":                      {`{ingress: {enabled: true, hosts: [Portal]}}`, chart.ErrSchema, []string{"/ingress/hosts/0"}},
		"route host that is none":               {`{httpRoute: {enabled: true, parentRefs: [{name: g}], hostnames: ["a_b"]}}`, chart.ErrSchema, []string{"/httpRoute/hostnames/0"}},
		"route without a gateway":               {`{httpRoute: {enabled: true}}`, chart.ErrTemplate, []string{"httpRoute.parentRefs"}},
		"scaling SQLite in memory":              {`{autoscaling: {enabled: true}}`, chart.ErrTemplate, []string{"autoscaling.enabled", "database.type", "SQLite in memory"}},
		"two pods of SQLite":                    {`{replicas: 2}`, chart.ErrTemplate, []string{"replicas is 2", "database.type", "SQLite in memory"}},
		"fewest above most":                     {`{autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 2}, database: {type: external, existingSecret: s, host: db}}`, chart.ErrTemplate, []string{"autoscaling.minReplicas is 5", "autoscaling.maxReplicas 2"}},
		"nothing to scale by":                   {`{autoscaling: {enabled: true, targetCPUUtilizationPercentage: null}, database: {type: external, existingSecret: s, host: db}}`, chart.ErrTemplate, []string{"autoscaling.targetCPUUtilizationPercentage"}},
		"no pods to scale to":                   {`{autoscaling: {enabled: true, minReplicas: 0}, database: {type: external, existingSecret: s, host: db}}`, chart.ErrSchema, []string{"/autoscaling/minReplicas"}},
		"budget that blocks drains":             {`{podDisruptionBudget: {enabled: true, minAvailable: 1}}`, chart.ErrTemplate, []string{"podDisruptionBudget.minAvailable is 1 of 1", "drained"}},
		"policy closes a bucket in the cluster": {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true, destination: s3, s3: {endpoint: "http://minio.storage.svc:9000", bucket: backups, existingSecret: k}}, networkPolicy: {enabled: true}}`, chart.ErrTemplate, []string{"networkPolicy.objectStore", "minio.storage.svc"}},
		"policy closes a bucket by its address": {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true, destination: s3, s3: {endpoint: "http://10.1.2.3:9000", bucket: backups, existingSecret: k}}, networkPolicy: {enabled: true}}`, chart.ErrTemplate, []string{"networkPolicy.objectStore"}},
		"policy closes all buckets":             {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true, destination: s3, s3: {endpoint: "https://s3.example.org", bucket: backups, existingSecret: k}}, networkPolicy: {enabled: true, https: []}}`, chart.ErrTemplate, []string{"networkPolicy.objectStore"}},
		"policy closes DNS":                     {`{networkPolicy: {enabled: true, dns: []}}`, chart.ErrTemplate, []string{"networkPolicy.dns is empty"}},
		"budget that blocks drains by half":     {`{database: {type: external, existingSecret: s, host: db}, replicas: 1, podDisruptionBudget: {enabled: true, minAvailable: 50%}}`, chart.ErrTemplate, []string{"podDisruptionBudget.minAvailable is 50% of 1", "drained"}},
		"budget that blocks drains by rounding": {`{database: {type: external, existingSecret: s, host: db}, replicas: 3, podDisruptionBudget: {enabled: true, minAvailable: 70%}}`, chart.ErrTemplate, []string{"podDisruptionBudget.minAvailable is 70% of 3"}},
		"budget of nothing":                     {`{database: {type: external, existingSecret: s, host: db}, replicas: 3, podDisruptionBudget: {enabled: true, maxUnavailable: 0}}`, chart.ErrTemplate, []string{"podDisruptionBudget.maxUnavailable is 0 of 3", "larger"}},
		"budget of nothing in percent":          {`{database: {type: external, existingSecret: s, host: db}, replicas: 3, podDisruptionBudget: {enabled: true, maxUnavailable: 0%}}`, chart.ErrTemplate, []string{"podDisruptionBudget.maxUnavailable is 0% of 3"}},
		"budget above all":                      {`{podDisruptionBudget: {enabled: true, maxUnavailable: 150%}}`, chart.ErrSchema, []string{"/podDisruptionBudget/maxUnavailable"}},
		"nobody signs in":                       {`{appConfig: {auth: {providers: {guest: {dangerouslyAllowOutsideDevelopment: false}}}}}`, chart.ErrTemplate, []string{"guest.dangerouslyAllowOutsideDevelopment is false", "nobody could sign in", "appConfig.auth.providers.github.development"}},
		"nobody signs in to this environment":   {`{appConfig: {auth: {providers: {guest: {dangerouslyAllowOutsideDevelopment: false}, github: {production: {clientId: a}}}}}}`, chart.ErrTemplate, []string{"appConfig.auth.environment, \"development\""}},
		"provider that is none":                 {`{appConfig: {auth: {providers: {github: x}}}}`, chart.ErrSchema, []string{"/appConfig/auth/providers/github"}},
		"OAuth secret in plain text":            {`{appConfig: {auth: {providers: {github: {development: {clientId: a, clientSecret: b}}}}}}`, chart.ErrTemplate, []string{"appConfig.auth.providers.github.development.clientSecret", "extraEnvFrom"}},
		"policy closes GitHub":                  {`{networkPolicy: {enabled: true, https: []}, appConfig: {auth: {providers: {github: {development: {clientId: a}}}}}}`, chart.ErrTemplate, []string{"networkPolicy.https", "GitHub"}},
		"strategy of another type":              {`{strategy: {type: Canary}}`, chart.ErrSchema, []string{"/strategy/type", "RollingUpdate"}},
		"database of another type":              {`{database: {type: mysql}}`, chart.ErrSchema, []string{"/database/type", "statefulset"}},
		"database without a Secret":             {`{database: {type: statefulset}}`, chart.ErrTemplate, []string{"database.existingSecret", "username and password"}},
		"external without a host":               {`{database: {type: external, existingSecret: s}}`, chart.ErrTemplate, []string{"database.host"}},
		"host with a scheme":                    {`{database: {host: "postgres://db"}}`, chart.ErrSchema, []string{"/database/host"}},
		"two opinions on the database":          {`{database: {type: external, existingSecret: s, host: db}, appConfig: {backend: {database: {client: better-sqlite3}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.client", "better-sqlite3"}},
		"server without a certificate":          {`{database: {type: statefulset, existingSecret: s, tls: {enabled: true}}}`, chart.ErrTemplate, []string{"database.tls.serverSecret", "backstage-database"}},
		"backup without PostgreSQL":             {`{backup: {enabled: true}}`, chart.ErrTemplate, []string{"backup.enabled wants PostgreSQL", "database.type"}},
		"restore without PostgreSQL":            {`{restore: {from: latest}}`, chart.ErrTemplate, []string{"restore.from wants PostgreSQL", "database.type"}},
		"restore without a backup":              {`{restore: {from: latest}, database: {type: statefulset, existingSecret: s}}`, chart.ErrTemplate, []string{"restore.from wants backup.enabled"}},
		"restore of a path":                     {`{restore: {from: ../etc/passwd}}`, chart.ErrSchema, []string{"/restore/from"}},
		"backup of no authority":                {`{backup: {enabled: true}, database: {type: external, existingSecret: s, host: db, tls: {enabled: true}}}`, chart.ErrTemplate, []string{"database.tls.caSecret"}},
		"bucket without an address":             {`{backup: {enabled: true, destination: s3}, database: {type: statefulset, existingSecret: s}}`, chart.ErrTemplate, []string{"backup.s3.endpoint"}},
		"bucket without keys":                   {`{backup: {enabled: true, destination: s3, s3: {endpoint: "https://s3", bucket: backups}}, database: {type: statefulset, existingSecret: s}}`, chart.ErrTemplate, []string{"backup.s3.existingSecret"}},
		"dump of one database of many":          {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {pluginDivisionMode: database}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.pluginDivisionMode", "backup.enabled", "database.name"}},
		"dump of another server":                {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {connection: {host: other}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.connection.host", "other", "database.host", "backstage-database"}},
		"dump of another port":                  {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {connection: {port: 6432}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.connection.port", "6432", "database.port"}},
		"dump of another database":              {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {connection: {database: other}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.connection.database", "set database.name"}},
		"dump of a connection in text":          {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {connection: "${POSTGRES_URL}"}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.connection is text", "database.host"}},
		"dump of a connection string":           {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {connection: {connectionString: "${POSTGRES_URL}"}}}}}`, chart.ErrTemplate, []string{"connection.connectionString", "database.host"}},
		"dump of all plugins but one":           {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {plugin: {catalog: {connection: {host: other}}}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.plugin", "catalog"}},
		"directory that is not shared":          {`{database: {type: external, existingSecret: s, host: db}, appConfig: {scaffolder: {publishDirectory: /tmp/a}}}`, chart.ErrTemplate, []string{"appConfig.scaffolder.publishDirectory", "Git host"}},
		"backup to tape":                        {`{backup: {destination: tape}}`, chart.ErrSchema, []string{"/backup/destination", "volume"}},
		"backup that keeps nothing":             {`{backup: {keep: 0}}`, chart.ErrSchema, []string{"/backup/keep"}},
		"schedule of four fields":               {`{backup: {schedule: "1 2 3 4"}}`, chart.ErrTemplate, []string{"backup.schedule is", "minute 0-59"}},
		"certificate without issuer":            {`{ingress: {enabled: true, hosts: [a.example.org]}, certManager: {certificate: {enabled: true}}}`, chart.ErrTemplate, []string{"certManager.certificate.issuerRef.name", "certManager.issuer.create"}},
		"certificate without a name":            {`{certManager: {certificate: {enabled: true}, issuer: {create: true}}}`, chart.ErrTemplate, []string{"ingress.hosts", "httpRoute.hostnames"}},
		"authority without issuer":              {`{certManager: {issuer: {acme: {server: "https://acme"}}}}`, chart.ErrTemplate, []string{"certManager.issuer.create"}},
		"issuer of another kind":                {`{certManager: {certificate: {issuerRef: {kind: Authority}}}}`, chart.ErrSchema, []string{"/certManager/certificate/issuerRef/kind"}},
		"store without a name":                  {`{externalSecrets: {enabled: true, secrets: [{name: a, data: {b: {key: c}}}]}}`, chart.ErrTemplate, []string{"externalSecrets.storeRef.name"}},
		"store of nothing":                      {`{externalSecrets: {enabled: true, storeRef: {name: s}}}`, chart.ErrTemplate, []string{"externalSecrets.secrets"}},
		"external secret in plain":              {`{externalSecrets: {secrets: [{name: a, data: {password: hunter2}}]}}`, chart.ErrSchema, []string{"/externalSecrets/secrets/0/data/password", "want object"}},
		"policy closes the ingress":             {`{networkPolicy: {enabled: true}, ingress: {enabled: true, hosts: [a.example.org]}}`, chart.ErrTemplate, []string{"networkPolicy.ingressController"}},
		"policy closes the database":            {`{networkPolicy: {enabled: true}, database: {type: external, existingSecret: s, host: db}}`, chart.ErrTemplate, []string{"networkPolicy.database"}},
		"policy closes the API":                 {`{networkPolicy: {enabled: true}, serviceAccount: {automountServiceAccountToken: true}}`, chart.ErrTemplate, []string{"networkPolicy.kubernetesApi"}},
		"policy closes the metrics":             {`{networkPolicy: {enabled: true}, metrics: {enabled: true}}`, chart.ErrTemplate, []string{"networkPolicy.prometheus"}},
		"policy closes the collector":           {`{networkPolicy: {enabled: true}, tracing: {enabled: true, endpoint: "http://c:4318"}}`, chart.ErrTemplate, []string{"networkPolicy.tracing"}},
		"peer that is everybody":                {`{networkPolicy: {ingressController: [{}]}}`, chart.ErrSchema, []string{"/networkPolicy/ingressController/0"}},
		"alert that is none, yet":               {`{image: {requireDigest: true, digest: ""}, metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true, alerts: {BackstageBackupMissed: {for: 1m}}}}}`, chart.ErrTemplate, []string{"BackstageBackupMissed", "BackstageDown"}},
		"one severity for all alerts, yet":      {`{image: {requireDigest: true, digest: ""}, metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true, alertLabels: {severity: page}}}}`, chart.ErrTemplate, []string{"metrics.prometheusRule.alertLabels.severity"}},
		"dump of all clients but one":           {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {plugin: {catalog: {knexConfig: {}}, search: {client: better-sqlite3}}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.plugin sets search.client,"}},
		"dump of all modes but one":             {`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {plugin: {search: {pluginDivisionMode: database}}}}}}`, chart.ErrTemplate, []string{"search.pluginDivisionMode"}},
		"monitor without metrics":               {`{metrics: {serviceMonitor: {enabled: true}}}`, chart.ErrTemplate, []string{"metrics.serviceMonitor.enabled wants metrics.enabled"}},
		"dashboard without metrics":             {`{metrics: {dashboard: {enabled: true}}}`, chart.ErrTemplate, []string{"metrics.dashboard.enabled wants metrics.enabled"}},
		"both monitors":                         {`{metrics: {enabled: true, serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}}`, chart.ErrTemplate, []string{"metrics.serviceMonitor.enabled", "metrics.podMonitor.enabled"}},
		"rules without a monitor":               {`{metrics: {enabled: true, prometheusRule: {enabled: true}}}`, chart.ErrTemplate, []string{"metrics.prometheusRule.enabled wants"}},
		"alert that is none":                    {`{metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true, alerts: {BackstageBackupMissed: {for: 1m}}}}}`, chart.ErrTemplate, []string{"BackstageBackupMissed", "BackstageDown"}},
		"one severity for all alerts":           {`{metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true, alertLabels: {severity: page}}}}`, chart.ErrTemplate, []string{"metrics.prometheusRule.alertLabels.severity", "metrics.prometheusRule.alerts.NAME.severity"}},
		"another namespace of alerts":           {`{metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true, alertLabels: {namespace: a}}}}`, chart.ErrTemplate, []string{"metrics.prometheusRule.alertLabels.namespace", "the release's namespace"}},
		"backup without time":                   {`{backup: {deadlineSeconds: 0}}`, chart.ErrSchema, []string{"/backup/deadlineSeconds", "want 60"}},
		"metrics on the API's port":             {`{metrics: {enabled: true, port: 4001}}`, chart.ErrTemplate, []string{"metrics.port 4001"}},
		"tracing to nowhere":                    {`{tracing: {enabled: true}}`, chart.ErrTemplate, []string{"tracing.endpoint"}},
		"tracing more than all":                 {`{tracing: {ratio: 2}}`, chart.ErrSchema, []string{"/tracing/ratio"}},
		"no time to end":                        {`{drainSeconds: 30}`, chart.ErrTemplate, []string{"terminationGracePeriodSeconds is 30", "drainSeconds 30"}},
		"config file from nowhere":              {`{extraAppConfig: [{file: a.yaml}]}`, chart.ErrTemplate, []string{"extraAppConfig[0]", "configMap or secret"}},
		"config file from both":                 {`{extraAppConfig: [{file: a.yaml, configMap: a, secret: b}]}`, chart.ErrTemplate, []string{"extraAppConfig[0]"}},
		"config file elsewhere":                 {`{extraAppConfig: [{file: ../a.yaml, configMap: a}]}`, chart.ErrSchema, []string{"/extraAppConfig/0/file"}},
		"token in the extra env":                {`{extraEnv: [{name: GITHUB_TOKEN, value: x}]}`, chart.ErrTemplate, []string{"githubToken.existingSecret"}},
		"token in the config":                   {`{appConfig: {integrations: {github: [{host: github.com, token: ghp_x}]}}}`, chart.ErrTemplate, []string{"appConfig.integrations.github[0].token holds a secret in plain text", "extraEnvFrom"}},
		"password in the config":                {`{appConfig: {backend: {database: {client: pg, connection: {password: hunter2}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.connection.password holds a secret in plain text", "extraEnvFrom"}},
		"number as a password":                  {`{appConfig: {backend: {database: {client: pg, connection: {password: 1234}}}}}`, chart.ErrTemplate, []string{"appConfig.backend.database.connection.password holds a secret in plain text", "extraEnvFrom"}},
		"session secret in the config":          {`{appConfig: {auth: {session: {secret: x}}}}`, chart.ErrTemplate, []string{"appConfig.auth.session.secret holds a secret in plain text", "extraEnvFrom"}},
		"signing key in the config":             {`{appConfig: {integrations: {github: [{host: github.com, apps: [{privateKey: "-----BEGIN"}]}]}}}`, chart.ErrTemplate, []string{"appConfig.integrations.github[0].apps[0].privateKey holds a secret in plain text", "extraEnvFrom"}},
		"client secret in the config":           {`{appConfig: {auth: {providers: {github: {production: {clientSecret: x}}}}}}`, chart.ErrTemplate, []string{"appConfig.auth.providers.github.production.clientSecret holds a secret in plain text", "extraEnvFrom"}},
		"webhook secret in the config":          {`{appConfig: {events: {http: {webhookSecret: x}}}}`, chart.ErrTemplate, []string{"appConfig.events.http.webhookSecret holds a secret in plain text", "extraEnvFrom"}},
		"header with a token":                   {`{appConfig: {proxy: {endpoints: {/ci: {target: "https://ci", headers: {Authorization: Bearer x}}}}}}`, chart.ErrTemplate, []string{"headers.Authorization holds a secret in plain text", "extraEnvFrom"}},
		"header with an API key":                {`{appConfig: {proxy: {endpoints: {/ci: {target: "https://ci", headers: {X-Api-Key: x}}}}}}`, chart.ErrTemplate, []string{"headers.X-Api-Key holds a secret in plain text", "extraEnvFrom"}},
		"access key in the config":              {`{appConfig: {integrations: {awsS3: [{accessKeyId: a, secretAccessKey: x}]}}}`, chart.ErrTemplate, []string{"appConfig.integrations.awsS3[0].secretAccessKey holds a secret in plain text", "extraEnvFrom"}},
		"address with a password":               {`{appConfig: {backend: {cache: {store: redis, connection: "redis://u:hunter2@redis:6379"}}}}`, chart.ErrTemplate, []string{"appConfig.backend.cache.connection holds a secret in plain text", "extraEnvFrom"}},
		"escape that is no variable":            {`{appConfig: {auth: {session: {secret: "$${x}"}}}}`, chart.ErrTemplate, []string{"appConfig.auth.session.secret holds a secret in plain text", "extraEnvFrom"}},
		"account key in the config":             {`{appConfig: {integrations: {azureBlobStorage: [{accountKey: x}]}}}`, chart.ErrTemplate, []string{"azureBlobStorage[0].accountKey holds a secret in plain text", `add "appConfig.integrations.azureBlobStorage[0].accountKey" to notSecret`}},
		"signing key by its name":               {`{appConfig: {custom: {signingKey: x}}}`, chart.ErrTemplate, []string{"appConfig.custom.signingKey holds"}},
		"encryption key in the environment":     {`{extraEnv: [{name: ENCRYPTION_KEY, value: x}]}`, chart.ErrTemplate, []string{"ENCRYPTION_KEY holds a secret", `add "ENCRYPTION_KEY" to notSecret`}},
		"token with a reference behind":         {`{appConfig: {custom: {token: "abc${X}"}}}`, chart.ErrTemplate, []string{"appConfig.custom.token holds"}},
		"scheme with more than a reference":     {`{appConfig: {custom: {authorization: "Bearer abc${X}"}}}`, chart.ErrTemplate, []string{"appConfig.custom.authorization holds"}},
		"half of a password in an address":      {`{appConfig: {custom: {url: "redis://u:p${X}@redis"}}}`, chart.ErrTemplate, []string{"appConfig.custom.url holds"}},
		"another secret than the exception":     {`{notSecret: [appConfig.custom.token], appConfig: {custom: {token: x, other: {token: x}}}}`, chart.ErrTemplate, []string{"appConfig.custom.other.token holds"}},
		"password in the environment":           {`{env: [{name: BACKSTAGE_BASE_URL, value: "http://localhost:8000"}, {name: POSTGRES_PASSWORD, value: x}]}`, chart.ErrTemplate, []string{"env[1] POSTGRES_PASSWORD holds a secret in plain text", "valueFrom.secretKeyRef"}},
		"secret in the environment":             {`{extraEnv: [{name: AUTH_GITHUB_CLIENT_SECRET, value: x}]}`, chart.ErrTemplate, []string{"extraEnv[0] AUTH_GITHUB_CLIENT_SECRET holds a secret in plain text", "valueFrom.secretKeyRef"}},
		"config by the environment":             {`{extraEnv: [{name: APP_CONFIG_auth_session_secret, value: x}]}`, chart.ErrTemplate, []string{"extraEnv[0] APP_CONFIG_auth_session_secret holds a secret in plain text", "valueFrom.secretKeyRef"}},
		"address in the environment":            {`{extraEnv: [{name: DATABASE_URL, value: "postgres://u:p@db/x"}]}`, chart.ErrTemplate, []string{"extraEnv[0] DATABASE_URL holds a secret in plain text", "valueFrom.secretKeyRef"}},
		"secret of a sidecar":                   {`{extraContainers: [{name: a, image: b, env: [{name: API_TOKEN, value: x}]}]}`, chart.ErrTemplate, []string{"extraContainers[0].env[0] API_TOKEN holds a secret in plain text", "valueFrom.secretKeyRef"}},
		"strategy of two minds":                 {`{strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}}`, chart.ErrTemplate, []string{"strategy.type is Recreate", "strategy.rollingUpdate"}},
		"strategy that moves nothing":           {`{strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}}`, chart.ErrTemplate, []string{"strategy.rollingUpdate.maxSurge", "strategy.rollingUpdate.maxUnavailable", "larger"}},
		"two ports of one number":               {`{service: {ports: [{name: backend, port: 80}, {name: frontend, port: 80}]}}`, chart.ErrTemplate, []string{"service.ports", "both on 80"}},
		"outside traffic of an inside":          {`{service: {externalTrafficPolicy: Local}}`, chart.ErrTemplate, []string{"service.externalTrafficPolicy", "NodePort or LoadBalancer"}},
		"sources of no load balancer":           {`{service: {loadBalancerSourceRanges: [203.0.113.0/24]}}`, chart.ErrTemplate, []string{"service.loadBalancerSourceRanges", "set service.type to LoadBalancer"}},
		"certificate renewed at once":           {`{certManager: {certificate: {duration: 24h, renewBefore: 1440m}}}`, chart.ErrTemplate, []string{"certManager.certificate.renewBefore is 1440m", "certManager.certificate.duration 24h", "shorter"}},
		"env with two values":                   {`{extraEnv: [{name: A, value: a, valueFrom: {}}]}`, chart.ErrTemplate, []string{"extraEnv[0] A wants value or valueFrom"}},
		"env without a value":                   {`{env: [{name: A}]}`, chart.ErrTemplate, []string{"env[0] A wants value or valueFrom"}},
		"network that is none":                  {`{networkPolicy: {https: [{ipBlock: {cidr: 300.0.0.0/8}}]}}`, chart.ErrTemplate, []string{"networkPolicy.https[0].ipBlock.cidr is", "192.0.2.0/24"}},
		"network of too many bits":              {`{networkPolicy: {database: [{ipBlock: {cidr: 192.0.2.5/33}}]}}`, chart.ErrTemplate, []string{"networkPolicy.database[0].ipBlock.cidr is", "192.0.2.0/24"}},
		"network of IPv6 that is none":          {`{networkPolicy: {https: [{ipBlock: {cidr: 2001:db8/32}}]}}`, chart.ErrTemplate, []string{"networkPolicy.https[0].ipBlock.cidr is", "192.0.2.0/24"}},
		"exception that is none":                {`{networkPolicy: {https: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0]}}]}}`, chart.ErrTemplate, []string{"networkPolicy.https[0].ipBlock.except[0] is", "192.0.2.0/24"}},
		"source range that is none":             {`{service: {type: LoadBalancer, loadBalancerSourceRanges: [1.2.3/8]}}`, chart.ErrTemplate, []string{"service.loadBalancerSourceRanges[0] is", "192.0.2.0/24"}},
		"schedule of minute 60":                 {`{backup: {schedule: "60 2 * * *"}}`, chart.ErrTemplate, []string{"backup.schedule is", "minute 0-59"}},
		"schedule of weekday 7":                 {`{backup: {schedule: "0 2 * * 7"}}`, chart.ErrTemplate, []string{"backup.schedule is", "minute 0-59"}},
		"schedule of words":                     {`{backup: {schedule: "every day at two o'clock"}}`, chart.ErrTemplate, []string{"backup.schedule is", "minute 0-59"}},
		"log level of its own":                  {`{logLevel: loud}`, chart.ErrSchema, []string{"/logLevel", "debug"}},
		"container without an image":            {`{extraContainers: [{name: a}]}`, chart.ErrSchema, []string{"/extraContainers/0", "image"}},
		"object without a kind":                 {`{extraObjects: [{apiVersion: v1}]}`, chart.ErrSchema, []string{"/extraObjects/0", "kind"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := chart.Render(t.Context(), dir, chart.Release{}, write(t, c.values))
			requireError(t, "Render", err, c.is, "")
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
}

// What is unusual and right is taken.
func TestUnusualValuesAreTaken(t *testing.T) {
	t.Parallel()
	for _, schedule := range []string{"@hourly", "*/5 0-23/2 1,15 JAN-mar Mon-Fri", "00 03 01 12 0", "17 2 * * *", "0,30 * */2 * 6", "0 3 ? * *"} {
		for _, network := range []string{"0.0.0.0/0", "::/0", "2001:db8::/32", "fe80::1/128", "1:2:3:4:5:6:7:8/64", "192.0.2.255/32"} {
			values := write(t, fmt.Sprintf(`{backup: {schedule: %q}, networkPolicy: {https: [{ipBlock: {cidr: %q}}]}}`, schedule, network))
			if _, err := chart.Render(t.Context(), dir, chart.Release{}, values); err != nil {
				t.Error(err)
			}
		}
	}
}

// A section without content is null, as a key whose lines are all commented out. create-app writes `scaffolder:` so.
func TestEmptySectionsAreTaken(t *testing.T) {
	t.Parallel()
	const database = `database: {type: external, existingSecret: s, host: db}`
	cases := map[string]struct{ values, holds string }{
		"scaffolder":           {database + `, appConfig: {scaffolder: null}`, "publishDirectory: null"},
		"scaffolder in memory": {`appConfig: {scaffolder: null}`, ""},
		"database":             {database + `, appConfig: {backend: {database: null}}`, "host: db"},
		"database in memory":   {`appConfig: {backend: {database: null}}`, ""},
		"database with a dump": {database + `, backup: {enabled: true}, appConfig: {backend: {database: null}}`, "host: db"},
		"connection":           {database + `, backup: {enabled: true}, appConfig: {backend: {database: {connection: null}}}`, "host: db"},
		"backend":              {database + `, appConfig: {backend: null}`, "host: db"},
		"listen":               {`metrics: {enabled: true}, appConfig: {backend: {listen: null}}`, ""},
		"app":                  {`appConfig: {app: null}`, ""},
		"cors and csp":         {`env: [], appConfig: {app: {baseUrl: "http://a"}, backend: {cors: null, csp: null}}`, "upgrade-insecure-requests: false"},
		"no csp at all":        {`env: [], appConfig: {app: {baseUrl: "http://a"}, backend: {csp: false}}`, "csp: false"},
		"catalog and proxy":    {`appConfig: {catalog: null, proxy: null}`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered, err := chart.Render(t.Context(), dir, chart.Release{}, write(t, "{"+c.values+"}"))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range rendered.Manifests {
				if strings.Contains(m.YAML, "app-config.yaml: |") && !strings.Contains(m.YAML, c.holds) {
					t.Errorf("%q is not in\n%s", c.holds, m.YAML)
				}
			}
		})
	}
}

// What is no other database, and a bucket that a peer by hand may be.
func TestHarmlessValuesAreTaken(t *testing.T) {
	t.Parallel()
	for _, values := range []string{
		`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, appConfig: {backend: {database: {plugin: {catalog: {knexConfig: {pool: {max: 20}}}, search: null}}}}}`,
		`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true, destination: s3, s3: {endpoint: "https://10.1.2.3", bucket: backups, existingSecret: k}}, networkPolicy: {enabled: true, https: [{ipBlock: {cidr: 10.1.0.0/16}}]}}`,
		`{database: {type: statefulset, existingSecret: s}, backup: {enabled: true, destination: s3, s3: {endpoint: "https://minio.storage.svc", bucket: backups, existingSecret: k}}, networkPolicy: {enabled: true, https: [{namespaceSelector: {}}]}}`,
	} {
		if _, err := chart.Render(t.Context(), dir, chart.Release{}, write(t, values)); err != nil {
			t.Errorf("%s: %v", values, err)
		}
	}
}

// What names a secret, or only sounds like one, is none.
func TestReferencesToSecretsAreTaken(t *testing.T) {
	t.Parallel()
	values := write(t, `
appConfig:
  integrations: {github: [{host: github.com, token: "${GITHUB_TOKEN}"}], gitlab: [{host: gitlab.com, token: {$file: /etc/secrets/gitlab}}]}
  auth: {session: {secret: "${SESSION_SECRET}"}, providers: {github: {production: {clientId: abc, clientSecret: "${SECRET}"}}}}
  proxy: {endpoints: {/ci: {target: "https://ci", headers: {Authorization: "Bearer ${CI_TOKEN}"}}}}
  backend: {cache: {store: redis, connection: "redis://u:${REDIS_PASSWORD}@redis:6379"}, auth: {keys: [{secret: "${KEY}"}]}, csp: {connect-src: ["https:", "wss://*:443,a@b", "wss://a:443,b@c"]}}
  kubernetes: {clusterLocatorMethods: [{type: config, clusters: [{name: a, url: "https://a:6443", authProvider: serviceAccount, serviceAccountToken: "", skipTLSVerify: false}]}]}
  custom: {pagerduty: {authorization: "Token token=${PAGERDUTY}"}, joined: {secret: "${A}-${B}"}, publicKey: abc, sortToken: id, useToken: true, tokenLifetime: 5m, passwordPolicy: strict, secret: null}
extraEnv:
  - {name: REDIS_URL, value: "redis://u:$(REDIS_PASSWORD)@redis"}
  - {name: API_TOKEN, valueFrom: {secretKeyRef: {name: a, key: b}}}
  - {name: TOKEN_FILE, value: /etc/token}
  - {name: OAUTH2_PROXY_PASS_ACCESS_TOKEN, value: "true"}
  - {name: PAGE_TOKEN, value: next}
notSecret: [appConfig.custom.sortToken, PAGE_TOKEN]
`)
	if _, err := chart.Render(t.Context(), dir, chart.Release{}, values); err != nil {
		t.Error(err)
	}
}

// A format that the templates check is checked in every text: nothing that ends a line or a document passes.
func TestHostileFormatsAreRefused(t *testing.T) {
	t.Parallel()
	open := withFile(t, dir, "values.schema.json", "")
	for name, payload := range hostile {
		for _, valid := range []string{"", "192.0.2.0/24", "@daily"} {
			for path, values := range map[string]map[string]any{
				"backup.schedule":                     {"backup": map[string]any{"schedule": valid + payload}},
				"service.loadBalancerSourceRanges[0]": {"service": map[string]any{"type": "LoadBalancer", "loadBalancerSourceRanges": []any{valid + payload}}},
				"networkPolicy.https[0].ipBlock.cidr": {"networkPolicy": map[string]any{"https": []any{map[string]any{"ipBlock": map[string]any{"cidr": valid + payload}}}}},
			} {
				if payload == "" && valid != "" {
					continue
				}
				if _, err := chart.Render(t.Context(), open, chart.Release{}, writeValues(t, values)); err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: %s takes %q: %v", name, path, valid+payload, err)
				}
			}
		}
	}
}

// hostile is what a value must not do: end its line, its string, its document; be a tag, an anchor, a number, a template.
var hostile = map[string]string{
	"newline and key":   "x\ninjected: true",
	"newline and item":  "x\n          - name: injected\n            image: evil",
	"carriage return":   "x\r\ninjected: true",
	"end of document":   "x\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: injected",
	"double quote":      `x" injected: "true`,
	"single quote":      `x' injected: 'true`,
	"flow":              `x, injected: true}`,
	"colon":             "x: injected",
	"comment":           "x #injected",
	"anchor":            "&x injected",
	"alias":             "*x",
	"tag":               "!!binary aW5qZWN0ZWQ=",
	"template":          `{{ fail "injected" }}`,
	"backslashes":       `\", injected: "\n`,
	"boolean":           "yes",
	"null":              "null",
	"number":            "0x1F",
	"exponent":          "1e3",
	"date":              "2026-11-23",
	"block indicator":   "|",
	"percent":           "%YAML 1.1",
	"tab":               "\tx",
	"line separator":    "x\u2028injected: true\u0085injected: true",
	"leading blanks":    "   x\n y\n",
	"only a line break": "\n",
	"control character": "x\u0007\u001b[31m",
	"not in plane zero": "\U0001F600 \u00e9",
	"empty":             "",
}

// everything sets each value that is text, each to text that can be told apart, and switches each object on.
const everything = `
image: {repository: repository, tag: tag, digest: digest, pullPolicy: pullPolicy}
imagePullSecrets: [{name: pullSecret}]
fullnameOverride: fullname
nameOverride: name
commonLabels: {label: commonLabel}
commonAnnotations: {annotation: commonAnnotation}
podDisruptionBudget: {enabled: true, maxUnavailable: maxUnavailable}
strategy: {type: strategy}
service:
  type: type
  annotations: {annotation: serviceAnnotation}
  ipFamilyPolicy: familyPolicy
  ipFamilies: [family]
  externalTrafficPolicy: trafficPolicy
  loadBalancerSourceRanges: [192.0.2.1/32]
  sessionAffinity: sessionAffinity
  nodePort: {enabled: true, port: 30800}
env: [{name: ENV, value: env}, {name: REF, valueFrom: {secretKeyRef: {name: refName, key: refKey}}}]
extraEnv: [{name: EXTRA, value: extra}]
extraEnvFrom: [{secretRef: {name: envFrom}}]
githubToken: {existingSecret: githubSecret, key: githubKey}
appConfig: {app: {title: title, baseUrl: "https://app.example.org"}, backend: {baseUrl: backendUrl}}
extraAppConfig: [{file: file, configMap: configMap}, {file: file2, secret: secret}]
logLevel: logLevel
database:
  type: statefulset
  existingSecret: databaseSecret
  userKey: userKey
  passwordKey: passwordKey
  name: database
  tls: {enabled: true, caSecret: caSecret, caKey: caKey, serverSecret: serverSecret}
  image: {repository: postgres, tag: postgresTag, digest: postgresDigest, pullPolicy: postgresPull}
  statefulset:
    superuser: false
    storage: {size: size, className: storageClass}
    resources: {limits: {memory: memory3}}
    nodeSelector: {label: databaseNode}
    tolerations: [{key: databaseTaint}]
backup:
  enabled: true
  schedule: "@daily"
  timeZone: timeZone
  destination: s3
  s3:
    endpoint: endpoint
    region: region
    bucket: bucket
    prefix: prefix
    existingSecret: bucketSecret
    accessKeyIdKey: idKey
    secretAccessKeyKey: secretKey
    image: {repository: rclone, tag: rcloneTag, digest: rcloneDigest, pullPolicy: rclonePull}
  resources: {limits: {memory: memory4}}
restore: {from: from}
ingress:
  enabled: true
  className: className
  annotations: {annotation: annotation}
  hosts: [host]
  tls: [{secretName: tlsSecret, hosts: [tlsHost]}]
httpRoute:
  enabled: true
  annotations: {annotation: routeAnnotation}
  parentRefs: [{name: gateway, namespace: gateways, sectionName: section}]
  hostnames: [routeHost]
certManager:
  certificate:
    enabled: true
    secretName: certificateSecret
    duration: duration
    renewBefore: renewBefore
    issuerRef: {name: issuer, kind: issuerKind}
  issuer: {create: true, acme: {server: acmeServer, email: acmeEmail}}
externalSecrets:
  enabled: true
  refreshInterval: refresh
  storeRef: {name: store, kind: storeKind}
  secrets: [{name: external, data: {key: {key: remoteKey, property: remoteProperty}}}]
serviceAccount: {name: account, annotations: {annotation: accountAnnotation}, labels: {label: accountLabel}, automountServiceAccountToken: true}
rbac: {create: true}
networkPolicy:
  enabled: true
  ingressController: [{namespaceSelector: {matchLabels: {label: controller}}}]
  prometheus: [{podSelector: {matchLabels: {label: prometheus}}}]
  dns: [{podSelector: {matchLabels: {label: dns}}}]
  https: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.2/32]}}]
  objectStore: [{ipBlock: {cidr: 192.0.2.3/32}}]
  tracing: [{podSelector: {matchLabels: {label: collector}}}]
  kubernetesApi: [{ipBlock: {cidr: 192.0.2.4/32}}]
  extraIngress: [{from: [{ipBlock: {cidr: extraIngress}}]}]
  extraEgress: [{to: [{ipBlock: {cidr: extraEgress}}]}]
metrics:
  enabled: true
  serviceMonitor: {enabled: true, labels: {label: monitor}, interval: interval, relabelings: [{action: relabel}], metricRelabelings: [{action: metricRelabel}]}
  prometheusRule: {enabled: true, labels: {label: rule}, alertLabels: {label: alert}, alerts: {BackstageDown: {for: for, severity: severity}}}
  dashboard: {enabled: true, labels: {label: dashboard}}
tracing: {enabled: true, endpoint: collector}
podAnnotations: {annotation: podAnnotation}
podLabels: {label: podLabel}
podSecurityContext: {seccompProfile: {type: seccomp}}
securityContext: {capabilities: {drop: [capability]}}
tmp: {sizeLimit: sizeLimit}
resources: {backend: {limits: {memory: memory}}, frontend: {limits: {memory: memory2}}}
nodeSelector: {label: node}
tolerations: [{key: taint}]
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: affinityKey}]}}
topologySpreadConstraints: [{topologyKey: spreadKey}]
priorityClassName: priority
hostAliases: [{ip: ip, hostnames: [alias]}]
extraVolumes: [{name: volume}]
extraVolumeMounts: [{name: volume, mountPath: mountPath}]
initContainers: [{name: init, image: initImage}]
extraContainers: [{name: sidecar, image: sidecarImage}]
extraObjects: [{apiVersion: v1, kind: Thing, metadata: {name: thing}, text: objectText}]
`

// choices decide what is rendered, and the schema lists what they may be; or they have a format that the templates check
// themselves.
var choices = map[string]bool{
	"/database/type": true, "/backup/destination": true, "/strategy/type": true,
	"/extraObjects/0/apiVersion": true, "/extraObjects/0/kind": true,
	"/certManager/certificate/issuerRef/kind": true, "/externalSecrets/storeRef/kind": true,
	"/backup/schedule": true, "/service/loadBalancerSourceRanges/0": true,
	"/networkPolicy/https/0/ipBlock/cidr": true, "/networkPolicy/https/0/ipBlock/except/0": true,
	"/networkPolicy/objectStore/0/ipBlock/cidr": true, "/networkPolicy/kubernetesApi/0/ipBlock/cidr": true,
}

// The schema refuses most of this; here it is taken away, as `helm --skip-schema-validation` would. Whatever a value
// holds, it stays the text of the fields it is meant for: every document keeps its keys, its lists and its types.
func TestHostileValuesInjectNothing(t *testing.T) {
	t.Parallel()
	open := withFile(t, dir, "values.schema.json", "")
	base := map[string]any{}
	if err := yaml.Unmarshal([]byte(everything), &base); err != nil {
		t.Fatal(err)
	}
	want := shape(t, render(t, open, base))
	for name, payload := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if payload == "" {
				return // leaves fields out, rightly
			}
			// All at once, and one by one only to say which it is.
			keeps := func(values map[string]any) error {
				rendered, err := chart.Render(t.Context(), open, chart.Release{}, writeValues(t, values))
				if err != nil {
					return err
				}
				if got := shape(t, rendered); !reflect.DeepEqual(got, want) {
					return errors.New("it changes what is rendered")
				}
				return nil
			}
			if keeps(replaced(base, func(path, _ string) string {
				if path == "/httpRoute/hostnames/0" {
					return payload + "x" // the same host twice is certified once
				}
				return payload
			})) == nil {
				return
			}
			for _, path := range leaves(base) {
				err := keeps(replaced(base, func(at, text string) string {
					if at == path {
						return payload
					}
					return text
				}))
				if err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		})
	}
}

// A value that is quoted, indented or printed the wrong way arrives as another text.
func TestTextArrivesAsItIs(t *testing.T) {
	t.Parallel()
	open := withFile(t, dir, "values.schema.json", "")
	base := map[string]any{}
	if err := yaml.Unmarshal([]byte(everything), &base); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"newline and key", "double quote", "single quote", "colon", "template", "backslashes", "leading blanks", "control character"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := func(path, _ string) string { return hostile[name] + path }
			rendered := render(t, open, replaced(base, text))
			texts := scalars(documents(t, rendered))
			for path := range verbatim {
				if !texts[text(path, "")] {
					t.Errorf("%s is not %q in what is rendered", path, text(path, ""))
				}
			}
		})
	}
}

// verbatim are the values that arrive as they are; the others are cut to a length or joined to a longer text.
var verbatim = map[string]bool{
	"/env/0/value": true, "/appConfig/app/title": true, "/ingress/className": true, "/ingress/hosts/0": true,
	"/ingress/annotations/annotation": true, "/podAnnotations/annotation": true, "/githubToken/key": true,
	"/serviceAccount/name": true, "/tmp/sizeLimit": true, "/image/pullPolicy": true, "/service/type": true,
	"/commonLabels/label": true, "/commonAnnotations/annotation": true, "/extraEnv/0/value": true, "/logLevel": true,
	"/database/existingSecret": true, "/database/userKey": true, "/database/passwordKey": true, "/database/name": true,
	"/database/tls/serverSecret": true, "/database/statefulset/storage/size": true,
	"/database/statefulset/storage/className": true, "/backup/timeZone": true,
	"/backup/s3/endpoint": true, "/backup/s3/region": true, "/backup/s3/existingSecret": true, "/restore/from": true,
	"/httpRoute/hostnames/0": true, "/httpRoute/parentRefs/0/name": true, "/certManager/certificate/secretName": true,
	"/certManager/certificate/duration": true, "/certManager/certificate/issuerRef/name": true,
	"/certManager/issuer/acme/server": true, "/certManager/issuer/acme/email": true, "/externalSecrets/refreshInterval": true,
	"/externalSecrets/storeRef/name": true, "/externalSecrets/secrets/0/name": true,
	"/externalSecrets/secrets/0/data/key/property":                           true,
	"/networkPolicy/ingressController/0/namespaceSelector/matchLabels/label": true,
	"/metrics/serviceMonitor/interval":                                       true, "/metrics/prometheusRule/alerts/BackstageDown/for": true,
	"/metrics/prometheusRule/alerts/BackstageDown/severity": true, "/tracing/endpoint": true, "/priorityClassName": true,
	"/hostAliases/0/hostnames/0": true, "/initContainers/0/image": true, "/extraObjects/0/text": true,
}

// leaves lists the paths of every text in the values.
func leaves(values map[string]any) []string {
	var found []string
	replaced(values, func(path, text string) string {
		found = append(found, path)
		return text
	})
	return found
}

// replaced is a copy of the values in which every text but the choices is another.
func replaced(values map[string]any, text func(path, before string) string) map[string]any {
	var walk func(node any, path string) any
	walk = func(node any, path string) any {
		switch node := node.(type) {
		case map[string]any:
			out := map[string]any{}
			for key, child := range node {
				out[key] = walk(child, path+"/"+key)
			}
			return out
		case []any:
			out := make([]any, len(node))
			for i, child := range node {
				out[i] = walk(child, fmt.Sprintf("%s/%d", path, i))
			}
			return out
		case string:
			if choices[path] {
				return node
			}
			return text(path, node)
		}
		return node
	}
	return walk(values, "").(map[string]any)
}

func writeValues(t *testing.T, values map[string]any) string {
	t.Helper()
	content, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func render(t *testing.T, chartDir string, values map[string]any) chart.Rendered {
	t.Helper()
	rendered, err := chart.Render(t.Context(), chartDir, chart.Release{}, writeValues(t, values))
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// documents parses what is rendered, app-config.yaml inside its ConfigMap included.
func documents(t *testing.T, rendered chart.Rendered) []any {
	t.Helper()
	var all []any
	for _, m := range rendered.Manifests {
		var document map[string]any
		if err := yaml.UnmarshalStrict([]byte(m.YAML), &document); err != nil {
			t.Fatalf("%s: %v\n%s", m.Template, err, m.YAML)
		}
		if m.Kind == "ConfigMap" {
			data := document["data"].(map[string]any)
			if text, ok := data["app-config.yaml"].(string); ok {
				var config map[string]any
				if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
					t.Fatalf("app-config.yaml: %v\n%s", err, m.YAML)
				}
				data["app-config.yaml"] = config
			}
		}
		all = append(all, document)
	}
	return all
}

// shape is what is rendered with each scalar replaced by its type. The kind, whose text the templates own, stays.
func shape(t *testing.T, rendered chart.Rendered) any {
	t.Helper()
	var outline func(node any) any
	outline = func(node any) any {
		switch node := node.(type) {
		case map[string]any:
			out := map[string]any{}
			for key, child := range node {
				if out[key] = outline(child); key == "kind" {
					out[key] = child
				}
			}
			return out
		case []any:
			out := make([]any, len(node))
			for i, child := range node {
				out[i] = outline(child)
			}
			return out
		default:
			return reflect.TypeOf(node)
		}
	}
	return outline(documents(t, rendered))
}

// scalars are the texts of what is rendered.
func scalars(documents []any) map[string]bool {
	found := map[string]bool{}
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		case string:
			found[node] = true
		}
	}
	walk(documents)
	return found
}
