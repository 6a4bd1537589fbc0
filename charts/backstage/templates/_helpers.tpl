{{- define "backstage.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "backstage.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A name with a suffix, still at most 63 characters: "backstage.suffixed" (list . "nodeport"). 52 for a StatefulSet and a
CronJob, to whose names Kubernetes adds eleven.
*/}}
{{- define "backstage.suffixed" -}}
{{- $suffix := index . 1 }}
{{- $longest := ternary 51 62 (has $suffix (list "database" "backup")) }}
{{- printf "%s-%s" (include "backstage.fullname" (index . 0) | trunc (int (sub $longest (len $suffix))) | trimSuffix "-") $suffix }}
{{- end }}

{{/* The portal's pods. Services and the Deployment select by these, so they never change. */}}
{{- define "backstage.selectorLabels" -}}
app.kubernetes.io/name: {{ include "backstage.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Pods beside the portal's, which its Services must not select: "backstage.partLabels" (list . "database"). */}}
{{- define "backstage.partLabels" -}}
{{- $part := index . 1 -}}
app.kubernetes.io/name: {{ printf "%s-%s" (include "backstage.name" (index . 0) | trunc (int (sub 62 (len $part)))) $part | quote }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
{{- end }}

{{/*
Labels of every object. An image tag may be twice as long as a label value, and may begin or end with what a label
value may not.
*/}}
{{- define "backstage.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
{{- with .Values.image.tag | toString | trunc 63 | trimAll "-_." }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
app.kubernetes.io/part-of: backstage-gitops
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{/*
The metadata of an object: "backstage.metadata" (dict "root" . "name" "…" "part" "database" "labels" dict "annotations"
dict), of which all but root may be left out. The chart's own win over those of the values.
*/}}
{{- define "backstage.metadata" -}}
{{- $labels := merge (include "backstage.labels" .root | fromYaml) (default dict .labels) .root.Values.commonLabels }}
{{- with .part }}
{{- $labels = include "backstage.partLabels" (list $.root .) | fromYaml | mergeOverwrite $labels }}
{{- else }}
{{- $labels = include "backstage.selectorLabels" .root | fromYaml | mergeOverwrite $labels }}
{{- end -}}
name: {{ default (include "backstage.fullname" .root) .name | quote }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "backstage.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "backstage.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image's name, "backstage.image" .Values.image. */}}
{{- define "backstage.image" -}}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (toString .tag) }}
{{- end }}
{{- end }}

{{/* Whether the portal may not run yet: there is no image that cannot be exchanged for another. */}}
{{- define "backstage.unreleased" -}}
{{- if and .Values.image.requireDigest (not .Values.image.digest) }}true{{ end }}
{{- end }}

{{/* The port of the Service under a name: "backstage.servicePort" (list . "backend"). */}}
{{- define "backstage.servicePort" -}}
{{- $name := index . 1 }}
{{- range (index . 0).Values.service.ports }}
{{- if eq .name $name }}{{ int .port }}{{ end }}
{{- end }}
{{- end }}

{{/*
What a configuration has at a path, as text; nothing if a section on the way is empty or missing:
"backstage.config" (list .Values.appConfig "backend" "database" "client").
*/}}
{{- define "backstage.config" -}}
{{- $node := first . }}
{{- range $key := rest . }}
{{- if kindIs "map" $node }}{{ $node = get $node $key }}{{ else }}{{ $node = "" }}{{ end }}
{{- end }}
{{- with $node }}{{ toString . }}{{ end }}
{{- end }}

{{/*
app-config.yaml as mounted: the database, the values as they are, and leave for the app to call the API from its
address. The image gives that leave to http://localhost:8000 only. A browser that comes by plain http must not be told
to take https for everything else, which Backstage's default policy does.
*/}}
{{- define "backstage.appConfig" -}}
{{- $config := deepCopy .Values.appConfig }}
{{- /* An empty section would win over what the chart has for it. */}}
{{- if not (include "backstage.inMemory" .) }}
{{- range $path := list (list "scaffolder") (list "backend") (list "backend" "database") (list "backend" "database" "connection") }}
{{- $section := $config }}
{{- range $key := initial $path }}{{ $section = ternary (get $section $key) dict (kindIs "map" (get $section $key)) }}{{ end }}
{{- if kindIs "invalid" (get $section (last $path)) }}{{ $_ := unset $section (last $path) }}{{ end }}
{{- end }}
{{- end }}
{{- with include "backstage.databaseConfig" . | fromYaml }}
{{- $config = mergeOverwrite (dict "backend" (dict "database" .)) $config }}
{{- end }}
{{- $baseUrl := include "backstage.config" (list $config "app" "baseUrl") | default "http://localhost:8000" }}
{{- if and (ne (trimSuffix "/" $baseUrl) "http://localhost:8000") (not (include "backstage.config" (list $config "backend" "cors"))) }}
{{- $origin := regexFind "^https?://[^/]+" $baseUrl | default $baseUrl }}
{{- $_ := mergeOverwrite $config (dict "backend" (dict "cors" (dict "origin" $origin))) }}
{{- end }}
{{- $backend := ternary $config.backend dict (kindIs "map" $config.backend) }}
{{- $csp := ternary $backend.csp dict (kindIs "map" $backend.csp) }}
{{- if and (hasPrefix "http://" $baseUrl) (not (hasPrefix "http://localhost" $baseUrl)) (not (kindIs "bool" $backend.csp)) (not (hasKey $csp "upgrade-insecure-requests")) }}
{{- $_ := mergeOverwrite $config (dict "backend" (dict "csp" (dict "upgrade-insecure-requests" false))) }}
{{- end }}
{{- /* A directory of each pod for itself, in a catalog that all pods share: each would take out what the others put in. */}}
{{- if not (include "backstage.inMemory" .) }}
{{- $config = mergeOverwrite (dict "scaffolder" (dict "publishDirectory" nil)) $config }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/*
What Backstage reads again while it runs is no reason to roll the pods. Everything else is: the backend reads it once,
and the app gets its part when the frontend container starts. A location's rules are of what is read once, and they are
known by the location's type and target.
*/}}
{{- define "backstage.appConfigChecksum" -}}
{{- $config := include "backstage.appConfig" . | fromYaml }}
{{- range $key, $reloaded := dict "catalog" "locations" "proxy" "endpoints" }}
{{- $section := get $config $key }}
{{- if kindIs "map" $section }}
{{- $kept := list }}
{{- range $location := ternary (get $section $reloaded) list (kindIs "slice" (get $section $reloaded)) }}
{{- if and (kindIs "map" $location) (get $location "rules") }}{{ $kept = append $kept $location }}{{ end }}
{{- end }}
{{- $_ := unset $section $reloaded }}
{{- with $kept }}{{ $_ := set $section $reloaded . }}{{ end }}
{{- if not $section }}{{ $_ := unset $config $key }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $config | sha256sum }}
{{- end }}

{{/*
The providers of appConfig but the guest that people can sign in with, as a list. The settings of GitHub, the one in the
image, are by environment.
*/}}
{{- define "backstage.signInProviders" -}}
{{- $auth := default dict .Values.appConfig.auth }}
{{- $names := list }}
{{- range $name, $settings := default dict $auth.providers }}
{{- if and $settings (ne $name "guest") }}
{{- if or (ne $name "github") (get $settings (default "development" $auth.environment)) }}
{{- $names = append $names $name }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $names }}
{{- end }}

{{/* The environment of one of the two containers, as a list: "backstage.env" (dict "root" . "role" "backend"). */}}
{{- define "backstage.env" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
{{- $env := $values.env }}
{{- with $values.logLevel }}
{{- $env = append $env (dict "name" "LOG_LEVEL" "value" .) }}
{{- end }}
{{- if eq .role "backend" }}
{{- with $values.githubToken }}
{{- if .existingSecret }}
{{- $env = append $env (dict "name" "GITHUB_TOKEN" "valueFrom" (dict "secretKeyRef" (dict "name" .existingSecret "key" .key))) }}
{{- end }}
{{- end }}
{{- with $values.database }}
{{- if ne .type "memory" }}
{{- range $name, $key := dict "POSTGRES_USER" .userKey "POSTGRES_PASSWORD" .passwordKey }}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" (dict "name" $values.database.existingSecret "key" $key))) }}
{{- end }}
{{- end }}
{{- end }}
{{- $env = concat $env (include "backstage.telemetryEnv" $root | fromYamlArray) $values.extraEnv }}
{{- end }}
{{- toYaml $env }}
{{- end }}

{{/* OpenTelemetry's own names, so that an image which knows OpenTelemetry knows them. */}}
{{- define "backstage.telemetryEnv" -}}
{{- if or .Values.metrics.enabled .Values.tracing.enabled }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_SERVICE_NAME
  value: {{ include "backstage.fullname" . | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ printf "k8s.namespace.name=%s,k8s.pod.name=$(POD_NAME)" .Release.Namespace | quote }}
# The names of HTTP metrics that do not change any more.
- name: OTEL_SEMCONV_STABILITY_OPT_IN
  value: http
- name: OTEL_LOGS_EXPORTER
  value: none
- name: OTEL_METRICS_EXPORTER
  value: {{ ternary "prometheus" "none" .Values.metrics.enabled }}
{{- if .Values.metrics.enabled }}
- name: OTEL_EXPORTER_PROMETHEUS_HOST
  value: 0.0.0.0
- name: OTEL_EXPORTER_PROMETHEUS_PORT
  value: {{ .Values.metrics.port | toString | quote }}
{{- end }}
- name: OTEL_TRACES_EXPORTER
  value: {{ ternary "otlp" "none" .Values.tracing.enabled }}
{{- if .Values.tracing.enabled }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: http/protobuf
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.tracing.endpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.tracing.ratio | toString | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Extra containers, hardened like the chart's own where they say nothing else: "backstage.hardened" (list . list). */}}
{{- define "backstage.hardened" -}}
{{- $defaults := (index . 0).Values.securityContext }}
{{- range index . 1 }}
{{- $context := deepCopy (default dict .securityContext) }}
{{- range $key, $value := $defaults }}
{{- if not (hasKey $context $key) }}{{ $_ := set $context $key $value }}{{ end }}
{{- end }}
- {{ set (deepCopy .) "securityContext" $context | toYaml | indent 2 | trim }}
{{- end }}
{{- end }}

{{/* One of the two containers: "backstage.container" (dict "root" . "role" "backend" "port" 4001). */}}
{{- define "backstage.container" -}}
{{- $backend := eq .role "backend" }}
{{- $values := .root.Values }}
name: {{ .role }}
image: {{ include "backstage.image" $values.image | quote }}
{{- with $values.image.pullPolicy }}
imagePullPolicy: {{ . | quote }}
{{- end }}
args:
  - {{ .role }}
  - --config
  - /app/app-config.yaml
  - --config
  - /app/app-config.production.yaml
  - --config
  - /etc/backstage/app-config.yaml
  {{- range $i, $extra := $values.extraAppConfig }}
  {{- if or $backend $extra.configMap }}
  - --config
  - {{ printf "/etc/backstage-extra/%d/%s" $i $extra.file | quote }}
  {{- end }}
  {{- end }}
{{- with include "backstage.env" . | fromYamlArray }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and $backend $values.extraEnvFrom }}
envFrom:
  {{- toYaml $values.extraEnvFrom | nindent 2 }}
{{- end }}
ports:
  - name: {{ .role }}
    containerPort: {{ int .port }}
    protocol: TCP
  {{- if and $backend $values.metrics.enabled }}
  - name: metrics
    containerPort: {{ int $values.metrics.port }}
    protocol: TCP
  {{- end }}
startupProbe:
  httpGet:
    path: /.backstage/health/v1/readiness
    port: {{ .role }}
  {{- toYaml $values.probes.startup | nindent 2 }}
readinessProbe:
  httpGet:
    path: /.backstage/health/v1/readiness
    port: {{ .role }}
  {{- toYaml $values.probes.readiness | nindent 2 }}
livenessProbe:
  httpGet:
    path: /.backstage/health/v1/liveness
    port: {{ .role }}
  {{- toYaml $values.probes.liveness | nindent 2 }}
{{- with $values.drainSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int . }}
{{- end }}
{{- with get $values.resources .role }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  # A directory, not a subPath: a subPath mount never sees a change of the ConfigMap.
  - name: app-config
    mountPath: /etc/backstage
    readOnly: true
  {{- range $i, $extra := $values.extraAppConfig }}
  {{- if or $backend $extra.configMap }}
  - name: extra-app-config-{{ $i }}
    mountPath: /etc/backstage-extra/{{ $i }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if include "backstage.databaseCA" .root }}
  # Both containers read the config file that names it.
  - name: database-ca
    mountPath: /etc/backstage-database
    readOnly: true
  {{- end }}
  - name: tmp-{{ .role }}
    mountPath: /tmp
  {{- if $backend }}
  {{- if $values.serviceAccount.automountServiceAccountToken }}
  - name: kube-api-access
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The host names that the portal is reached by, as a list. */}}
{{- define "backstage.hosts" -}}
{{- $hosts := list }}
{{- if .Values.ingress.enabled }}{{ $hosts = concat $hosts .Values.ingress.hosts }}{{ end }}
{{- if .Values.httpRoute.enabled }}{{ $hosts = concat $hosts .Values.httpRoute.hostnames }}{{ end }}
{{- toYaml (uniq $hosts) }}
{{- end }}

{{- define "backstage.certificateSecret" -}}
{{- default (include "backstage.suffixed" (list . "tls")) .Values.certManager.certificate.secretName }}
{{- end }}

{{/* The Ingress' TLS, as a list. */}}
{{- define "backstage.ingressTLS" -}}
{{- if .Values.ingress.tls }}
{{- toYaml .Values.ingress.tls }}
{{- else if .Values.certManager.certificate.enabled }}
{{- list (dict "secretName" (include "backstage.certificateSecret" .) "hosts" .Values.ingress.hosts) | toYaml }}
{{- else }}[]
{{- end }}
{{- end }}

{{/*
The Gateways to attach to, as a list, with the defaults that the API server fills in: to Argo CD what is left out is a
difference, unless it compares on the server.
*/}}
{{- define "backstage.parentRefs" -}}
{{- $all := list }}
{{- range .Values.httpRoute.parentRefs }}
{{- $ref := dict "group" "gateway.networking.k8s.io" "kind" "Gateway" }}
{{- range $key, $value := . }}{{ $_ := set $ref $key $value }}{{ end }}
{{- $all = append $all $ref }}
{{- end }}
{{- toYaml $all }}
{{- end }}
