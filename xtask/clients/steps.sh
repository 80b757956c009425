# Steps of a script: a line for each, and 1 at the end if one failed. $KUBECTL and the client's words are the caller's.
set -uo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
failed=0

# step NAME COMMAND…: the command ends well.
step() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then echo "ok $name"; else echo "FAILED $name: $(tail -n 15 <<<"$said")"; failed=1; fi
}

# says NAME PATTERN COMMAND…: it ends well and says what matches the extended regular expression.
says() {
    local name=$1 pattern=$2 said
    shift 2
    if said=$("$@" 2>&1) && grep -qE -- "$pattern" <<<"$said"; then echo "ok $name"; else
        echo "FAILED $name: not /$pattern/ but: $(tail -n 15 <<<"$said")"
        failed=1
    fi
}

# refused NAME PATTERN COMMAND…: it fails and says so.
refused() {
    local name=$1 pattern=$2 said
    shift 2
    if ! said=$("$@" 2>&1) && grep -qE -- "$pattern" <<<"$said"; then echo "ok $name"; else
        echo "FAILED $name: not refused with /$pattern/: $(tail -n 15 <<<"$said")"
        failed=1
    fi
}
