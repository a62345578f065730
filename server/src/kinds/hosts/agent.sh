# Looks for a run, and stops it, word by word. Given: t, R, W.
for tool in grep awk; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 1; }; done
known= told= full=
# What forks and ends all the time is in no list for long enough, but no fork gets out of its group.
tell_group() { [ "$W" = 0 ] || kill "-$1" "-$W" 2>/dev/null; }
# What counts in it stands behind the last `) `: a name may hold anything.
read_stat() {
    stat=
    { while IFS= read -r line; do stat=$line; done <"/proc/$1/stat"; } 2>/dev/null
}
# Those of these that live are found.
living() {
    for pid; do
        read_stat "$pid"
        set -- ${stat##*) }
        # What is a zombie by its first thread lives on in the others.
        case ${1-} in "" | X) continue ;; Z) [ "${18:-1}" -gt 1 ] || continue ;; esac
        found="$found $pid"
    done
}
# While anybody is in the group or session of the leader nobody else gets its number. Somebody else has it: they are gone.
check_leader() {
    [ "$W" != 0 ] && [ -r /proc/self/stat ] || return
    grep -qs -e "BELAY_RUN=$R" "/proc/$W/environ" && return
    read_stat "$W"
    set -- ${stat##*) }
    # It has no environment any more when it is about to end, which is flag 4 (PF_EXITING).
    case ${1-} in "" | X | Z) ;; *) [ $(($7 & 4)) -ne 0 ] || W=0 ;; esac
}
# The leader and all below it, which is most often all of the run and much cheaper than to look at every process.
family() {
    found= failed= blind=0 rest= full=1
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
# The look found nothing.
is_none() { [ -z "$failed" ] && [ "$count" = 0 ]; }
# A look, and further ones where it found nothing but somebody may be there. Without the leader there is no group to ask:
# then nothing is believed only the second time.
search() {
    check_leader
    look
    if is_none && [ "$W" = 0 ]; then look; fi
    # Its group is there. Those in it are dead, or begin each other faster than a look takes: for one look nothing moves.
    if is_none && [ "$W" != 0 ] && kill -0 "-$W" 2>/dev/null; then
        tell_group STOP
        look
        tell_group CONT
    fi
    # Somebody who is not the one that looks had the mark, and went before they were seen.
    tries=0
    while is_none && [ "$blind" = 0 ] && [ "$(echo $marks)" != "$$/environ" ]; do
        if [ "$tries" -gt 5 ]; then count=1; break; fi
        tries=$((tries + 1))
        look
    done
}
# What is left of what was found before. All processes are looked at when that is nothing, and once when only the family
# was told: the rest of the run is told then.
peek() {
    found= failed= blind=0
    living $known
    if [ -z "$found" ] || [ -n "$full" ]; then full=; search; return; fi
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
        TERM)
            check_leader
            family || search
            if [ -z "$found" ] && [ "$count" -gt 0 ]; then tell_group TERM; fi
            tell TERM
            set -- $found
            told=" $* "
            ;;
        KILL) check_leader; look; destroy ;;
        *) peek; remind ;;
    esac
    known=$found
    if [ -n "$failed" ]; then say failed; elif [ "$blind" = 1 ] && [ "$W" = 0 ]; then say blind; else say found "$count" "$late"; fi
done
