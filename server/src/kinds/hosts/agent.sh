# Looks for a run, and stops it, word by word. Given: t, R, W.
for tool in grep awk cat; do command -v "$tool" >/dev/null || { say missing "$tool"; exit 1; }; done
say ready $$
while IFS= read -r word; do
    look
    case $word in
        TERM) tell TERM ;;
        KILL) destroy ;;
    esac
    if [ -n "$failed" ]; then say failed; elif [ "$blind" = 1 ] && [ "$W" = 0 ]; then say blind; else say found "$count" $found; fi
done
