#!/bin/sh
# nginx asks no /etc/resolv.conf, and each engine has its name server elsewhere: tell it, then become nginx.
set -eu

awk '$1 == "nameserver" { servers = servers " " ($2 ~ /:/ ? "[" $2 "]" : $2) }
     END { print "resolver" servers " valid=2s ipv6=off;" }' /etc/resolv.conf > /tmp/resolver.conf

exec nginx -c /etc/daybook/nginx.conf -g "daemon off;"
