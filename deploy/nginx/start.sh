#!/bin/sh
# nginx asks no /etc/resolv.conf, and each engine has its name server elsewhere: tell it, then become nginx.
# The first one only: it is the engine's own. podman lists the machine's as well, which knows no `api`, and nginx asks
# all of them in turn.
set -eu

awk '$1 == "nameserver" { print "resolver " ($2 ~ /:.*:/ ? "[" $2 "]" : $2) " valid=2s ipv6=off;"; exit }' \
    /etc/resolv.conf > /tmp/resolver.conf

exec nginx -c /etc/daybook/nginx.conf -g "daemon off;"
