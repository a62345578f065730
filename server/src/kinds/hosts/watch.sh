# Stops the run when the connection is gone, as nobody is left to do it. Unmarked, so that it does not find itself.
trap "" TERM HUP INT
t=$1 R=$2 W=$3 G=$4
while IFS= read -r line; do :; done
kill -s USR1 "$W"
look
tell TERM
while [ "$count" -gt 0 ] && [ "$G" -gt 0 ]; do G=$((G - 1)); sleep 1; look; done
tries=0
while [ "$count" -gt 0 ] && [ "$tries" -lt 60 ]; do tries=$((tries + 1)); destroy; sleep 1; look; done
# The last act: with the group goes what forks faster than it is found.
kill -KILL "-$W"
