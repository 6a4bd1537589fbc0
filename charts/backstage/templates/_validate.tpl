{{/*
What a schema cannot say, or cannot say in a sentence. Each message names the values concerned and what to write there.
*/}}
{{- define "backstage.validate" -}}
{{- range $name := list "backend" "frontend" }}
{{- if not (include "backstage.servicePort" (list $ $name)) }}
{{- fail (printf "service.ports has no port named %q: keep both names, backend and frontend, and change their numbers only" $name) }}
{{- end }}
{{- end }}
{{- if eq (include "backstage.servicePort" (list . "backend")) (include "backstage.servicePort" (list . "frontend")) }}
{{- fail (printf "service.ports has backend and frontend both on %s: a Service has one port of a number, give them different ones" (include "backstage.servicePort" (list . "backend"))) }}
{{- end }}
{{- if and (eq .Values.service.type "ClusterIP") .Values.service.externalTrafficPolicy }}
{{- fail (printf "service.externalTrafficPolicy is %q and service.type ClusterIP, which nobody outside reaches: leave it out, or set service.type to NodePort or LoadBalancer" .Values.service.externalTrafficPolicy) }}
{{- end }}
{{- if and (has .Values.service.type (list "ClusterIP" "NodePort")) .Values.service.loadBalancerSourceRanges }}
{{- fail (printf "service.loadBalancerSourceRanges is set and service.type %s: only a load balancer has them; leave it out, or set service.type to LoadBalancer" .Values.service.type) }}
{{- end }}
{{- range $name := list "env" "extraEnv" }}
{{- range $i, $variable := get $.Values $name }}
{{- if eq (hasKey $variable "value") (hasKey $variable "valueFrom") }}
{{- fail (printf "%s[%d] %s wants value or valueFrom, one of the two" $name $i $variable.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $baseUrl := include "backstage.config" (list .Values.appConfig "app" "baseUrl") }}
{{- range concat .Values.env .Values.extraEnv }}
{{- if eq .name "GITHUB_TOKEN" }}
{{- fail "env sets GITHUB_TOKEN: put the token into a Secret and name that in githubToken.existingSecret" }}
{{- end }}
{{- if and (eq .name "BACKSTAGE_BASE_URL") .value $baseUrl (not (contains "${" $baseUrl)) (ne (trimSuffix "/" .value) (trimSuffix "/" $baseUrl)) }}
{{- fail (printf "env BACKSTAGE_BASE_URL is %q and appConfig.app.baseUrl is %q: they are one address, set both to it" .value $baseUrl) }}
{{- end }}
{{- end }}
{{- range include "backstage.literalSecrets" (list "appConfig" .Values.appConfig) | fromYamlArray }}
{{- if not (has . $.Values.notSecret) }}
{{- fail (printf "%s holds a secret in plain text, and becomes a ConfigMap: put it into a Secret, name that in extraEnvFrom or extraEnv, and write ${NAME_OF_THE_VARIABLE} here; if it is none, add %q to notSecret" . .) }}
{{- end }}
{{- end }}
{{- $lists := dict "env" .Values.env "extraEnv" .Values.extraEnv }}
{{- range $kind := list "initContainers" "extraContainers" }}
{{- range $i, $container := get $.Values $kind }}
{{- $_ := set $lists (printf "%s[%d].env" $kind $i) (default list $container.env) }}
{{- end }}
{{- end }}
{{- range $name, $list := $lists }}
{{- range $i, $variable := $list }}
{{- if and $variable.value (include "backstage.isSecret" (list $variable.name $variable.value)) (not (has $variable.name $.Values.notSecret)) }}
{{- fail (printf "%s[%d] %s holds a secret in plain text: put it into a Secret, and write valueFrom.secretKeyRef instead of value; if it is none, add %q to notSecret" $name $i $variable.name $variable.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $i, $file := .Values.extraAppConfig }}
{{- if eq (empty $file.configMap) (empty $file.secret) }}
{{- fail (printf "extraAppConfig[%d] wants configMap or secret, one of the two: it names where %s is" $i $file.file) }}
{{- end }}
{{- end }}
{{- if and .Values.rbac.create (not .Values.serviceAccount.automountServiceAccountToken) }}
{{- fail "rbac.create gives rights that no pod could use: set serviceAccount.automountServiceAccountToken to true as well" }}
{{- end }}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.drainSeconds) }}
{{- fail (printf "terminationGracePeriodSeconds is %d and drainSeconds %d: a pod must have time left to end after it has drained" (int .Values.terminationGracePeriodSeconds) (int .Values.drainSeconds)) }}
{{- end }}
{{- include "backstage.validateFormats" . }}
{{- include "backstage.validateSignIn" . }}
{{- include "backstage.validateScale" . }}
{{- include "backstage.validateDatabase" . }}
{{- include "backstage.validateAccess" . }}
{{- include "backstage.validateMetrics" . }}
{{- end }}

