{{/*
SQLite in memory, unless the values say otherwise: the database's own, or what they write into app-config.yaml.
*/}}
{{- define "backstage.inMemory" -}}
{{- if and (eq .Values.database.type "memory") (ne (include "backstage.config" (list .Values.appConfig "backend" "database" "client")) "pg") }}true{{ end }}
{{- end }}

{{- define "backstage.databaseHost" -}}
{{- if eq .Values.database.type "external" }}{{ .Values.database.host }}{{ else }}{{ include "backstage.suffixed" (list . "database") }}{{ end }}
{{- end }}

{{/* The file with the authority of the server's certificate, where it is not one that everybody knows. */}}
{{- define "backstage.databaseCA" -}}
{{- if and (ne .Values.database.type "memory") .Values.database.tls.enabled .Values.database.tls.caSecret }}
{{- printf "/etc/backstage-database/%s" .Values.database.tls.caKey }}
{{- end }}
{{- end }}

{{/*
backend.database of app-config.yaml. A schema for each plugin, not a database: the user needs no right to make
databases, and one dump holds all of it at one moment.
*/}}
{{- define "backstage.databaseConfig" -}}
{{- with .Values.database }}
{{- if ne .type "memory" }}
client: pg
pluginDivisionMode: schema
ensureExists: false
ensureSchemaExists: true
connection:
  host: {{ include "backstage.databaseHost" $ | quote }}
  port: {{ int .port }}
  user: ${POSTGRES_USER}
  password: ${POSTGRES_PASSWORD}
  database: {{ .name | quote }}
  {{- if .tls.enabled }}
  ssl:
    rejectUnauthorized: true
    {{- with include "backstage.databaseCA" $ }}
    ca:
      $file: {{ . | quote }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "backstage.databaseCAVolume" -}}
{{- if include "backstage.databaseCA" . }}
- name: database-ca
  secret:
    secretName: {{ .Values.database.tls.caSecret | quote }}
    items:
      - key: {{ .Values.database.tls.caKey | quote }}
        path: {{ .Values.database.tls.caKey | quote }}
{{- end }}
{{- end }}

{{/* What a pod of PostgreSQL's tools is besides its containers. 999 is the user postgres of the official image. */}}
{{- define "backstage.databasePod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 999
  runAsGroup: 999
  fsGroup: 999
  # The server refuses a data directory that others may read, which a change of all its modes would make of it.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* A container of a pod of the backup or the restore: "backstage.tool" (dict "root" . "name" "dump" "image" image). */}}
{{- define "backstage.tool" -}}
{{- $values := .root.Values }}
name: {{ .name }}
image: {{ include "backstage.image" .image | quote }}
{{- with .image.pullPolicy }}
imagePullPolicy: {{ . | quote }}
{{- end }}
command: [sh, /scripts/{{ .name }}.sh]
env:
  - name: BACKUP_DIR
    value: /backup
  {{- if has .name (list "dump" "restore") }}
  {{- with $values.database }}
  - name: PGHOST
    value: {{ include "backstage.databaseHost" $.root | quote }}
  - name: PGPORT
    value: {{ .port | toString | quote }}
  - name: PGDATABASE
    value: {{ .name | quote }}
  - name: PGUSER
    valueFrom:
      secretKeyRef:
        name: {{ .existingSecret | quote }}
        key: {{ .userKey | quote }}
  - name: PGPASSWORD
    valueFrom:
      secretKeyRef:
        name: {{ .existingSecret | quote }}
        key: {{ .passwordKey | quote }}
  - name: PGSSLMODE
    value: {{ ternary "verify-full" "prefer" .tls.enabled }}
  {{- if .tls.enabled }}
  - name: PGSSLROOTCERT
    value: {{ include "backstage.databaseCA" $.root | quote }}
  {{- end }}
  {{- end }}
  {{- else }}
  {{- with $values.backup.s3 }}
  - name: BUCKET
    value: {{ printf "bucket:%s/%s" .bucket (default (printf "%s/%s" $.root.Release.Namespace $.root.Release.Name) .prefix) | quote }}
  # rclone's remote "bucket", without a file of its own.
  - name: RCLONE_CONFIG_BUCKET_TYPE
    value: s3
  - name: RCLONE_CONFIG_BUCKET_PROVIDER
    value: Other
  - name: RCLONE_CONFIG_BUCKET_ENDPOINT
    value: {{ .endpoint | quote }}
  {{- with .region }}
  - name: RCLONE_CONFIG_BUCKET_REGION
    value: {{ . | quote }}
  {{- end }}
  - name: RCLONE_CONFIG_BUCKET_NO_CHECK_BUCKET
    value: "true"
  - name: RCLONE_CONFIG_BUCKET_ACCESS_KEY_ID
    valueFrom:
      secretKeyRef:
        name: {{ .existingSecret | quote }}
        key: {{ .accessKeyIdKey | quote }}
  - name: RCLONE_CONFIG_BUCKET_SECRET_ACCESS_KEY
    valueFrom:
      secretKeyRef:
        name: {{ .existingSecret | quote }}
        key: {{ .secretAccessKeyKey | quote }}
  {{- end }}
  - name: RCLONE_CONFIG
    value: /tmp/rclone.conf
  {{- end }}
  {{- with .env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.backup.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: scripts
    mountPath: /scripts
    readOnly: true
  - name: backup
    mountPath: /backup
  - name: tmp
    mountPath: /tmp
  {{- if and (has .name (list "dump" "restore")) (include "backstage.databaseCA" .root) }}
  - name: database-ca
    mountPath: /etc/backstage-database
    readOnly: true
  {{- end }}
{{- end }}

{{/* Where the pods of backup and restore run, and as whom. */}}
{{- define "backstage.toolPlace" -}}
{{- with .Values.backup.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.Values.backup $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "backstage.toolVolumes" -}}
- name: scripts
  configMap:
    name: {{ include "backstage.suffixed" (list . "backup-scripts") | quote }}
- name: tmp
  emptyDir: {}
- name: backup
  {{- if eq .Values.backup.destination "s3" }}
  emptyDir: {}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ include "backstage.backupClaim" . | quote }}
  {{- end }}
{{- include "backstage.databaseCAVolume" . }}
{{- end }}

{{- define "backstage.backupClaim" -}}
{{- default (include "backstage.suffixed" (list . "backup")) .Values.backup.volume.existingClaim }}
{{- end }}

{{/* A Job cannot be changed: each dump has one of its own, and so has each change of what restores it. */}}
{{- define "backstage.restoreName" -}}
{{- include "backstage.suffixed" (list . (printf "restore-%s" (include "backstage.restoreSpec" . | sha256sum | trunc 8))) }}
{{- end }}
