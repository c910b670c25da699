{{- define "pyheapster.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "pyheapster.fullname" -}}
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

{{- define "pyheapster.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pyheapster.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pyheapster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pyheapster.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pyheapster.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "pyheapster.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "pyheapster.subject" -}}
- kind: ServiceAccount
  name: {{ include "pyheapster.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Names of a cluster-wide object; releases of the same name in two namespaces do not get into each other's way. */}}
{{- define "pyheapster.clusterName" -}}
{{- printf "system:%s" (include "pyheapster.fullname" .) }}
{{- end }}

{{- define "pyheapster.ownCA" -}}
{{- if has .Values.tls.type (list "heapster" "metrics-server") }}true{{ end }}
{{- end }}

{{/* Whether the collector writes its CA into the APIServices. */}}
{{- define "pyheapster.patches" -}}
{{- if and .Values.apiService.create (include "pyheapster.ownCA" .) }}true{{ end }}
{{- end }}

{{- define "pyheapster.plainHTTP" -}}
{{- if or .Values.heapster.enabled .Values.metrics.enabled .Values.serviceMonitor.enabled }}true{{ end }}
{{- end }}

{{- define "pyheapster.certificateSecret" -}}
{{- if eq .Values.tls.type "existingSecret" }}
{{- required "tls.existingSecret.name is needed with tls.type existingSecret" .Values.tls.existingSecret.name }}
{{- else }}
{{- include "pyheapster.fullname" . }}
{{- end }}
{{- end }}

{{/* "Sizing" in docs/deploy.md. */}}
{{- define "pyheapster.resources" -}}
{{- if .Values.resources }}
{{- toYaml .Values.resources }}
{{- else }}
{{- $nodes := int .Values.sizing.nodes }}
{{- $memory := add 200 (div (add (mul 3 $nodes) 9) 10) -}}
requests:
  cpu: {{ add 100 (div (add $nodes 9) 10) }}m
  memory: {{ $memory }}Mi
limits:
  memory: {{ mul 2 $memory }}Mi
{{- end }}
{{- end }}