{{/*
Whether a text is a secret by its name, or an address with a password in it: "backstage.isSecret" (list "token" "abc").
What refers to variables alone, as ${NAME} of Backstage or $(NAME) of Kubernetes, is none, nor is a scheme before it, as
in "Bearer ${NAME}"; nor is a switch.
*/}}
{{- define "backstage.isSecret" -}}
{{- $name := index . 0 | lower | replace "_" "" | replace "-" "" }}
{{- $text := index . 1 | toString | replace "$${" "" | replace "$$(" "" }}
{{- $bare := regexReplaceAll "\\$[{(][^})]+[})]" $text "$$" }}
{{- $secret := false }}
{{- if and (regexMatch "(token|password|passwd|passphrase|secret|(private|api|access|account|signing|encryption|shared|master)key|authorization)$" $name) (not (has $text (list "true" "false"))) }}
{{- $secret = or (eq $bare $text) (regexMatch "[A-Za-z0-9]" (regexReplaceAll "[A-Za-z-]+[ =]+" $bare "")) }}
{{- end }}
{{- range $address := regexFindAll "://[^/\\s:@*,]*:[^/\\s@]+@" $bare -1 }}
{{- $password := regexReplaceAll "^://[^:]*:" $address "" | trimSuffix "@" }}
{{- /* A port and the next of a list is no password. */}}
{{- if and (ne $password "$") (not (regexMatch "^[0-9]+," $password)) }}{{ $secret = true }}{{ end }}
{{- end }}
{{- if $secret }}true{{ end }}
{{- end }}

{{/* The paths of secrets in plain text, as a list: "backstage.literalSecrets" (list "appConfig" .Values.appConfig). */}}
{{- define "backstage.literalSecrets" -}}
{{- $path := index . 0 }}
{{- $node := index . 1 }}
{{- if kindIs "map" $node }}
{{- range $key, $child := $node }}
{{- if or (kindIs "map" $child) (kindIs "slice" $child) }}
{{- include "backstage.literalSecrets" (list (printf "%s.%s" $path $key) $child) }}
{{- else if and $child (not (kindIs "bool" $child)) (include "backstage.isSecret" (list $key $child)) }}
- {{ printf "%s.%s" $path $key | toJson }}
{{- end }}
{{- end }}
{{- else }}
{{- range $i, $child := $node }}
{{- if or (kindIs "map" $child) (kindIs "slice" $child) }}
{{- include "backstage.literalSecrets" (list (printf "%s[%d]" $path $i) $child) }}
{{- else if and $child (not (kindIs "bool" $child)) (include "backstage.isSecret" (list (base $path) $child)) }}
- {{ printf "%s[%d]" $path $i | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The chart cannot see into extraAppConfig, which may have a provider of its own.
*/}}
{{- define "backstage.validateSignIn" -}}
{{- $auth := default dict .Values.appConfig.auth }}
{{- $environment := default "development" $auth.environment }}
{{- $guest := default dict (default dict $auth.providers).guest }}
{{- $providers := include "backstage.signInProviders" . | fromYamlArray }}
{{- if and (eq (toString $guest.dangerouslyAllowOutsideDevelopment) "false") (not $providers) (not .Values.extraAppConfig) }}
{{- fail (printf "appConfig.auth.providers.guest.dangerouslyAllowOutsideDevelopment is false and no other provider has settings for appConfig.auth.environment, %q: nobody could sign in; configure appConfig.auth.providers.github.%s, or set the former to true" $environment $environment) }}
{{- end }}
{{- if and (has "github" $providers) .Values.networkPolicy.enabled (not .Values.networkPolicy.https) (not .Values.networkPolicy.extraEgress) }}
{{- fail "networkPolicy.enabled with appConfig.auth.providers.github wants networkPolicy.https or networkPolicy.extraEgress: nobody could sign in unless the backend reaches GitHub" }}
{{- end }}
{{- end }}

