{{/* The environments with all that may be left out, as a list. Nothing is deployed to one that has no values. */}}
{{- define "gitops.environments" -}}
{{- $known := list }}
{{- range $path, $_ := .Files.Glob "environments/*.yaml" }}
{{- $known = append $known (base $path | trimSuffix ".yaml") }}
{{- end }}
{{- $names := list }}
{{- $namespaces := list }}
{{- range $i, $environment := .Values.environments }}
{{- $namespace := default (printf "backstage-%s" .name) .namespace }}
{{- $server := default "https://kubernetes.default.svc" .server }}
{{- $place := printf "%s on %s" $namespace $server }}
{{- if not (has .name $known) }}
{{- fail (printf "environments[%d] is %q, and there is no environments/%s.yaml: add its values, or name one of %s" $i .name .name (join ", " $known)) }}
{{- end }}
{{- if has .name $names }}
{{- fail (printf "environments[%d] is %q once more: each has one name of its own" $i .name) }}
{{- end }}
{{- if has $place $namespaces }}
{{- fail (printf "environments[%d], %q, would share the namespace %s with another: give it one of its own" $i .name $place) }}
{{- end }}
{{- $names = append $names .name }}
{{- $namespaces = append $namespaces $place }}
- name: {{ .name | quote }}
  namespace: {{ $namespace | quote }}
  server: {{ $server | quote }}
  revision: {{ default $.Values.source.revision .revision | quote }}
{{- end }}
{{- end }}

{{- define "gitops.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: backstage-gitops
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
