#!/bin/sh
# deb-test.sh PACKAGE: in a fresh Debian, install the package, read a manual page, complete
# a command, look at weights, remove the package, and see that nothing is left.
# Needs root, debootstrap and Debian's packages.
set -eu
package=$1
[ -f "$package" ] || { echo "no such package: $package; run 'make release VERSION=v0.0.0'" >&2; exit 2; }
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
root=$work/root
mkdir "$root"
chmod 755 "$work"
trap 'umount "$root/proc" 2>/dev/null; rm -rf "$work"' EXIT

echo "== a Debian of its own"
debootstrap --variant=minbase --include=man-db,bash-completion "${SUITE:-stable}" "$root" ${MIRROR:-} >"$work/log" 2>&1 ||
	{ tail "$work/log" >&2; exit 1; }
# Minimal systems leave out manual pages; a user's does not.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/docker "$root"/etc/dpkg/dpkg.cfg.d/excludes
cp "$package" "$root/srv/wtinspect.deb"
cp -r "$here/testdata/yi-tiny" "$root/srv/yi-tiny"
mount -t proc proc "$root/proc" # bash reads what its completions print through /dev/fd
everything() { find "$root" -xdev \( -path "$root/srv" -o -path "$root/var/lib/dpkg" -o -path "$root/var/cache" -o -path "$root/var/log" \) -prune -o -print | sort; }
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }
everything >"$work/before"

echo "== dpkg -i"
inside dpkg -i /srv/wtinspect.deb
inside dpkg --verify wtinspect
inside dpkg -L wtinspect >"$work/files"
wc -l <"$work/files"

echo "== wtinspect version"
inside wtinspect version

echo "== man wtinspect-check | head"
inside man wtinspect-check | head
inside man wtinspect-check | grep -q 'EXIT STATUS'
inside man -f wtinspect-map-list 2>/dev/null || inside sh -c 'mandb -q && man -f wtinspect-map-list'

echo "== wtinspect ch<TAB>, wtinspect check --prof<TAB>"
# What readline does: load the completions of the command, call its function.
cat >"$root/srv/tab" <<'BASH'
compopt() { :; } # is for readline
. /usr/share/bash-completion/bash_completion
tab() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMPREPLY=()
	COMP_POINT=${#COMP_LINE} COMP_TYPE=9
	_completion_loader wtinspect 2>/dev/null || __load_completion wtinspect || [ $? = 124 ]
	local f=$(complete -p wtinspect | sed 's/.*-F \([^ ]*\).*/\1/')
	$f wtinspect "${*: -1}" "${*: -2:1}"
	echo "${COMPREPLY[@]}"
}
tab wtinspect ch
tab wtinspect check --prof
BASH
inside bash /srv/tab | tee "$work/tab"
for word in check --profile; do
	grep -q -- "^$word" "$work/tab" || { echo "$word is not completed" >&2; exit 1; }
done

echo "== wtinspect info, check"
inside wtinspect info /srv/yi-tiny
inside wtinspect check /srv/yi-tiny && code=0 || code=$?
[ "$code" -le 1 ]

echo "== dpkg -r"
inside dpkg -r wtinspect
everything >"$work/after"
diff "$work/before" "$work/after" || { echo "the package left something behind" >&2; exit 1; }
while read -r f; do [ -d "$root$f" ] || [ ! -e "$root$f" ] || { echo "left: $f" >&2; exit 1; }; done <"$work/files"
if inside dpkg -L wtinspect 2>/dev/null; then exit 1; fi
echo "nothing is left"
