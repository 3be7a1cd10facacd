#!/bin/sh
# Redis as leader, or as a follower of the host in $LEADER.
mkdir -p /data
exec /usr/bin/redis-server --protected-mode no --bind 0.0.0.0 --dir /data --save "" ${LEADER:+--replicaof "$LEADER" 6379}