{{/* What a pattern of the schema would refuse as well, in words that nobody could read. */}}
{{- define "backstage.validateFormats" -}}
{{- $range := `(\*|\?|%[1]s(-%[1]s)?)(/[1-9][0-9]*)?` }}
{{- $fields := list }}
{{- range $field := list `[0-5]?[0-9]` `(2[0-3]|[01]?[0-9])` `(3[01]|[12][0-9]|0?[1-9])` `(1[0-2]|0?[1-9]|[A-Za-z]{3})` `([0-6]|[A-Za-z]{3})` }}
{{- $one := printf $range $field }}
{{- $fields = append $fields (printf "%[1]s(,%[1]s)*" $one) }}
{{- end }}
{{- if not (regexMatch (printf `^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|%s)$` (join `\s+` $fields)) .Values.backup.schedule) }}
{{- fail (printf "backup.schedule is %q: write five fields as cron has them, minute 0-59, hour 0-23, day 1-31, month 1-12 and weekday 0-6, such as \"17 2 * * *\", or @daily and its like" .Values.backup.schedule) }}
{{- end }}
{{- $networks := dict }}
{{- range $i, $network := .Values.service.loadBalancerSourceRanges }}
{{- $_ := set $networks (printf "service.loadBalancerSourceRanges[%d]" $i) $network }}
{{- end }}
{{- range $list := list "ingressController" "prometheus" "dns" "https" "database" "objectStore" "tracing" "kubernetesApi" }}
{{- range $i, $peer := get $.Values.networkPolicy $list }}
{{- with $peer.ipBlock }}
{{- $_ := set $networks (printf "networkPolicy.%s[%d].ipBlock.cidr" $list $i) .cidr }}
{{- range $j, $network := .except }}
{{- $_ := set $networks (printf "networkPolicy.%s[%d].ipBlock.except[%d]" $list $i $j) $network }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $octet := `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])` }}
{{- $v4 := printf `%[1]s(\.%[1]s){3}/(3[0-2]|[12]?[0-9])` $octet }}
{{- $v6 := printf `((%[1]s:){7}%[1]s|(%[1]s(:%[1]s){0,6})?::(%[1]s(:%[1]s){0,6})?)/(12[0-8]|1[01][0-9]|[1-9]?[0-9])` `[0-9a-fA-F]{1,4}` }}
{{- range $path, $network := $networks }}
{{- if not (regexMatch (printf `^(%s|%s)$` $v4 $v6) $network) }}
{{- fail (printf "%s is %q: write a network with the length of its prefix, such as 192.0.2.0/24 or 2001:db8::/32" $path $network) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "backstage.validateScale" -}}
{{- with .Values.strategy.rollingUpdate }}
{{- if eq (toString $.Values.strategy.type) "Recreate" }}
{{- fail "strategy.type is Recreate and strategy.rollingUpdate is set: leave the latter out, or set strategy.type to RollingUpdate" }}
{{- end }}
{{- if and (regexMatch "^0+%?$" (toString .maxSurge)) (regexMatch "^0+%?$" (toString .maxUnavailable)) }}
{{- fail "strategy.rollingUpdate.maxSurge and strategy.rollingUpdate.maxUnavailable are both 0: no pod could ever be replaced; make one of them larger" }}
{{- end }}
{{- end }}
{{- $fewest := int .Values.replicas }}
{{- with .Values.autoscaling }}
{{- if .enabled }}
{{- $fewest = int .minReplicas }}
{{- if include "backstage.inMemory" $ }}
{{- fail "autoscaling.enabled wants a database that all pods share: set database.type to external or statefulset; with SQLite in memory each pod has data of its own" }}
{{- end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas is %d and autoscaling.maxReplicas %d: the fewest pods cannot be more than the most" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- if not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage) }}
{{- fail "autoscaling.enabled wants autoscaling.targetCPUUtilizationPercentage or autoscaling.targetMemoryUtilizationPercentage: without either there is nothing to scale by" }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (gt $fewest 1) (include "backstage.inMemory" .) }}
{{- fail (printf "replicas is %d and database.type memory: with SQLite in memory each pod has data of its own; set database.type to external or statefulset" $fewest) }}
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- if and .enabled (gt $fewest 0) }}
{{- if not (kindIs "invalid" .minAvailable) }}
{{- if ge (include "backstage.pods" (list .minAvailable $fewest) | int) $fewest }}
{{- fail (printf "podDisruptionBudget.minAvailable is %s of %d pods: no node could ever be drained; make it smaller, or set podDisruptionBudget.maxUnavailable" (toString .minAvailable) $fewest) }}
{{- end }}
{{- else if regexMatch "^0+%?$" (toString .maxUnavailable) }}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %s of %d pods: no node could ever be drained; make it larger" (toString .maxUnavailable) $fewest) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A number of pods, or percent of them, rounded up as Kubernetes does: "backstage.pods" (list "50%" 3) is 2. */}}
{{- define "backstage.pods" -}}
{{- $count := index . 0 }}
{{- if hasSuffix "%" (toString $count) }}
{{- div (add (mul (trimSuffix "%" $count | int) (index . 1)) 99) 100 }}
{{- else }}
{{- int $count }}
{{- end }}
{{- end }}

