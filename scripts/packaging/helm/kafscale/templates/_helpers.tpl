{{- define "kafscale.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "kafscale.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kafscale.allLabels" -}}
{{ include "kafscale.labels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* What would not start is refused here, with what to set. */}}
{{- define "kafscale.check" -}}
{{- if not .Values.s3.bucket }}{{ fail "set s3.bucket: the log lives there" }}{{ end }}
{{- if not .Values.etcd.endpoints }}{{ fail "set etcd.endpoints, such as {http://etcd-0.etcd:2379}: the metadata lives there" }}{{ end }}
{{- if and .Values.tls.enabled (not .Values.tls.secretRef) }}{{ fail "set tls.secretRef to a secret with tls.crt and tls.key" }}{{ end }}
{{- if and .Values.sasl.mechanisms (not .Values.sasl.adminSecretRef) }}{{ fail "set sasl.adminSecretRef to a secret with password: nobody could make a user" }}{{ end }}
{{- $authenticated := or .Values.sasl.mechanisms .Values.tls.clientCaSecretRef }}
{{- if not (or .Values.allowInsecure (and .Values.tls.enabled $authenticated)) }}
{{- fail "set tls.enabled with tls.secretRef, and sasl.mechanisms or tls.clientCaSecretRef; or say allowInsecure=true: anybody who reaches the pods may read and write everything then" }}
{{- end }}
{{- end }}
