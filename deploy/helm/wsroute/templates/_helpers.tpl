{{- /* Labels of every object. The first is in deploy/ as well; the others say which release it belongs to. They are on no
pod: a new version of the chart alone must not replace a balancer's pods, which hold people's sockets. */ -}}
{{- define "wsroute.labels" -}}
app.kubernetes.io/part-of: wsroute
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "wsroute.operator.selector" -}}
app.kubernetes.io/name: wsroute-operator
{{- end }}

{{- define "wsroute.balancer.selector" -}}
app.kubernetes.io/name: wsroute-balancer
wsroute.dev/balancer: {{ .Values.balancer.name }}
{{- end }}

{{- /* The name of a balancer's Deployment, Service, PodDisruptionBudget and NetworkPolicy. */ -}}
{{- define "wsroute.balancer.fullname" -}}
{{ .Values.balancer.name }}-balancer
{{- end }}

{{- /* The port of a listener's URLs, which is its port on the Service: as the operator reckons it. */ -}}
{{- define "wsroute.listener.publicPort" -}}
{{- if .public }}
{{- .public.port | default (eq .public.scheme "wss" | ternary 443 80) }}
{{- else }}
{{- .port }}
{{- end }}
{{- end }}

{{- define "wsroute.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- /* Where pods may run, of `operator` or `balancer`. */ -}}
{{- define "wsroute.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- /* Every namespace with routes, when not all are: those named, and the release's own, where the balancers' Services are. */ -}}
{{- define "wsroute.namespaces" -}}
{{- append .Values.watchNamespaces .Release.Namespace | uniq | sortAlpha | toJson }}
{{- end }}

{{- /* What the operator may do with routes and what they refer to: in every namespace, or in each of a list. */ -}}
{{- define "wsroute.operator.routeRules" -}}
- apiGroups: [wsroute.dev]
  resources: [websocketroutes]
  verbs: [list, watch]
- apiGroups: [wsroute.dev]
  resources: [websocketroutes/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "wsroute.egress.apiServer" -}}
- to: {{- toYaml .Values.networkPolicy.apiServer.to | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- /* The Secrets by which certificates get to the pods; their number is the operator's. */ -}}
{{- define "wsroute.balancer.tlsSecrets" -}}
{{- range $number := until 4 }}
- {{ $.Values.balancer.name }}-tls-{{ $number }}
{{- end }}
{{- end }}
