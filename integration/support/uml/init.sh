#!/bin/bash
# PID 1 of a User-Mode Linux of the tests; support/uml.rs starts it. UML_RUN, a variable from the kernel's command line, is the
# directory that both share:
#   fstab, modules, setup   what is mounted, loaded and run, with the shell's words, before anything else is
#   N.sh                    a command; N.out and N.err are what it said
# The second console carries lines. In: `run N`, `kill N`. Out: `ready STATUS-OF-SETUP`, `done N STATUS`.
own=/run/uml
export PATH=$own/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C

# Everything by one mount(8): a process costs more here than a mount.
mount --all --fstab "$UML_RUN/fstab"

# Where the host has no /usr/lib/modules there is nothing to mount on. The kernel, and programs that load modules themselves
# (ipvsadm, keepalived), ask the kernel's setting for the name of modprobe.
mkdir -p $own/bin $own/lib/modules $own/jobs
ln -s "/usr/lib/uml/modules/$(uname -r)" $own/lib/modules/
printf '#!/bin/sh\nexec %s -d %s "$@"\n' "$(PATH=${PATH#*:} type -P modprobe)" $own > $own/bin/modprobe
chmod 755 $own/bin/modprobe
echo $own/bin/modprobe > /proc/sys/kernel/modprobe
mapfile -t modules < "$UML_RUN/modules"
modprobe -a "${modules[@]}"

# What a command says goes to memory first: hostfs shows the host a file only once it is closed, and a program that a command
# left behind may keep it open.
perform() {
  (. "$UML_RUN/$1.sh") < /dev/null > "$own/jobs/$1.out" 2> "$own/jobs/$1.err" 3>&-
  answer "$1" $?
}
answer() {
  local kind
  for kind in out err; do
    if [[ -s $own/jobs/$1.$kind ]]; then cat "$own/jobs/$1.$kind" > "$UML_RUN/$1.$kind"; fi
    rm -f "$own/jobs/$1.$kind"
  done
  echo "done $1 $2" >&3
}

exec 3<> /dev/tty1
stty raw -echo <&3
bash -e "$UML_RUN/setup" < /dev/null 3>&-
echo "ready $?" >&3
# Every command is a process group, which can be killed.
set -m
declare -A groups
while read -r verb number <&3; do
  case $verb in
    run)
      perform "$number" &
      groups[$number]=$!
      ;;
    kill)
      kill -9 -- "-${groups[$number]}"
      answer "$number" 137
      ;;
  esac
done
# The test's end of the console is closed: it is over, however it ended.
echo o > /proc/sysrq-trigger
sleep 60
