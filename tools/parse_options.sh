# Sourced by scripts that declare `options="stage config ..."` and set each of these variables to its default.
# `--name value` and `--name=value` set the variable. Any other --key goes with its value to the array
# `overrides` where the script declares one, and is refused where it does not.
set -euo pipefail

while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help)
      echo "usage: $0 [--option value ...]"
      for name in $options; do printf '  --%s %s\n' "$name" "${!name:-}"; done
      if declare -p overrides >/dev/null 2>&1; then echo "  --any.config.key value"; fi
      exit 0 ;;
    --*=*) name=${1#--}; value=${name#*=}; name=${name%%=*}; shift ;;
    --?*)
      name=${1#--}
      if [ $# -lt 2 ]; then echo "$0: --$name has no value" >&2; exit 2; fi
      value=$2; shift 2 ;;
    *) echo "$0: expected --option value, got '$1' (see --help)" >&2; exit 2 ;;
  esac
  if [[ " $options " == *" $name "* ]]; then
    printf -v "$name" '%s' "$value"
  elif declare -p overrides >/dev/null 2>&1; then
    overrides+=("--$name" "$value")
  else
    echo "$0: unknown option --$name (known: $options)" >&2; exit 2
  fi
done
