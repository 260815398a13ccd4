#!/usr/bin/env bash
# Writes x.flac beside every x.m4a below a folder, several at once; what is there already is left alone.
# usage: m4a_to_flac.sh FOLDER [JOBS]          needs ffmpeg
set -euo pipefail

folder=${1:?usage: m4a_to_flac.sh FOLDER [JOBS]}
jobs=${2:-4}
command -v ffmpeg >/dev/null || { echo "ffmpeg is not installed" >&2; exit 2; }

convert() {
  out=${1%.m4a}.flac
  if [ -s "$out" ]; then return; fi
  ffmpeg -nostdin -loglevel error -y -i "$1" -ac 1 -ar 16000 -f flac "$out.part" && mv "$out.part" "$out"
}
export -f convert
find "$folder" -name '*.m4a' -print0 | xargs -0 -r -n 1 -P "$jobs" bash -euo pipefail -c 'convert "$1"' convert
