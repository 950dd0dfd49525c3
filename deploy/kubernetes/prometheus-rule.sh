#!/bin/sh
# The rules of alarms as Prometheus Operator wants them, on stdout: they stand once, in ../prometheus/rules.
#
#     sh deploy/kubernetes/prometheus-rule.sh | kubectl apply -f -
#
# Your Prometheus chooses rules by labels: `kubectl label --local -f - -o yaml LABEL=VALUE` between the two adds one.
set -eu
rules="$(dirname "$0")/../prometheus/rules/daybook.yml"
test -r "$rules"
cat <<'HEAD'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: daybook
  namespace: daybook
  labels:
    app.kubernetes.io/name: daybook
spec:
HEAD
sed 's/^/  /' "$rules"
