# From `<pid>/stat:<pid> (<name>) <state> <parent> <group> <session> ...` a line, the processes of a run; behind a plus sign
# those that were not there when marks were looked for (`<pid>/environ`, the arguments); and a dot. A name may hold anything,
# also line ends: what counts stands behind the last `) ` of a file.
# `marks`: files of those that carry the mark, and of whoever looks (`self`), which proves that marks can be seen.
# `lead`: leader of the run's session and group, 0 when that is not known.
BEGIN {
    for (i = 1; i < ARGC; i++) before[ARGV[i] + 0] = 1
    ARGC = 1
}
{
    at = index($0, ":")
    last[substr($0, 1, at - 1) + 0] = substr($0, at + 1)
}
END {
    for (pid in last) {
        text = last[pid]
        while (at = index(text, ") ")) text = substr(text, at + 2)
        split(text, field, " ")
        # What is a zombie by its first thread lives on in the others.
        if (field[1] == "X" || (field[1] == "Z" && field[18] + 0 < 2) || pid + 0 < 2) continue
        parent[pid] = field[2]; group[pid] = field[3]; session[pid] = field[4]
    }
    count = split(marks, mark, /[^0-9]+/)
    for (i = 1; i <= count; i++) {
        pid = mark[i] + 0
        if (pid == self) sees = 1
        else if (pid in parent) ours[pid] = 1
    }
    # Whoever looks is no part of the run, even where it was started by it.
    if (self in parent) looking[self] = 1
    do {
        more = 0
        for (pid in parent) if (!(pid in looking) && (parent[pid] in looking)) { looking[pid] = 1; more = 1 }
    } while (more)
    do {
        more = 0
        for (pid in parent) {
            if ((pid in ours) || (pid in looking)) continue
            led = lead && (session[pid] == lead || group[pid] == lead)
            if (led || (parent[pid] in ours) || (session[pid] in ours) || (group[pid] in ours)) { ours[pid] = 1; more = 1 }
        }
    } while (more)
    for (pid in ours) printf "%d ", pid
    printf "+ "
    if (!blind) for (pid in parent) if (!(pid in before) && !(pid in ours) && !(pid in looking)) printf "%d ", pid
    if (sees || (blind && (self in parent))) print "."
}
