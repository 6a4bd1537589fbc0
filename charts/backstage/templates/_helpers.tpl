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

{{/* A name with a suffix, still at most 63 characters: "backstage.suffixed" (list . "nodeport"). */}}
{{- define "backstage.suffixed" -}}
{{- $suffix := index . 1 }}
{{- printf "%s-%s" (include "backstage.fullname" (index . 0) | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix }}
{{- end }}

{{- define "backstage.selectorLabels" -}}
app.kubernetes.io/name: {{ include "backstage.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
An image tag may be twice as long as a label value, and may begin or end with what a label value may not.
*/}}
{{- define "backstage.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
{{ include "backstage.selectorLabels" . }}
{{- with .Values.image.tag | toString | trunc 63 | trimAll "-_." }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
app.kubernetes.io/part-of: backstage-gitops
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{- define "backstage.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "backstage.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "backstage.image" -}}
{{- with .Values.image.digest }}
{{- printf "%s@%s" $.Values.image.repository . }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (toString .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The port of the Service under a name: "backstage.servicePort" (list . "backend"). */}}
{{- define "backstage.servicePort" -}}
{{- $name := index . 1 }}
{{- range (index . 0).Values.service.ports }}
{{- if eq .name $name }}{{ int .port }}{{ end }}
{{- end }}
{{- end }}

{{/*
app-config.yaml as mounted: the values as they are, and leave for the app to call the API from its address. The image
gives that leave to http://localhost:8000 only. A browser that comes by plain http must not be told to take https for
everything else, which Backstage's default policy does.
*/}}
{{- define "backstage.appConfig" -}}
{{- $config := deepCopy .Values.appConfig }}
{{- $baseUrl := dig "app" "baseUrl" "http://localhost:8000" $config }}
{{- if and (ne (trimSuffix "/" $baseUrl) "http://localhost:8000") (not (dig "backend" "cors" "" $config)) }}
{{- $origin := regexFind "^https?://[^/]+" $baseUrl | default $baseUrl }}
{{- $_ := mergeOverwrite $config (dict "backend" (dict "cors" (dict "origin" $origin))) }}
{{- end }}
{{- if and (hasPrefix "http://" $baseUrl) (not (hasPrefix "http://localhost" $baseUrl)) (not (hasKey (dig "backend" "csp" dict $config) "upgrade-insecure-requests")) }}
{{- $_ := mergeOverwrite $config (dict "backend" (dict "csp" (dict "upgrade-insecure-requests" false))) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/*
What Backstage reads again while it runs is no reason to roll the pods. Everything else is: the backend reads it once,
and the app gets its part when the frontend container starts.
*/}}
{{- define "backstage.appConfigChecksum" -}}
{{- $config := include "backstage.appConfig" . | fromYaml }}
{{- range $key, $reloaded := dict "catalog" "locations" "proxy" "endpoints" }}
{{- $section := get $config $key }}
{{- if kindIs "map" $section }}
{{- $_ := unset $section $reloaded }}
{{- if not $section }}{{ $_ := unset $config $key }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $config | sha256sum }}
{{- end }}

{{/* What a schema cannot say, or cannot say in a sentence. */}}
{{- define "backstage.validate" -}}
{{- range $name := list "backend" "frontend" }}
{{- if not (include "backstage.servicePort" (list $ $name)) }}
{{- fail (printf "service.ports has no port named %q: keep both names, backend and frontend, and change their numbers only" $name) }}
{{- end }}
{{- end }}
{{- $baseUrl := dig "app" "baseUrl" "" .Values.appConfig }}
{{- range .Values.env }}
{{- if eq .name "GITHUB_TOKEN" }}
{{- fail "env sets GITHUB_TOKEN: put the token into a Secret and name that in githubToken.existingSecret" }}
{{- end }}
{{- if and (eq .name "BACKSTAGE_BASE_URL") .value $baseUrl (not (contains "${" $baseUrl)) (ne (trimSuffix "/" .value) (trimSuffix "/" $baseUrl)) }}
{{- fail (printf "env BACKSTAGE_BASE_URL is %q and appConfig.app.baseUrl is %q: they are one address, set both to it" .value $baseUrl) }}
{{- end }}
{{- end }}
{{- if and .Values.rbac.create (not .Values.serviceAccount.automountServiceAccountToken) }}
{{- fail "rbac.create gives rights that no pod could use: set serviceAccount.automountServiceAccountToken to true as well" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled needs at least one name in ingress.hosts" }}
{{- end }}
{{- end }}

{{/* One of the two containers: "backstage.container" (dict "root" . "role" "backend" "port" 4001). */}}
{{- define "backstage.container" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
name: {{ .role }}
image: {{ include "backstage.image" $root | quote }}
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
{{- $token := and (eq .role "backend") $values.githubToken.existingSecret }}
{{- if or $values.env $token }}
env:
  {{- with $values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if $token }}
  - name: GITHUB_TOKEN
    valueFrom:
      secretKeyRef:
        name: {{ $values.githubToken.existingSecret | quote }}
        key: {{ $values.githubToken.key | quote }}
  {{- end }}
{{- end }}
ports:
  - name: {{ .role }}
    containerPort: {{ int .port }}
    protocol: TCP
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
  - name: tmp-{{ .role }}
    mountPath: /tmp
{{- end }}
