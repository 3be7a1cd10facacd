#!/bin/sh
# The guestbook's web server; see guestbook.cgi for what it serves.
httpd -f -p 8080 -h /www &
trap 'kill $!; exit 0' TERM INT
wait
