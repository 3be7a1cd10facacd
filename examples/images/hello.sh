#!/bin/sh
# The whole program of the hello image: a page that says which pod answers. The shell stays process 1 and passes
# TERM on, since a first process without a handler would not see it.
mkdir -p /tmp/www
echo "Hello from $HOSTNAME (${ADDRESS:-no address}) on ${NODE:-an unknown node}" >/tmp/www/index.html
httpd -f -p "${PORT:-8080}" -h /tmp/www &
trap 'kill $!; exit 0' TERM INT
wait
