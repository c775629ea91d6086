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

{{- /* A node with a topic of its own, as YAML: name for objects and labels, user and its secret, topic (as linktrail.node_topic writes it). The
     digest keeps apart what would be cut to the same name; a certificate of Strimzi takes 64 characters of a user. */ -}}
{{- define "linktrail.node" -}}
{{- $cluster := .root.Values.cluster -}}
{{- $short := .node | replace "." "-" | trunc 24 | trimSuffix "-" -}}
{{- $name := printf "%s-%s" $short (printf "%s/%s" $cluster .node | sha256sum | trunc 10) -}}
{{- $user := printf "%s-%s" .root.Values.kafka.collectorUser $name -}}
{{- $topic := printf "linktrail.events.v1.%s.%s" ($cluster | replace "_" "_5f" | replace "." "_2e") .node -}}
{{- if gt (len $user) 64 }}{{ fail (printf "kafka.collectorUser: %s is longer than the 64 characters that a certificate takes: choose a shorter one" $user) }}{{ end -}}
{{- if gt (len $topic) 249 }}{{ fail (printf "kafka.nodes: topic %s would be longer than the 249 characters that Kafka takes" $topic) }}{{ end -}}
name: {{ $name | quote }}
node: {{ .node | quote }}
user: {{ $user | quote }}
topic: {{ $topic | quote }}
{{- end }}

{{- /* ACLs keep nodes apart only where each has a topic, and credentials, of its own. */ -}}
{{- define "linktrail.require" -}}
{{- if and .Values.strimzi.enabled (not .Values.kafka.nodes) }}
{{- fail "strimzi.enabled sets ACLs, which know topics and not keys: list the nodes in kafka.nodes (kubectl get nodes), so that each has a topic and a user of its own" }}
{{- end }}
{{- if and .Values.kafka.nodes (eq .Values.kafka.auth "none") }}
{{- fail "kafka.nodes gives each node credentials of its own: set kafka.auth to tls or scram" }}
{{- end }}
{{- end }}

{{- /* A declaration of deploy/kafka/topics.yaml as the spec of a KafkaTopic. */ -}}
{{- define "linktrail.topic" -}}
partitions: {{ .partitions }}
replicas: {{ .replication }}
config:
  {{- range $key, $value := .config }}
  {{ $key }}: {{ if kindIs "float64" $value }}{{ int64 $value }}{{ else }}{{ $value }}{{ end }}
  {{- end }}
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
