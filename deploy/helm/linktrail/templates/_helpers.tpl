{{- define "linktrail.labels" -}}
app.kubernetes.io/name: linktrail
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: linktrail
{{- end }}

{{- define "linktrail.selector" -}}
app.kubernetes.io/name: linktrail
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "linktrail.image" -}}
{{- $image := index .root.Values.image .component -}}
{{- $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- /* The connection as variables; secrets are named as files, never given as values. */ -}}
{{- define "linktrail.kafkaEnv" -}}
- {name: LINKTRAIL_KAFKA, value: {{ .root.Values.kafka.brokers | quote }}}
{{- if ne .root.Values.kafka.auth "none" }}
- {name: LINKTRAIL_KAFKA_TLS, value: "yes"}
{{- if .root.Values.kafka.caSecret }}
- {name: LINKTRAIL_KAFKA_CA_FILE, value: /etc/linktrail/kafka-ca/ca.crt}
{{- end }}
{{- end }}
{{- if eq .root.Values.kafka.auth "tls" }}
- {name: LINKTRAIL_KAFKA_CERTIFICATE_FILE, value: /etc/linktrail/kafka-user/user.crt}
- {name: LINKTRAIL_KAFKA_KEY_FILE, value: /etc/linktrail/kafka-user/user.key}
{{- end }}
{{- if eq .root.Values.kafka.auth "scram" }}
- {name: LINKTRAIL_KAFKA_SASL_MECHANISM, value: SCRAM-SHA-512}
- {name: LINKTRAIL_KAFKA_USERNAME, value: {{ .user | quote }}}
- {name: LINKTRAIL_KAFKA_PASSWORD_FILE, value: /etc/linktrail/kafka-user/password}
{{- end }}
{{- end }}

{{- define "linktrail.kafkaMounts" -}}
{{- if ne .root.Values.kafka.auth "none" }}
{{- if .root.Values.kafka.caSecret }}
- {name: kafka-ca, mountPath: /etc/linktrail/kafka-ca, readOnly: true}
{{- end }}
- {name: kafka-user, mountPath: /etc/linktrail/kafka-user, readOnly: true}
{{- end }}
{{- end }}

{{- /* Readable by owner and group alone: linktrail refuses a secret that everybody can read. */ -}}
{{- define "linktrail.kafkaVolumes" -}}
{{- if ne .root.Values.kafka.auth "none" }}
{{- if .root.Values.kafka.caSecret }}
- name: kafka-ca
  secret: {secretName: {{ .root.Values.kafka.caSecret }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
- name: kafka-user
  secret: {secretName: {{ .user }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "linktrail.metricsPort" -}}
{{- if .root.Values.metrics.enabled }}
ports: [{name: metrics, containerPort: {{ index .root.Values.metrics.ports .component }}, protocol: TCP}]
# False while the record is not complete, or nothing is committed: what to do is in docs/runbooks.
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 3
# False when a thread is stuck.
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  initialDelaySeconds: 30
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
{{- end }}
