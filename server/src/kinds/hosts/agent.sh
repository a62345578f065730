# Looks for a run, and stops it, word by word. Given: t, R, W.
for tool in grep awk cat; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 1; }; done
known=
# Whether what was found is gone, and nothing else has the mark: much cheaper than to look at every process there is.
peek() {
    if [ ! -r /proc/self/stat ]; then look; return; fi
    marks=$(grep -sl -e "BELAY_RUN=$R" -e "BELAY_LOOK=$t" /proc/[0-9]*/environ)
    found= failed=1 blind=0
    for file in $marks; do
        pid=${file#/proc/} pid=${pid%/environ}
        if [ "$pid" = "$$" ]; then failed=; else known="$known $pid"; fi
    done
    for pid in $known; do
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        case ${stat##*) } in Z* | X*) continue ;; esac
        case " $found " in *" $pid "*) ;; *) found="$found $pid" ;; esac
    done
    set -- $found
    count=$#
    # Somebody is in the group that is neither known nor marked.
    if [ "$count" = 0 ] && [ "$W" != 0 ] && kill -0 "-$W" 2>/dev/null; then look; fi
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
