# Functions of whoever looks for a run. Given: t, the token of what is said here; R, the run; W, its leader or 0.
say() { printf "%s %s\n" "$t" "$*"; }
# Bytes are bytes, whatever the host's language makes of them.
LC_ALL=C
export LC_ALL
# All processes that there are. What was forked meanwhile is looked at afterwards: its parent may have gone unread.
look() {
    blind=0
    if [ -r /proc/self/stat ]; then
        cd /proc
        set -- [0-9]*/environ
        marks=$(grep -sl -e "BELAY_RUN=$R" -e "BELAY_LOOK=$t" "$@")
        # Not read by awk: what ends while it is read ends mawk, too.
        found=$(grep -s "^" [0-9]*/stat | ours "$@")
    else
        blind=1 marks=
        found=$(ps -A -o pid= -o ppid= -o pgid= | awk '{ print $1 "/stat:(-) S " $2 " " $3 " " $3 " -" }' 2>/dev/null | ours)
    fi
    # Without the dot the look itself failed, and says nothing.
    failed=1 born=
    case $found in
        *.)
            failed=
            found=${found%.}
            born=${found#*+}
            found=${found%%+*}
            ;;
        *) found= ;;
    esac
    set --
    for pid in $born; do set -- "$@" "$pid/environ"; done
    if [ "$#" -gt 0 ]; then
        for file in $(grep -sl -e "BELAY_RUN=$R" "$@"); do found="$found ${file%/*}"; done
    fi
    set -- $found
    count=$#
}
ours() { awk -v marks="$(echo $marks)" -v self="$$" -v lead="$W" -v blind="$blind" "$awk" "$@"; }
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
