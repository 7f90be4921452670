#!/bin/sh
# Runs as the user, in the user's login session, started by the agent (agent/spawn.ts). It copies the skylet's bundle to
# the user's ~/.sky when it is missing there or different, and becomes the skylet. It prints nothing, touches nothing
# outside ~/.sky/skylet, and where the home is full or not writable the installed bundle is run instead.
# A small young generation keeps an idle skylet under 60 MB.
# Arguments: NODE BUNDLE VERSION SOCKET DIR IDLE_SECONDS AGENT_UID
exec </dev/null >/dev/null 2>&1
node=$1
bundle=$2
version=$3
socket=$4
dir=$5
idle=$6
agent_uid=$7
# Node raises the soft limit of open files to the hard one; a job must get the one of the login.
nofile=$(ulimit -Sn)
run=$bundle
case $HOME in
/?*)
  folder=$HOME/.sky/skylet/$version
  copy=$folder/skylet.mjs
  temporary=$folder/.skylet.mjs.$$
  if cmp -s "$bundle" "$copy"; then
    run=$copy
  elif (umask 077 && mkdir -p "$folder" && cp "$bundle" "$temporary" && cmp -s "$bundle" "$temporary" &&
    mv -f "$temporary" "$copy"); then
    run=$copy
  else
    rm -f "$temporary"
  fi
  ;;
esac
exec "$node" --max-semi-space-size=1 "$run" --socket "$socket" --dir "$dir" --version "$version" --nofile "$nofile" \
  --idle "$idle" --agent-uid "$agent_uid"
