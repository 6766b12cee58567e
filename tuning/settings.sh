# tuning/sysctl.conf as apply and check read it. Sourced after state.sh.
#
# TUNING_SETTINGS is another such file, for tests.
# shellcheck shell=bash disable=SC2034

settings=${TUNING_SETTINGS:-$here/sysctl.conf}

# compare: fills `lacking` and `wanted` (number by number), `enough` and `missing` with paths.
compare() {
    local key want path have words
    lacking=() wanted=() enough=() missing=()
    while IFS='=' read -r key want; do
        key=${key//[[:space:]]/}
        read -r -a words <<<"$want"
        want=${words[*]}
        path=proc/sys/${key//.//}
        if ! have=$(value "$path"); then
            missing+=("$path")
        elif is_enough "$have" "$want"; then
            enough+=("$path")
        else
            lacking+=("$path")
            wanted+=("$want")
        fi
    done < <(grep -E '^[a-z].*=' "$settings")
}

# is_enough HAVE WANT: a number is a least value, two are a range that must be within; 0 means 0, and what is
# no number means itself.
is_enough() {
    local -a held least
    read -r -a held <<<"$1"
    read -r -a least <<<"$2"
    case $1$2 in
    *[!0-9\ ]*)
        [ "$1" = "$2" ]
        return
        ;;
    esac
    case ${#least[@]}:$2 in
    1:0) [ "$1" = 0 ] ;;
    1:*) at_least "$1" "$2" ;;
    2:*) at_least "${least[0]}" "${held[0]}" && at_least "${held[1]}" "${least[1]}" ;;
    *) [ "$1" = "$2" ] ;;
    esac
}

# Some are as large as 64 bits, where the shell's own numbers end.
at_least() {
    if [ "${#1}" = "${#2}" ]; then
        [[ $1 == "$2" || $1 > $2 ]]
    else
        [ "${#1}" -gt "${#2}" ]
    fi
}

name_of() {
    local name=${1#proc/sys/}
    printf '%s\n' "${name//\//.}"
}

# The file in /etc is the one we put there.
is_ours() {
    head -n 1 "$1" | grep -q '^# ringpost: '
}
