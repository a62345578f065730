# Looks for a run, and stops it, word by word. Given: t, R, W.
for tool in grep awk cat; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 1; }; done
known=
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
        case " $found " in *" $pid "*) ;; *) found="$found $pid" ;; esac
    done
}
# Whether what was found is gone, and then whether nothing else has the mark: much cheaper than to look at every process
# there is.
peek() {
    if [ ! -r /proc/self/stat ]; then look; return; fi
    found= failed= blind=0
    living $known
    if [ -z "$found" ]; then
        failed=1 others=
        marks=$(grep -sl -e "BELAY_RUN=$R" -e "BELAY_LOOK=$t" /proc/[0-9]*/environ)
        for file in $marks; do
            pid=${file#/proc/} pid=${pid%/environ}
            if [ "$pid" = "$$" ]; then failed=; else others="$others $pid"; fi
        done
        living $others
    fi
    set -- $found
    count=$#
    # Somebody is in the group that is neither known nor marked: or only the dead are, the same each time, or one that is
    # never there when it is looked for.
    tries=0 before=
    while [ "$count" = 0 ] && [ "$W" != 0 ] && kill -0 "-$W" 2>/dev/null; do
        look
        tries=$((tries + 1))
        if [ "$count" = 0 ] && [ -n "$dead" ] && [ "$dead" = "$before" ]; then break; fi
        if [ "$count" = 0 ] && [ "$tries" -gt 5 ]; then count=1; fi
        before=$dead
    done
}
say ready $$
while IFS= read -r word; do
    case $word in
        TERM) look; tell TERM ;;
        KILL) look; destroy ;;
        *) peek ;;
    esac
    known=$found
    if [ -n "$failed" ]; then say failed; elif [ "$blind" = 1 ] && [ "$W" = 0 ]; then say blind; else say found "$count" $found; fi
done
