# Functions of whoever looks for a run. Given: t, the token of what is said here; R, the run; W, its leader or 0.
say() { printf "%s %s\n" "$t" "$*"; }
# Bytes are bytes, whatever the host's language makes of them.
LC_ALL=C
export LC_ALL
look() {
    blind=0 marks=
    if [ -r /proc/self/stat ]; then
        marks=$(grep -sl -e "BELAY_RUN=$R" -e "BELAY_LOOK=$t" /proc/[0-9]*/environ)
    else
        blind=1
    fi
    found=$(
        if [ "$blind" = 0 ]; then grep -s "^" /proc/[0-9]*/stat
        else ps -A -o pid= -o ppid= -o pgid= | awk '{ print "/proc/" $1 "/stat:(-) S " $2 " " $3 " " $3 " -" }'
        fi 2>/dev/null | awk -v marks="$(echo $marks)" -v self="$$" -v lead="$W" -v blind="$blind" "$awk"
    )
    # Without the dot the look itself failed, and says nothing.
    case $found in
        *d*.) dead=${found##*d}; found=${found%d*}; failed= ;;
        *) found=; dead=; failed=1 ;;
    esac
    set -- $found
    count=$#
}
tell() { [ -z "$found" ] || kill -s "$1" $found 2>/dev/null; }
# Who is in the group cannot signal it as a whole without ending.
tell_group() { :; }
# Nothing is killed before all of it stands still: what forks faster than it is found would get away.
destroy() {
    tries=0 before=-1
    while [ "$count" -gt "$before" ] && [ "$tries" -lt 20 ]; do
        before=$count tries=$((tries + 1))
        tell_group STOP
        tell STOP
        look
    done
    tell_group KILL
    tell KILL
}
