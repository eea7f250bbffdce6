#!/usr/bin/env bash
# Runs wtinspect check. Inputs are variables: PROGRAM, CHECK_PATH, CHANGED, EVENT, BASE,
# FAIL_ON, PROFILE, ARGS. The output is sarif.
set -uo pipefail

reports=$(mktemp -d "$RUNNER_TEMP/wtinspect.XXXXXX") || exit 2
sarif=$reports/wtinspect.sarif summary=$reports/summary.md

# git runs without what the configuration of a repository could have it run.
git() { command git -c safe.bareRepository=explicit -c core.fsmonitor=false "$@"; }

# base prints the commit that HEAD is compared with. It fails where git cannot tell, as
# in a checkout without history.
base() {
  case $EVENT in
    pull_request)
      # HEAD is the merge into the base, or else what is to be merged.
      if [ "$(git rev-parse HEAD)" = "${GITHUB_SHA:-}" ] && git rev-parse --quiet --verify 'HEAD^2' >/dev/null; then
        git rev-parse --quiet --verify 'HEAD^1'
      else
        git merge-base "$BASE" HEAD
      fi ;;
    push | merge_group) git rev-parse --quiet --verify "$BASE^{commit}" ;;
    *) return 1 ;;
  esac
} 2>/dev/null

what=(-R .)
if [ -n "$CHECK_PATH" ]; then
  what=(-R --)
  while IFS= read -r line; do
    line=${line%$'\r'}
    [ -z "$line" ] || what+=("$line")
  done <<<"$CHECK_PATH"
elif [ "$CHANGED" = true ]; then
  if from=$(base) &&
    git diff --no-ext-diff --no-textconv --no-renames --relative --name-only -z "$from" HEAD -- >"$reports/changed"; then
    what=(--changed --null --files-from "$reports/changed")
    echo "Judging the releases that have changed since $from."
  else
    echo 'Judging all releases: this checkout does not tell what has changed; with fetch-depth: 0 it does.'
  fi
fi

# What is split at blanks are the arguments that ARGS is: nothing in it is run.
set -f
# shellcheck disable=SC2206
more=($ARGS)
"$PROGRAM" check -f github ${FAIL_ON:+--fail-on "$FAIL_ON"} ${PROFILE:+--profile "$PROFILE"} \
  --report "sarif=$sarif" --report "markdown=$summary" ${more[@]+"${more[@]}"} "${what[@]}"
code=$?
if [ -f "$sarif" ]; then
  printf 'sarif=%s\n' "$sarif" >>"$GITHUB_OUTPUT"
fi
if [ -f "$summary" ]; then
  cat "$summary" >>"$GITHUB_STEP_SUMMARY"
fi
exit $code
