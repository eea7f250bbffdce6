#!/usr/bin/env bash
# Installs the program of a release, when its archive has the digest that is known.
# Inputs are variables: BINARY, VERSION, SHA256, RELEASES. The output is program.
set -euo pipefail

fail() {
  printf '::error title=wtinspect is not installed::%s\n' "$1"
  exit 2
}

# put writes an output. A newline would begin another one.
put() {
  case $1 in *$'\n'* | *$'\r'*) fail 'the path of the program has a line break' ;; esac
  printf 'program=%s\n' "$1" >>"$GITHUB_OUTPUT"
}

if [ -n "$BINARY" ]; then
  [ -x "$BINARY" ] || fail 'the input binary is not a program'
  put "$BINARY"
  exit 0
fi

case ${RUNNER_OS:-} in
  Linux) os=linux ;;
  macOS) os=darwin ;;
  Windows) os=windows ;;
  *) fail 'releases are for runners of Linux, macOS and Windows; elsewhere give the input binary' ;;
esac
case ${RUNNER_ARCH:-} in
  X64) arch=amd64 ;;
  ARM64) arch=arm64 ;;
  *) fail 'releases are for X64 and ARM64; elsewhere give the input binary' ;;
esac
extension=tar.gz program=wtinspect
if [ "$os" = windows ]; then
  extension=zip program=wtinspect.exe
fi

sums=$(dirname "${BASH_SOURCE[0]}")/SHA256SUMS
if [ -z "$VERSION" ]; then
  VERSION=$(sed -n "s/^[0-9a-f]\{64\}  wtinspect_\(.*\)_${os}_${arch}\.$extension\$/\1/p" "$sums")
  [ -n "$VERSION" ] || fail 'this commit of the action has no release; use one that has, or give the inputs version and sha256'
fi
number=${VERSION#v}
[[ $number =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || fail 'the input version is not of the form v1.2.3'
archive=wtinspect_${number}_${os}_$arch.$extension

if [ -z "$SHA256" ]; then
  SHA256=$(sed -n "s/^\([0-9a-f]\{64\}\)  $archive\$/\1/p" "$sums")
  [ -n "$SHA256" ] || fail "this commit of the action does not know the digest of $archive; give it as the input sha256"
fi
[[ $SHA256 =~ ^[0-9a-f]{64}$ ]] || fail 'the input sha256 is not 64 hexadecimal digits in lower case'

dir=$RUNNER_TEMP/wtinspect-$number-$os-$arch
mkdir -p "$dir"
if ! curl --fail --silent --show-error --location --retry 3 --output "$dir/$archive" "$RELEASES/v$number/$archive"; then
  fail "$archive could not be downloaded; the log says why"
fi
if command -v sha256sum >/dev/null; then
  digest=$(sha256sum <"$dir/$archive")
else
  digest=$(shasum -a 256 <"$dir/$archive")
fi
if [ "${digest%% *}" != "$SHA256" ]; then
  rm -f "$dir/$archive"
  fail "$archive has the digest ${digest%% *}, and $SHA256 was expected: it is not the file that was released"
fi
if [ "$extension" = zip ]; then
  unzip -q -o "$dir/$archive" "$program" -d "$dir"
else
  tar -xzf "$dir/$archive" -C "$dir" "$program"
fi
put "$dir/$program"
