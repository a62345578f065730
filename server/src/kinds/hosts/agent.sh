# Looks for a run, and stops it, word by word. Given: t, R, W.
for tool in grep awk; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 1; }; done
known= told=
alive() {
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    case ${stat##*) } in Z* | X*) return 1 ;; esac
}
# The leader and all below it, which is most often all of the run and much cheaper than to look at every process.
family() {
    found= failed= blind=0 rest=
    [ -r "/proc/$W/task/$W/children" ] && rest=$W
    while [ -n "$rest" ]; do
        set -- $rest
        rest=
        for pid; do
            [ "$pid" != "$$" ] && alive "$pid" || continue
            found="$found $pid"
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
# What is left of what was found before. Only when that is nothing all processes are looked at.
peek() {
    found=
    for pid in $known; do
        if alive "$pid"; then found="$found $pid"; fi
    done
    if [ -z "$found" ]; then look; return; fi
    failed= blind=0
    set -- $found
    count=$#
}
# Tells those to end that were not told before.
remind() {
    late=0
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
        TERM) family || look; tell TERM; set -- $found; told=" $* " ;;
        KILL) look; destroy ;;
        *) peek; remind ;;
    esac
    known=$found
    if [ -n "$failed" ]; then say failed; elif [ "$blind" = 1 ] && [ "$W" = 0 ]; then say blind; else say found "$count" "$late"; fi
done
