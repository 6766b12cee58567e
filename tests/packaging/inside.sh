#!/usr/bin/env bash
# What is done with the Debian package on a system that systemd has booted. Run by tests/packaging/debian, as root; a line
# that begins with == tells how far it is, and the first thing that is not so ends it.
set -eu

package=$(echo /test/ringpost_*.deb)
trap 'echo "line $LINENO: this is not so"; journalctl --no-pager --unit ringpost | tail -20' ERR

# All files that a package could leave behind. Aside: what dpkg, adduser and systemd keep of whatever they do.
files() {
    find /etc /usr /var /run -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /run/systemd \
        -o -path /run/udev -o -path /run/user -o -path /run/utmp -o -path /var/lib/systemd \
        -o -path '/etc/*-' -o -path '/etc/.pwd.lock' -o -path /run/adduser -o -path /run/agetty.reload \) -prune -o -printf '%p %y %m %u\n' | sort
    cat /etc/passwd /etc/group
}

is() {
    [ "$1" = "$2" ] || {
        printf 'got      %s\nexpected %s\n' "$1" "$2"
        return 1
    }
}

main_pid() {
    systemctl show --property MainPID --value ringpost
}

echo "== install"
files >/tmp/before
dpkg --install "$package"
is "$(systemctl is-active ringpost)" active
is "$(systemctl is-enabled ringpost)" enabled
pid=$(main_pid)
is "$(stat --format %U "/proc/$pid")" ringpost
is "$(readlink "/proc/$pid/exe")" /usr/bin/ringpost
is "$(ringpost health)" ok
is "$(ringpost health --ready)" ready
is "$(ringpost online nobody || true)" fail
is "$(systemctl show --property NRestarts --value ringpost)" 0
dpkg --verify ringpost

echo "== manual and completions"
for page in ringpost ringpost-bench; do man --warnings "$page" >"/tmp/$page" 2>/tmp/warnings; done
is "$(cat /tmp/warnings)" ""
grep -q -- --drain-timeout /tmp/ringpost
bash -ic '
    source /usr/share/bash-completion/bash_completion
    _completion_loader ringpost
    COMP_WORDS=(ringpost --drain-t) COMP_CWORD=1 COMP_LINE="ringpost --drain-t"
    _ringpost ringpost --drain-t ringpost
    [ "${COMPREPLY[*]}" = --drain-timeout ]
    COMP_WORDS=(ringpost --driver "") COMP_CWORD=2
    _ringpost ringpost "" --driver
    [ "${COMPREPLY[*]}" = "auto uring epoll" ]' 2>/tmp/bash || { cat /tmp/bash; false; }
is "$(fish --command 'complete --do-complete "ringpost --drain-t"' | cut -f1)" --drain-timeout
zsh -ec 'autoload -Uz compinit; compinit -u -D; [ "$_comps[ringpost]" = _ringpost ]; autoload +X _ringpost; which _ringpost' |
    grep -q -- --drain-timeout

echo "== reload"
echo 'drain_delay = "1s"' >>/etc/ringpost/ringpost.toml
systemctl reload ringpost
journalctl --no-pager --unit ringpost | grep -q drain_delay
echo 'drain_dely = "1s"' >>/etc/ringpost/ringpost.toml
if systemctl reload ringpost 2>/dev/null; then
    echo "a mistake in the file is taken over"
    false
fi
sed -i '$d' /etc/ringpost/ringpost.toml
is "$(main_pid)" "$pid"

echo "== a secret for the service's group alone"
echo 'read 0123456789abcdef' >/etc/ringpost/tokens
chown root:ringpost /etc/ringpost/tokens
chmod 640 /etc/ringpost/tokens
printf '[backend]\ntokens_file = "/etc/ringpost/tokens"\n' >>/etc/ringpost/ringpost.toml
systemctl restart ringpost
is "$(ringpost stats --json >/dev/null 2>&1 || echo refused)" refused
ringpost stats --token 0123456789abcdef >/dev/null
rm /etc/ringpost/tokens

echo "== settings"
before=$(cat /proc/sys/net/ipv4/ip_local_port_range)
/usr/share/ringpost/tuning/apply >/dev/null 2>&1 || true
is "$(tr '\t' ' ' </proc/sys/net/ipv4/ip_local_port_range)" "10240 65535"

echo "== upgrade"
sed -i '/^\[backend\]$/,$d' /etc/ringpost/ringpost.toml
systemctl restart ringpost
pid=$(main_pid)
exec 5<>/dev/tcp/127.0.0.1/5678
echo '{"uid":"nobody","percent":"1%"}' >&5
read -r -t 20 answer <&5
is "$answer" fail
dpkg --install "$package"
is "$(systemctl is-active ringpost)" active
successor=$(main_pid)
[ "$successor" != "$pid" ]
[ ! -e "/proc/$pid" ]
is "$(systemctl show --property NRestarts --value ringpost)" 0
grep -q drain_delay /etc/ringpost/ringpost.toml
# Who was connected still is.
echo '{"uid":"nobody","percent":"2%"}' >&5
read -r -t 20 answer <&5
is "$answer" fail
exec 5>&-
is "$(readlink "/proc/$successor/exe")" /usr/bin/ringpost

echo "== upgrade with a mistake in the configuration"
echo 'drain_dely = "1s"' >>/etc/ringpost/ringpost.toml
dpkg --install "$package" 2>&1 | tee /tmp/mistaken
grep -q drain_dely /tmp/mistaken
grep -q 'left as it is' /tmp/mistaken
is "$(main_pid)" "$successor"
is "$(ringpost health)" ok
sed -i '$d' /etc/ringpost/ringpost.toml
systemctl disable --now ringpost 2>/dev/null
dpkg --install "$package"
is "$(systemctl is-active ringpost || true) $(systemctl is-enabled ringpost || true)" "inactive disabled"
systemctl enable --now ringpost 2>/dev/null

echo "== remove"
dpkg --remove ringpost
is "$(systemctl is-active ringpost || true)" inactive
is "$(cat /proc/sys/net/ipv4/ip_local_port_range)" "$before"
grep -q drain_delay /etc/ringpost/ringpost.toml
[ ! -e /usr/bin/ringpost ]

echo "== purge"
dpkg --purge ringpost
files >/tmp/after
diff /tmp/before /tmp/after