{{- define "backstage.validateDatabase" -}}
{{- if and (include "backstage.config" (list .Values.appConfig "scaffolder" "publishDirectory")) (not (include "backstage.inMemory" .)) }}
{{- fail "appConfig.scaffolder.publishDirectory is a directory of each pod for itself, and pods share PostgreSQL: each would take out of the catalog what the others published; leave it out, and publish to a Git host" }}
{{- end }}
{{- with .Values.database }}
{{- if ne .type "memory" }}
{{- if not .existingSecret }}
{{- fail (printf "database.type %s wants database.existingSecret: a Secret with the keys %s and %s" .type .userKey .passwordKey) }}
{{- end }}
{{- if and (eq .type "external") (not .host) }}
{{- fail "database.type external wants database.host: the name or address of the PostgreSQL server" }}
{{- end }}
{{- if and (eq .type "statefulset") .tls.enabled (not (and .tls.serverSecret .tls.caSecret)) }}
{{- fail (printf "database.tls.enabled with database.type statefulset wants database.tls.serverSecret, a certificate for %s, and database.tls.caSecret, its authority" (include "backstage.databaseHost" $)) }}
{{- end }}
{{- $client := include "backstage.config" (list $.Values.appConfig "backend" "database" "client") | default "pg" }}
{{- if ne (toString $client) "pg" }}
{{- fail (printf "appConfig.backend.database.client is %q and database.type %s: leave appConfig.backend.database.client out" (toString $client) .type) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.backup }}
{{- $what := ternary "backup.enabled" "restore.from" .enabled }}
{{- if or .enabled $.Values.restore.from }}
{{- if eq $.Values.database.type "memory" }}
{{- fail (printf "%s wants PostgreSQL: set database.type to external or statefulset; what SQLite holds in memory cannot be backed up" $what) }}
{{- end }}
{{- if and $.Values.restore.from (not .enabled) }}
{{- fail "restore.from wants backup.enabled: its values say where the dumps are" }}
{{- end }}
{{- if and $.Values.database.tls.enabled (not $.Values.database.tls.caSecret) }}
{{- fail "backup.enabled with database.tls.enabled wants database.tls.caSecret: pg_dump knows no authority by itself" }}
{{- end }}
{{- include "backstage.validateDumped" (list $ $what) }}
{{- if eq .destination "s3" }}
{{- range $key := list "endpoint" "bucket" "existingSecret" }}
{{- if not (get $.Values.backup.s3 $key) }}
{{- fail (printf "backup.destination s3 wants backup.s3.%s" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
pg_dump writes one database of one server, that of the values: "backstage.validateDumped" (list . "backup.enabled"). What
appConfig has the portal write elsewhere would be in no dump, and a restore would not touch it.
*/}}
{{- define "backstage.validateDumped" -}}
{{- $what := index . 1 }}
{{- with index . 0 }}
{{- $database := (include "backstage.appConfig" . | fromYaml).backend.database }}
{{- if ne (toString $database.pluginDivisionMode) "schema" }}
{{- fail (printf "appConfig.backend.database.pluginDivisionMode is %q and %s is set: each plugin would have a database of its own, and a dump has database.name alone; leave pluginDivisionMode out, or leave %s out and back the server up by its own means" (toString $database.pluginDivisionMode) $what $what) }}
{{- end }}
{{- if not (kindIs "map" $database.connection) }}
{{- fail (printf "appConfig.backend.database.connection is text and %s is set: leave it out, and write the server into database.host, database.port and database.name, which the dumps are made of" $what) }}
{{- end }}
{{- if $database.connection.connectionString }}
{{- fail (printf "appConfig.backend.database.connection.connectionString and %s are set: leave it out, and write the server into database.host, database.port and database.name, which the dumps are made of" $what) }}
{{- end }}
{{- $dumped := dict "host" (include "backstage.databaseHost" .) "port" (toString .Values.database.port) "database" .Values.database.name }}
{{- range $key, $want := $dumped }}
{{- $got := toString (get $database.connection $key) }}
{{- if ne $got $want }}
{{- fail (printf "appConfig.backend.database.connection.%s is %q, %s is set and database.%s says %q: the dumps are of what the latter says; leave the former out, and set database.%[4]s" $key $got $what (ternary "name" $key (eq $key "database")) $want) }}
{{- end }}
{{- end }}
{{- /* Other keys, such as knexConfig, tune the same database. */}}
{{- $others := list }}
{{- range $plugin, $settings := ternary $database.plugin dict (kindIs "map" $database.plugin) }}
{{- range $key := list "client" "connection" "pluginDivisionMode" }}
{{- if include "backstage.config" (list $settings $key) }}{{ $others = append $others (printf "%s.%s" $plugin $key) }}{{ end }}
{{- end }}
{{- end }}
{{- with $others }}
{{- fail (printf "appConfig.backend.database.plugin sets %s, which may be another database, and %s is set: a dump has database.name alone; leave those out, or leave %s out and back the server up by its own means" (join ", " .) $what $what) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The seconds of a duration such as 1h30m: "backstage.seconds" "1h30m" is 5400. */}}
{{- define "backstage.seconds" -}}
{{- $sum := 0 }}
{{- range $part := ternary (regexFindAll "[0-9]+[hms]" . -1) list (regexMatch "^([0-9]+[hms])+$" .) }}
{{- $unit := get (dict "h" 3600 "m" 60 "s" 1) (regexFind "[hms]$" $part) }}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" $part | int) $unit) }}
{{- end }}
{{- $sum }}
{{- end }}

{{- define "backstage.validateAccess" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled needs at least one name in ingress.hosts" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled wants at least one Gateway in httpRoute.parentRefs" }}
{{- end }}
{{- with .Values.certManager }}
{{- if .certificate.enabled }}
{{- if not (or .certificate.issuerRef.name .issuer.create) }}
{{- fail "certManager.certificate.enabled wants an issuer: name one in certManager.certificate.issuerRef.name, or set certManager.issuer.create to true" }}
{{- end }}
{{- if not (include "backstage.hosts" $ | fromYamlArray) }}
{{- fail "certManager.certificate.enabled wants a name to certify: set ingress.enabled with ingress.hosts, or httpRoute.enabled with httpRoute.hostnames" }}
{{- end }}
{{- end }}
{{- $duration := include "backstage.seconds" .certificate.duration | int }}
{{- $renewBefore := include "backstage.seconds" .certificate.renewBefore | int }}
{{- if and $duration $renewBefore (ge $renewBefore $duration) }}
{{- fail (printf "certManager.certificate.renewBefore is %s and certManager.certificate.duration %s: a certificate would have to be renewed before it is valid; make the former shorter" .certificate.renewBefore .certificate.duration) }}
{{- end }}
{{- if and .issuer.acme.server (not .issuer.create) }}
{{- fail "certManager.issuer.acme.server is set and certManager.issuer.create is not: no Issuer would use it" }}
{{- end }}
{{- end }}
{{- with .Values.externalSecrets }}
{{- if and .enabled (not .storeRef.name) }}
{{- fail "externalSecrets.enabled wants externalSecrets.storeRef.name: the SecretStore to read from" }}
{{- end }}
{{- if and .enabled (not .secrets) }}
{{- fail "externalSecrets.enabled wants at least one Secret in externalSecrets.secrets" }}
{{- end }}
{{- end }}
{{- with .Values.networkPolicy }}
{{- if .enabled }}
{{- if and (or $.Values.ingress.enabled $.Values.httpRoute.enabled) (not .ingressController) }}
{{- fail "networkPolicy.enabled with an Ingress or an HTTPRoute wants networkPolicy.ingressController: the pods that requests come from" }}
{{- end }}
{{- if and (not (include "backstage.inMemory" $)) (ne $.Values.database.type "statefulset") (not .database) }}
{{- fail "networkPolicy.enabled with an external database wants networkPolicy.database: where it is, such as [{ipBlock: {cidr: 192.0.2.5/32}}]" }}
{{- end }}
{{- if and $.Values.serviceAccount.automountServiceAccountToken (not .kubernetesApi) }}
{{- fail "networkPolicy.enabled with serviceAccount.automountServiceAccountToken wants networkPolicy.kubernetesApi: where the API server is, such as [{ipBlock: {cidr: 192.0.2.1/32}}]" }}
{{- end }}
{{- if not .dns }}
{{- fail "networkPolicy.dns is empty: no pod could find anything by its name; leave it at the cluster's own, or write who answers DNS, such as [{ipBlock: {cidr: 192.0.2.10/32}}]" }}
{{- end }}
{{- /* The default reaches the internet without private networks. A peer of another kind may be where the bucket is. */}}
{{- $byHand := false }}
{{- range .https }}
{{- if not (and .ipBlock (has (default dict .ipBlock).cidr (list "0.0.0.0/0" "::/0")) (default dict .ipBlock).except) }}{{ $byHand = true }}{{ end }}
{{- end }}
{{- if and $.Values.backup.enabled (eq $.Values.backup.destination "s3") (not .objectStore) (not $byHand) }}
{{- $host := regexFind "^https?://[^/:]+" $.Values.backup.s3.endpoint | trimPrefix "https://" | trimPrefix "http://" }}
{{- if or (not .https) (not (contains "." $host)) (regexMatch "\\.(svc|local|internal)$|\\.svc\\." $host) (regexMatch "^(10|127|192\\.168|172\\.(1[6-9]|2[0-9]|3[01]))\\." $host) }}
{{- fail (printf "networkPolicy.enabled with backup.s3.endpoint %q wants networkPolicy.objectStore: where the bucket is, as networkPolicy.https does not reach it" $.Values.backup.s3.endpoint) }}
{{- end }}
{{- end }}
{{- if and $.Values.tracing.enabled (not .tracing) }}
{{- fail "networkPolicy.enabled with tracing.enabled wants networkPolicy.tracing: where the collector is" }}
{{- end }}
{{- if and $.Values.metrics.enabled (not .prometheus) }}
{{- fail "networkPolicy.enabled with metrics.enabled wants networkPolicy.prometheus: the pods that scrape" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "backstage.validateMetrics" -}}
{{- with .Values.metrics }}
{{- if .enabled }}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled would have every pod scraped twice: choose one" }}
{{- end }}
{{- if .prometheusRule.enabled }}
{{- $known := list }}
{{- range include "backstage.alerts" $ | fromYamlArray }}{{ $known = append $known .alert }}{{ end }}
{{- range $label := list "severity" "namespace" }}
{{- if hasKey $.Values.metrics.prometheusRule.alertLabels $label }}
{{- fail (printf "metrics.prometheusRule.alertLabels.%s would be one for all alerts, and each has its own: %s" $label (ternary "set metrics.prometheusRule.alerts.NAME.severity for those that are to have another" "it is the release's namespace; use a label of another name" (eq $label "severity"))) }}
{{- end }}
{{- end }}
{{- range $name, $override := .prometheusRule.alerts }}
{{- if not (has $name $known) }}
{{- fail (printf "metrics.prometheusRule.alerts names %q, which these values have no alert for: it knows %s" $name (join ", " $known)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .prometheusRule.enabled (not (or .serviceMonitor.enabled .podMonitor.enabled)) }}
{{- fail "metrics.prometheusRule.enabled wants metrics.serviceMonitor.enabled or metrics.podMonitor.enabled: its alerts look at what one of them scrapes" }}
{{- end }}
{{- if has (int .port) (list (include "backstage.config" (list $.Values.appConfig "backend" "listen" "port") | default "4001" | int) (include "backstage.config" (list $.Values.appConfig "app" "listen" "port") | default "8000" | int)) }}
{{- fail (printf "metrics.port %d is that of the backend or the app already: the containers of a pod share its ports" (int .port)) }}
{{- end }}
{{- else }}
{{- range $part := list "serviceMonitor" "podMonitor" "prometheusRule" "dashboard" }}
{{- if (get $.Values.metrics $part).enabled }}
{{- fail (printf "metrics.%s.enabled wants metrics.enabled: there would be nothing to show" $part) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.tracing.enabled (not .Values.tracing.endpoint) }}
{{- fail "tracing.enabled wants tracing.endpoint: the address of an OTLP collector, such as http://collector.monitoring:4318" }}
{{- end }}
{{- end }}
