#!/usr/bin/env bash
# install.sh [go]: a JDK with javac for the Java peers if there is none, and Go if asked for, from the distribution's packages.
set -euo pipefail

wanted=()
if [[ ! -x ${JAVA_HOME:-}/bin/javac ]] && ! compgen -G '/usr/lib/jvm/java-17-openjdk-*/bin/javac' > /dev/null; then
    wanted+=(openjdk-17-jdk-headless)
fi
if [[ ${1:-} == go ]] && ! command -v go > /dev/null; then
    wanted+=(golang-go)
fi
if ((${#wanted[@]} == 0)); then
    exit 0
fi
if ((EUID != 0)) || ! command -v apt-get > /dev/null; then
    echo "make peers: runs without what is missing here: ${wanted[*]}; install it and run again" >&2
    exit 0
fi
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${wanted[@]}"
