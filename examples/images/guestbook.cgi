#!/bin/sh
# The guestbook's page: shows the entries that a Redis follower has, and stores a new one with the leader.
send() { # host, then the words of one Redis command
  host=$1; shift
  { printf '*%d\r\n' $#
    for word; do printf '$%d\r\n%s\r\n' "$(printf %s "$word" | wc -c)" "$word"; done
    printf '*1\r\n$4\r\nQUIT\r\n'; } | nc -w 2 "$host" 6379
}
decode() { printf '%b' "$(printf %s "$1" | sed 's/+/ /g; s/%\(..\)/\\x\1/g')"; }
escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }

entry=
case "$QUERY_STRING" in entry=*) entry=$(decode "${QUERY_STRING#entry=}") ;; esac
if [ "$REQUEST_METHOD" = POST ]; then
  body=$(head -c "${CONTENT_LENGTH:-0}")
  entry=$(decode "${body#entry=}")
fi
if [ -n "$entry" ]; then
  if send redis-leader RPUSH entries "$entry" | grep -q '^:'; then status="stored"; else status="not stored: no leader"; fi
fi
printf 'Content-Type: text/html; charset=utf-8\r\n\r\n'
cat <<PAGE
<!doctype html><title>Guestbook</title><h1>Guestbook</h1>
<form method=post><input name=entry autofocus> <button>Sign</button></form><p>${status:-}</p><ol>
PAGE
send redis-follower LRANGE entries 0 -1 | tr -d '\r' | grep -v '^[*$+]' | escape | sed 's/.*/<li>&<\/li>/'
echo "</ol><small>answered by $HOSTNAME</small>"
