# Looks for a run, and stops it, word by word. Given: t, R, W.
for tool in grep awk; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 1; }; done
known= told=
# What forks and ends all the time is in no list for long enough, but no fork gets out of its group.
tell_group() { [ "$W" = 0 ] || kill "-$1" "-$W" 2>/dev/null; }
# Those of these that live are found.
living() {
    for pid; do
        stat=
        { while IFS= read -r line; do stat=$line; done <"/proc/$pid/stat"; } 2>/dev/null
        set -- ${stat##*) }
        # What is a zombie by its first thread lives on in the others.
        case ${1-} in "" | X) continue ;; Z) [ "${18:-1}" -gt 1 ] || continue ;; esac
        found="$found $pid"
    done
}
# The leader and all below it, which is most often all of the run and much cheaper than to look at every process.
family() {
    found= failed= blind=0 rest=
    [ -r "/proc/$W/task/$W/children" ] && rest=$W
    while [ -n "$rest" ]; do
        living $rest
        set -- $rest
        rest=
        for pid; do
            for file in "/proc/$pid/task/"[0-9]*/children; do
                kids=
                { read -r kids <"$file"; } 2>/dev/null
                rest="$rest $kids"
            done
        done
        set -- $rest
        rest=$*
    done
    set -- $found
    count=$#
    [ "$count" -gt 0 ]
}
# A look, and another one while somebody is in the group who is not found: only the dead are, the same each time, or one
# that is never there when it is looked for.
search() {
    look
    tries=0 before=
    while [ -z "$failed" ] && [ "$count" = 0 ] && [ "$W" != 0 ] && kill -0 "-$W" 2>/dev/null; do
        if [ -n "$dead" ] && [ "$dead" = "$before" ]; then break; fi
        if [ "$tries" -gt 5 ]; then count=1; break; fi
        tries=$((tries + 1)) before=$dead
        look
    done
}
# What is left of what was found before. Only when that is nothing all processes are looked at.
peek() {
    found= failed= blind=0
    living $known
    if [ -z "$found" ]; then search; return; fi
    set -- $found
    count=$#
}
# Tells those to end that were not told before.
remind() {
    [ -n "$told" ] || return
    for pid in $found; do
        case $told in *" $pid "*) continue ;; esac
        kill -s TERM "$pid" 2>/dev/null
        told="$told$pid " late=$((late + 1))
    done
}
say ready $$
while IFS= read -r word; do
    late=0
    case $word in
        TERM) family || search; tell TERM; set -- $found; told=" $* " ;;
        KILL) look; destroy ;;
        *) peek; remind ;;
    esac
    known=$found
    if [ -n "$failed" ]; then say failed; elif [ "$blind" = 1 ] && [ "$W" = 0 ]; then say blind; else say found "$count" "$late"; fi
done
