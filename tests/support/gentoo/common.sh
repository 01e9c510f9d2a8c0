# What both stand-ins need; nothing of Portage's own is in here.

evidence() { # what a program here may do, for the tests to read in its log
    touch /stand-in 2>/dev/null && root=writable || root=read-only
    touch "$tree/stand-in" 2>/dev/null && there=writable || there=read-only
    rm -f "$tree/stand-in" 2>/dev/null
    set -- "$(id -u)" "$(id -G)" "$(sed -n 's/^CapEff:\t*//p' /proc/self/status)" "$(echo /sys/class/net/*)"
    echo "evidence: uid=$1 groups=$2 capabilities=$3 network=$4 root=$root tree=$there" >&2
    set -- "$(sed -n 's/^NoNewPrivs:\t*//p' /proc/self/status)" \
        "$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)" \
        "$(cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null)" "$(ulimit -H -f)" "$(ulimit -H -c)"
    echo "limits: no-new-privileges=$1 memory=$2 pids=$3 file=$4 core=$5" >&2
    touch /pipmirror/distfiles/stand-in 2>/dev/null && echo "evidence: what is mirrored is writable" >&2
    echo "variables: $(compgen -e | sort | xargs)" >&2
}

without() { # FEATURE PROBLEM: one that Portage has on, and that must be off where it has neither root nor a writable one
    [[ " ${FEATURES-} " == *" -$1 "* ]] || { echo "$2" >&2; exit 1; }
}

get() { # URL FILE: HTTP with nothing but bash
    local rest=${1#http://} host line status
    host=${rest%%/*}
    exec 3<>"/dev/tcp/${host%%:*}/${host##*:}" || return 1
    printf 'GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n' "${rest#*/}" "$host" >&3
    IFS= read -r status <&3
    while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do :; done
    cat <&3 >"$2"
    local written=$?
    exec 3>&-
    [[ $written = 0 && $status == *" 200 "* ]]
}

tree=/var/db/repos/gentoo
