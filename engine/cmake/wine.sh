#!/bin/sh
# Runs a Windows program: wine.sh PREFIX PROGRAM [ARGUMENTS…]. PREFIX is a folder for a Windows of its
# own, made when it is missing. No display is needed.
set -u
prefix=$1
shift
unset DISPLAY
export WINEPREFIX="$prefix" WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml=
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

# Two programs that start at once would make it twice.
if ! [ -e "$prefix.made" ]; then
  flock "$prefix.lock" sh -c "[ -e '$prefix.made' ] || { wineboot -i && touch '$prefix.made'; }" \
    >"$folder/making" 2>&1 </dev/null
  if ! [ -e "$prefix.made" ]; then
    cat "$folder/making" >&2
    exit 1
  fi
fi

# Into files, since wine's services, which the first program starts, keep its output open, and who
# reads a pipe would wait for them.
wine "$@" >"$folder/out" 2>"$folder/err" </dev/null
status=$?
cat "$folder/out"
cat "$folder/err" >&2
exit $status
