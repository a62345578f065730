# Leads the session and the process group of a run, starts its command, and says how it ended.
say() { printf "%s %s\n" "$t" "$*"; }
trap : TERM HUP INT
# The watcher has begun to stop the run: it must not be ended with the command.
cut=
trap cut=1 USR1
# Nothing is begun where its stop could not be proven.
for tool in grep awk; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 126; }; done
[ -r /proc/self/stat ] || [ "$(ps -A -o pid= -o ppid= -o pgid= 2>/dev/null | awk -v me="$$" '$1 == me { print "seen" }')" ] || { say missing ps; exit 126; }
say ready $$
IFS= read -r word && [ "$word" = go ] || exit 126
exec 3<&0 </dev/null
env -i PATH="$PATH" BELAY_LOOK="$t" sh -c "$watch" belay "$t" "$R" "$$" "$G" <&3 3<&- >/dev/null 2>&1 &
watcher=$!
exec 3<&-
# A server that makes no session for a command leaves that to us.
own=
{ read -r stat </proc/$$/stat && stat=${stat##*) } && set -- $stat && [ "$4" != "$$" ] && command -v setsid && own=setsid
} >/dev/null 2>&1
command_of_the_run
{
    while :; do
        wait "$child"
        status=$?
        kill -s 0 "$child" || break
    done
    [ "$cut" ] || kill -s KILL "$watcher"
    wait "$watcher"
} 2>/dev/null
say ended "$status"
exit "$status"
