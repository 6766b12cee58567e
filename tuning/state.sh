# What apply, revert, check and spread share: settings by their path, and how what was there is kept.
#
# Sourced, not run. A setting is a file below /proc/sys or /sys. What was there is kept in one file,
# `path = value` a line, and the first value of a path is the one that stays: applying twice does not take
# the tuned value for what was there. The file is whole before the first setting is changed, so whatever
# interrupts a change, revert finds all of it.
#
# TUNING_ROOT is put before every path, for tests; TUNING_SAVED is the file.
# shellcheck shell=bash

root=${TUNING_ROOT-}
saved=${TUNING_SAVED:-$root/var/lib/ringpost/tuning.saved}
# What is there until the next boot only, as interrupts and their numbers are: kept where a boot clears it away.
# shellcheck disable=SC2034
saved_until_boot=${TUNING_SAVED:-$root/run/ringpost/tuning.saved}${TUNING_SAVED:+.boot}
# shellcheck disable=SC2034
persisted=$root/etc/sysctl.d/90-ringpost.conf

complain() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# value PATH: what is set, with single blanks. Fails if the kernel does not have it; nothing is a value, too.
value() {
    local -a words=()
    [ -r "$root/$1" ] || return 1
    read -r -a words <"$root/$1" 2>/dev/null
    printf '%s\n' "${words[*]}"
}

# same A B: the same setting, however it is written: 00000000,000000ff is ff.
same() {
    [ "$(plain "$1")" = "$(plain "$2")" ]
}

plain() {
    local text=$1
    case $text in
    *[!0-9a-f,]*) ;;
    *)
        text=${text//,/}
        while [ "${text#0}" != "$text" ] && [ "$text" != 0 ]; do
            text=${text#0}
        done
        ;;
    esac
    printf '%s\n' "$text"
}

# put PATH VALUE: sets it and looks whether it is so.
put() {
    # Without the lock, which would stay with a write that hangs.
    if ! (exec 9>&- && printf '%s\n' "$2" >"$root/$1") 2>/dev/null; then
        complain "/$1: the kernel does not take $2 ($(refusal "$1"))"
        return 1
    fi
    if ! same "$(value "$1")" "$2"; then
        complain "/$1: set to $2, and is $(value "$1")"
        return 1
    fi
}

refusal() {
    if [ "$(id -u)" != 0 ]; then
        echo "this needs root"
    elif [ ! -w "$root/$1" ]; then
        echo "it is read-only here, as in most containers"
    else
        echo "no such value here"
    fi
}

# What was there before, `path = value` a line.
kept() {
    [ ! -f "$saved" ] || grep -v '^#' "$saved"
}

# One change at a time: a second one would keep what the first has only half done.
lock() {
    mkdir -p "${saved%/*}" || return 1
    exec 9>"$saved.lock" || return 1
    if ! flock -n 9; then
        complain "another change is under way ($saved.lock)"
        return 1
    fi
}

# keep PATH…: remembers what is there of those that are not remembered yet. All or nothing.
keep() {
    local path
    {
        echo "# What was there before ringpost's tuning; tuning/revert gives it back and removes this file."
        kept
        for path in "$@"; do
            kept | cut -d' ' -f1 | grep -qxF "$path" || printf '%s = %s\n' "$path" "$(value "$path")"
        done
    } >"$saved.new" && sync "$saved.new" && mv "$saved.new" "$saved"
}
